"""Makes the example recordings of this folder out of PTB-XL and Challenge 2017, in four formats.

    python examples/make.py RECORDS [--folder=examples]

RECORDS is a folder with PhysioNet's records of both somewhere below it (HR00001.hea, A00002.hea ...). Needs pyedflib
and pydicom, which the test extra installs.
"""

import argparse
import datetime
import pathlib
import shutil

import numpy as np

from lrhnet_jax.ecg import wfdb
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.ecg.recording import Recording

WFDB = ("HR00001", "A00004")
EDF, DICOM, CSV = "HR09289", "HR10862", "A00002"
NOBODY = datetime.datetime(2000, 1, 1)  # when it was recorded is not told
SCP_CODES = dict(zip(LEADS, (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), strict=True))


def write_edf(path: pathlib.Path, recording: Recording) -> None:
    """EDF+ in steps of 1 µV, as PTB-XL is stored."""
    import pyedflib

    traits = {"dimension": "uV", "sample_frequency": recording.rate, "transducer": "", "prefilter": ""}
    traits |= {"physical_max": 32767, "physical_min": -32768, "digital_max": 32767, "digital_min": -32768}
    with pyedflib.EdfWriter(str(path), len(recording.leads), pyedflib.FILETYPE_EDFPLUS) as out:
        out.setPatientCode(path.stem)
        out.setSex((recording.sex or "").lower())
        out.setStartdatetime(NOBODY)
        for i, lead in enumerate(recording.leads):
            out.setSignalHeader(i, {"label": f"ECG {lead}", **traits})
        out.writeSamples([np.ascontiguousarray(column) for column in _microvolts(recording).T], digital=True)


def write_dicom(path: pathlib.Path, recording: Recording) -> None:
    """A 12-lead ECG waveform in steps of 1 µV."""
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset

    def item(**attributes) -> Dataset:
        result = Dataset()
        for name, value in attributes.items():
            setattr(result, name, value)
        return result

    def channel(lead: str) -> Dataset:
        code = item(CodeValue=f"5.6.3-9-{SCP_CODES[lead]}", CodingSchemeDesignator="SCPECG", CodeMeaning=f"Lead {lead}")
        code.CodingSchemeVersion = "1.3"
        unit = item(CodeValue="uV", CodingSchemeDesignator="UCUM", CodeMeaning="microvolt")
        return item(
            ChannelSourceSequence=[code],
            ChannelSensitivity="1",
            ChannelSensitivityUnitsSequence=[unit],
            ChannelSensitivityCorrectionFactor="1",
            ChannelBaseline="0",
            ChannelSampleSkew="0",
            WaveformBitsStored=16,
        )

    uid = pydicom.uid.generate_uid(entropy_srcs=[path.stem])
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.TwelveLeadECGWaveformStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid
    data.StudyInstanceUID, data.SeriesInstanceUID = f"{uid[:-2]}.1", f"{uid[:-2]}.2"
    data.Modality, data.PatientName, data.PatientID = "ECG", path.stem, path.stem
    data.PatientAge, data.PatientSex = f"{recording.age:03.0f}Y", (recording.sex or " ")[0]
    data.AcquisitionDateTime = f"{NOBODY:%Y%m%d%H%M%S}"
    data.WaveformSequence = [
        item(
            WaveformOriginality="ORIGINAL",
            MultiplexGroupLabel="RHYTHM",
            NumberOfWaveformChannels=len(recording.leads),
            NumberOfWaveformSamples=len(recording.signal),
            SamplingFrequency=f"{recording.rate:g}",
            ChannelDefinitionSequence=[channel(lead) for lead in recording.leads],
            WaveformBitsAllocated=16,
            WaveformSampleInterpretation="SS",
            WaveformData=_microvolts(recording).astype("<i2").tobytes(),
        )
    ]
    data.save_as(path, enforce_file_format=True)


def write_csv(path: pathlib.Path, recording: Recording) -> None:
    """Lead I, with a column of times."""
    times = np.arange(len(recording.signal)) / recording.rate
    rows = (f"{time:.4f},{value:.3f}\n" for time, value in zip(times, recording.signal[:, 0], strict=True))
    path.write_text("time (s),I (mV)\n" + "".join(rows))


def _microvolts(recording: Recording) -> np.ndarray:
    return np.round(recording.signal * 1000).astype(np.int32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    options = parser.parse_args()
    headers = {path.stem: path for path in wfdb.find_headers(options.records)}
    for name in WFDB:
        for suffix in (".hea", ".mat"):
            shutil.copyfile(headers[name].with_suffix(suffix), options.folder / f"{name}{suffix}")
    for name, suffix, write in ((EDF, "edf", write_edf), (DICOM, "dcm", write_dicom), (CSV, "csv", write_csv)):
        write(options.folder / f"{name}.{suffix}", wfdb.read_recording(headers[name]))


if __name__ == "__main__":
    main()
