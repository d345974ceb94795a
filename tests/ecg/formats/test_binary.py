"""EDF, DICOM, SCP-ECG, ISHNE and Kardia: what each says in its own way, and what is refused."""

import struct

import numpy as np
import pytest

from lrhnet_jax.ecg import readers
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.ecg.recording import RecordError
from tests.helpers import ecg_files
from tests.helpers.ecg_files import AGE, counts, millivolts

VALUES = counts()
EXPECTED = millivolts(VALUES)


def _altered(path, place, data):
    content = bytearray(path.read_bytes())
    content[place : place + len(data)] = data
    path.write_bytes(content)
    return path


# EDF


@pytest.mark.parametrize("suffix", ["edf", "bdf"])
def test_edf_tells_patient_and_units(tmp_path, suffix):
    ecg_files.write_edf(tmp_path / f"a.{suffix}", VALUES, bdf=suffix == "bdf")
    recording = readers.read(tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(recording.signal, EXPECTED, atol=1.1e-4)
    assert (recording.rate, recording.leads, recording.age, recording.sex) == (500, LEADS, AGE, "F")
    assert recording.notes == ()


def test_edf_reads_the_leads_of_one_rate_and_names_the_rest(tmp_path):
    import pyedflib

    traits = {"physical_max": 10, "physical_min": -10, "digital_max": 32767, "digital_min": -32768, "transducer": ""}
    with pyedflib.EdfWriter(str(tmp_path / "a.edf"), 4, pyedflib.FILETYPE_EDFPLUS) as out:
        for i, (label, unit, rate) in enumerate(
            [("ECG II", "mV", 250), ("Resp", "mV", 25), ("SpO2", "%", 250), ("ECG V5", "mV", 250)]
        ):
            out.setSignalHeader(
                i, {"label": label, "dimension": unit, "sample_frequency": rate, "prefilter": "", **traits}
            )
        out.writeSamples([np.full(500, 1.0), np.zeros(50), np.full(500, 9.0), np.full(500, -2.0)])
    recording = readers.read(tmp_path / "a.edf")
    assert recording.leads == ("II", "V5")
    np.testing.assert_allclose(recording.signal, np.tile([1.0, -2.0], (500, 1)), atol=4e-4)
    assert recording.notes == ("not read, being no voltage or of another sampling rate: Resp, SpO2",)


def test_edf_without_a_voltage(tmp_path):
    ecg_files.write_edf(tmp_path / "a.edf", VALUES[:, :1], ["Temp"])
    _altered(tmp_path / "a.edf", 256 * 1 + 2 * (16 + 80), b"degC    ")
    with pytest.raises(RecordError, match=r"holds no ECG leads, that is no voltages; it has Temp \(degC\)"):
        readers.read(tmp_path / "a.edf")
    _altered(tmp_path / "a.edf", 256 * 1 + 2 * (16 + 80), b"        ")
    with pytest.raises(RecordError, match=r"it has Temp \(no unit\)"):
        readers.read(tmp_path / "a.edf")
    np.testing.assert_allclose(readers.read(tmp_path / "a.edf", unit="uV").signal, EXPECTED[:, :1], atol=1.1e-4)


@pytest.mark.parametrize(
    ("place", "text", "message"),
    [
        (236, b"99999999", r"truncated: its EDF header claims \d+ bytes, and \d+ are there; export it again"),
        (252, b"9999", "broken EDF header: 9999 signals"),
        (252, b"999 ", "truncated: its EDF header claims 256000 bytes"),
        (244, b"0       ", "broken EDF header: data records of 0.0 s"),
        (244, b"nonsense", "broken EDF header: b'nonsense' for the duration of a data record"),
    ],
)
def test_edf_headers_that_lie(tmp_path, place, text, message):
    ecg_files.write_edf(tmp_path / "a.edf", VALUES)
    with pytest.raises(RecordError, match=message):
        readers.read(_altered(tmp_path / "a.edf", place, text))


def test_edf_of_unknown_length_and_with_interruptions(tmp_path):
    ecg_files.write_edf(tmp_path / "a.edf", VALUES)
    _altered(tmp_path / "a.edf", 236, b"-1      ")
    recording = readers.read(_altered(tmp_path / "a.edf", 192, b"EDF+D"))
    np.testing.assert_allclose(recording.signal, EXPECTED, atol=1.1e-4)
    assert "recorded with interruptions" in recording.notes[0]
    assert "1 data records behind" in readers.read(_altered(tmp_path / "a.edf", 236, b"1       ")).notes[0]


# DICOM


def test_dicom_takes_the_original_waveform(tmp_path):
    ecg_files.write_dicom(tmp_path / "a.dcm", VALUES)
    recording = readers.read(tmp_path / "a.dcm")
    np.testing.assert_allclose(recording.signal, EXPECTED, atol=1e-6)
    assert (recording.rate, recording.leads, recording.age, recording.sex) == (500, LEADS, AGE, "F")
    assert recording.notes == ("1 more waveforms are not read",)


def test_dicom_that_is_deflated_or_of_other_leads(tmp_path):
    import pydicom

    ecg_files.write_dicom(tmp_path / "a.dcm", VALUES, transfer_syntax=pydicom.uid.DeflatedExplicitVRLittleEndian)
    np.testing.assert_allclose(readers.read(tmp_path / "a.dcm").signal, EXPECTED, atol=1e-6)
    ecg_files.write_dicom(tmp_path / "b.dcm", VALUES[:, :2], ("Lead II", "Frank X"))
    assert readers.read(tmp_path / "b.dcm").leads == ("II", "Frank X")


def test_dicom_bombs_are_not_unpacked(tmp_path):
    import pydicom

    silence = np.zeros((20_000_000, 2), np.int16)
    ecg_files.write_dicom(tmp_path / "a.dcm", silence, transfer_syntax=pydicom.uid.DeflatedExplicitVRLittleEndian)
    with pytest.raises(RecordError, match=r"unpacks to \d+,\d+,\d+ bytes or more, out of \d+,\d+, as no"):
        readers.read(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"WaveformSequence": None, "Modality": "CT"}, r"holds no ECG leads \(modality CT\)"),
        ({"WaveformSequence": None, "EncapsulatedDocument": b"%PDF"}, "holds a document, a picture of an ECG"),
        ({"WaveformSequence": None, "EncryptedAttributesSequence": []}, "is encrypted .*; decrypt it"),
    ],
)
def test_dicom_without_a_waveform(tmp_path, changes, message):
    ecg_files.write_dicom(tmp_path / "a.dcm", VALUES, **changes)
    with pytest.raises(RecordError, match=message):
        readers.read(tmp_path / "a.dcm")


