"""DICOM waveforms (12-lead, general and ambulatory ECG), read with pydicom.

Sources: DICOM PS3.3, C.10.9 (waveform module); PS3.16, CID 3001 (ECG leads).
"""

import math
import pathlib
import warnings
import zlib
from typing import Any

import numpy as np

from lrhnet_jax.ecg.formats.base import (
    Format,
    Given,
    check_claim,
    check_unpacked,
    columns,
    in_millivolts,
    read_bytes,
    scale_of,
    years_between,
)
from lrhnet_jax.ecg.recording import Recording, parse_age
from lrhnet_jax.errors import UserError

_DEFLATED = "1.2.840.10008.1.2.1.99"
_CODED_AS = ("MDC", "SCPECG")  # schemes whose codes of leads end alike: 2:n and 5.6.3-9-n
_LEADS = dict(enumerate(("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"), 1))
_LEADS |= dict(enumerate(("III", "aVR", "aVL", "aVF"), 61))


def _matches(path: pathlib.Path, head: bytes) -> bool:
    return head[128:132] == b"DICM"


def _read(path: pathlib.Path, given: Given) -> Recording:
    """Reads the longest original waveform; derived ones (median beats) and further ones are not read."""
    import pydicom
    from pydicom.waveforms.numpy_handler import multiplex_array

    _check_unpacked_size(path, pydicom.filereader.read_file_meta_info(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that break a rule of DICOM and do not matter here
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        groups = list(dataset.get("WaveformSequence") or ())
        if not groups:
            raise UserError(_why_none(dataset))
        lengths = [_length(group) for group in groups]
        longest = max(range(len(groups)), key=lengths.__getitem__)
        if lengths[longest] < 1:
            raise UserError("holds no ECG leads (only waveforms that are derived, or empty)")
        notes = [f"{len(groups) - 1} more waveforms are not read"] if len(groups) > 1 else []
        group = groups[longest]
        samples = multiplex_array(dataset, longest)
        channels = list(group.ChannelDefinitionSequence)
        if len(channels) != samples.shape[1]:
            raise UserError(f"describes {len(channels)} channels, and holds {samples.shape[1]}; export it again")
        padding = group.get("WaveformPaddingValue")
        missing = (
            samples == np.frombuffer(padding, samples.dtype)[0] if isinstance(padding, bytes) and padding else None
        )
        signals = [
            (_name(channel, i), _scaled(channel, samples[:, i], given, notes)) for i, channel in enumerate(channels)
        ]
        kept = [(name, values) for name, values in signals if values is not None]
        if not kept:
            raise UserError(f"holds no ECG leads, that is no voltages; it has {', '.join(n for n, _ in signals)}")
        signal, leads = columns(kept)
        if missing is not None:
            signal[missing[:, [values is not None for _, values in signals]]] = np.nan
        return Recording(
            signal=signal,
            rate=float(group.SamplingFrequency),
            leads=leads,
            path=path,
            age=parse_age(str(dataset.get("PatientAge") or "")) or _age(dataset),
            sex=str(dataset.get("PatientSex") or "") or None,
            notes=tuple(notes),
        )


def _length(group: Any) -> int:
    """Returns the samples of a lead; 0 for a waveform that was derived from another."""
    count = int(group.NumberOfWaveformSamples)
    width = int(group.NumberOfWaveformChannels) * int(group.WaveformBitsAllocated) // 8
    check_claim(count * width, len(group.WaveformData), "its waveform")
    return count if group.get("WaveformOriginality", "ORIGINAL") == "ORIGINAL" else 0


def _name(channel: Any, index: int) -> str:
    for source in channel.get("ChannelSourceSequence") or ():
        number = str(source.get("CodeValue", "")).replace("-", ":").rpartition(":")[2]
        if str(source.get("CodingSchemeDesignator", "")) in _CODED_AS and number.isdigit() and int(number) in _LEADS:
            return _LEADS[int(number)]
        if source.get("CodeMeaning"):
            return str(source.CodeMeaning)
    return str(channel.get("ChannelLabel") or f"channel {index + 1}")


def _scaled(channel: Any, samples: np.ndarray, given: Given, notes: list[str]) -> np.ndarray | None:
    """Returns a channel in millivolts, float32; None if it is not a voltage (a pulse, a pressure)."""
    units = channel.get("ChannelSensitivityUnitsSequence") or ()
    unit = str(units[0].get("CodeValue", "")) if units else ""
    if unit and in_millivolts(unit) is None:
        return None
    gain = float(channel.get("ChannelSensitivity") or math.nan)
    if math.isnan(gain):
        raise UserError("does not say how large a step of its samples is (channel sensitivity)")
    gain *= float(channel.get("ChannelSensitivityCorrectionFactor") or 1.0)
    scale = scale_of(unit, given, notes)
    return samples * np.float32(gain * scale) + np.float32(float(channel.get("ChannelBaseline") or 0.0) * scale)


def _age(dataset: Any) -> float | None:
    recorded = dataset.get("AcquisitionDateTime") or dataset.get("ContentDate") or dataset.get("StudyDate")
    return years_between(str(dataset.get("PatientBirthDate") or ""), str(recorded or ""))


def _why_none(dataset: Any) -> str:
    if "EncryptedAttributesSequence" in dataset:
        return "is encrypted (encrypted attributes); decrypt it, or export it without encryption"
    if "EncapsulatedDocument" in dataset:
        return "holds a document, a picture of an ECG, and not its samples; export the waveform"
    return f"holds no ECG leads (modality {dataset.get('Modality', 'not said')}); export the ECG waveform"


def _check_unpacked_size(path: pathlib.Path, meta: Any) -> None:
    """Raises UserError for a deflated file that unpacks to more than is read; pydicom would unpack it whole."""
    if meta.get("TransferSyntaxUID") != _DEFLATED:
        return
    start = 132 + 12 + int(meta.FileMetaInformationGroupLength)  # preamble, and the length's own element
    unpacker, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    rest = data = read_bytes(path)[start:]
    while rest:
        size += len(unpacker.decompress(rest, 1 << 24))
        check_unpacked(size, len(data))
        rest = unpacker.unconsumed_tail


FORMAT = Format("DICOM", (".dcm", ".dicom"), _matches, _read)