def test_dicom_that_claims_more_than_it_holds(tmp_path):
    ecg_files.write_dicom(tmp_path / "a.dcm", VALUES)
    data = (tmp_path / "a.dcm").read_bytes()
    place = data.index(struct.pack("<HH2sHI", 0x003A, 0x0010, b"UL", 4, len(VALUES))) + 8
    with pytest.raises(RecordError, match="truncated: its waveform claims 96000000000 bytes, and 24000 are there"):
        readers.read(_altered(tmp_path / "a.dcm", place, struct.pack("<I", 4_000_000_000)))


# SCP-ECG


@pytest.mark.parametrize("tables", ["", "default", "own"])
@pytest.mark.parametrize("differences", [0, 1, 2])
def test_scp_in_every_packing(tmp_path, tables, differences):
    ecg_files.write_scp(tmp_path / "a.scp", VALUES, differences=differences, tables=tables)
    recording = readers.read(tmp_path / "a.scp")
    np.testing.assert_allclose(recording.signal, EXPECTED, atol=1e-6)
    assert (recording.rate, recording.leads, recording.age, recording.sex) == (500, LEADS, AGE, "Female")
    assert recording.notes == ()


def test_scp_adds_the_reference_beat(tmp_path):
    beat = np.round(VALUES[100:200] * 0.5).astype(np.int64)
    ecg_files.write_scp(tmp_path / "a.scp", VALUES, beat=beat, centres=(150, 550), differences=2, tables="default")
    np.testing.assert_allclose(readers.read(tmp_path / "a.scp").signal, EXPECTED, atol=1e-6)


def test_scp_of_odd_rates(tmp_path):
    ecg_files.write_scp(tmp_path / "a.scp", VALUES, rate=300)  # an interval of 3333 µs
    assert readers.read(tmp_path / "a.scp").rate == 300


def test_scp_that_is_not_read(tmp_path):
    ecg_files.write_scp(tmp_path / "a.scp", VALUES, bimodal=1)
    with pytest.raises(RecordError, match="bimodal compression, which is not read"):
        readers.read(tmp_path / "a.scp")
    ecg_files.write_scp(tmp_path / "b.scp", VALUES)
    data = (tmp_path / "b.scp").read_bytes()
    with pytest.raises(RecordError, match=r"truncated: its SCP-ECG header claims \d+ bytes, and 9000 are there"):
        (tmp_path / "c.scp").write_bytes(data[:9000])
        readers.read(tmp_path / "c.scp")
    place = data.index(struct.pack("<IIB", 1, len(VALUES), 1)) + 4
    with pytest.raises(RecordError, match="its section 3 claims 8000000000 bytes, and 2000 are there"):
        readers.read(_altered(tmp_path / "b.scp", place, struct.pack("<I", 4_000_000_000)))
    ecg_files.write_scp(tmp_path / "d.scp", VALUES)
    assert readers.read(_altered(tmp_path / "d.scp", len(data) - 100, b"\7")).notes == (
        "the file does not match its checksum",
    )


# ISHNE


def test_ishne_tells_patient_leads_and_faults(tmp_path):
    values = VALUES.copy()
    values[5, 1] = -32768
    ecg_files.write_ishne(tmp_path / "a.ecg", values, text=b"comment")
    recording = readers.read(tmp_path / "a.ecg")
    np.testing.assert_allclose(np.delete(recording.signal, 5, 0), np.delete(EXPECTED, 5, 0), atol=1e-6)
    assert np.isnan(recording.signal[5, 1])
    assert (recording.rate, recording.leads, recording.age, recording.sex) == (500, LEADS, AGE, "Female")
    assert recording.notes == ("1 missing samples in lead II",)
    ecg_files.write_ishne(tmp_path / "b.ecg", VALUES[:, :2], ("?", "II"), claimed=2 * len(VALUES))
    assert readers.read(tmp_path / "b.ecg").leads == ("ECG1", "II")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"claimed": 100_000_000}, r"truncated: its ISHNE header claims \d+ bytes, and \d+ are there"),
        ({"resolution": 0}, "broken ISHNE header"),
    ],
)
def test_ishne_headers_that_lie(tmp_path, fields, message):
    ecg_files.write_ishne(tmp_path / "a.ecg", VALUES, **fields)
    with pytest.raises(RecordError, match=message):
        readers.read(tmp_path / "a.ecg")


# Kardia


def test_kardia_blocks_and_checksums(tmp_path):
    ecg_files.write_atc(tmp_path / "a.atc", VALUES)
    recording = readers.read(tmp_path / "a.atc")
    np.testing.assert_allclose(recording.signal, EXPECTED, atol=1e-6)
    assert (recording.rate, recording.leads, recording.notes) == (500, LEADS, ())
    altered = readers.read(_altered(tmp_path / "a.atc", 400, b"\1"))
    assert altered.notes == ("block 'ecg' does not match its checksum",)
    with pytest.raises(RecordError, match="truncated: its block 'ecg ' claims 4000000320 bytes"):
        readers.read(_altered(tmp_path / "a.atc", 312, struct.pack("<I", 4_000_000_000)))
