"""ISHNE Holter files (.ecg): a binary header of 522 bytes, a text, and interleaved 16-bit samples.

Source: F. Badilini, "The ISHNE Holter Standard Output File Format", Ann Noninvasive Electrocardiol 1998;3:263-266.
"""

import pathlib
import struct

import numpy as np

from lrhnet_jax.ecg import files
from lrhnet_jax.ecg.formats.base import Format, Given, check_claim, lead_name, years_between
from lrhnet_jax.ecg.recording import Recording
from lrhnet_jax.errors import UserError

_MAGIC = b"ISHNE1.0"
_FIXED = 522  # bytes before the text
_FAULT = -32768  # a sample that was not measured
_LEADS = ("", "", "X", "Y", "Z", "I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")  # by code
_SEXES = {1: "Male", 2: "Female"}


def _matches(path: pathlib.Path, head: bytes) -> bool:
    return head.startswith(_MAGIC)


def _read(path: pathlib.Path, given: Given) -> Recording:
    """Reads an ISHNE file; leads that it does not name (most recorders are bipolar) become ECG1, ECG2 ..."""
    size = files.file_size(path)
    check_claim(_FIXED, size, "an ISHNE header")
    with path.open("rb") as file:
        head = file.read(_FIXED)
    text_size, claimed = struct.unpack_from("<2i", head, 10)
    sex, _, *dates = struct.unpack_from("<8h", head, 128)  # then day, month and year of birth and of the recording
    count, *codes = struct.unpack_from("<13h", head, 156)
    resolution = np.array(struct.unpack_from("<12h", head, 206)[: max(count, 0)], np.float32)  # nV
    (rate,) = struct.unpack_from("<h", head, 272)
    if not 1 <= count <= len(codes) or rate <= 0 or text_size < 0 or (resolution <= 0).any():
        raise UserError(f"broken ISHNE header: {count} leads of {resolution.tolist()} nV at {rate} Hz")
    start = _FIXED + text_size
    frames = (size - start) // (2 * count)
    notes = []
    # Recorders announce the samples of one lead, those of all leads, or what would have fitted on their disk.
    check_claim(start + 2 * max(claimed // count, 1) * count, size, "its ISHNE header")
    if claimed not in (frames, frames * count):
        notes.append(f"the header announces {claimed} samples; {frames} of each lead are there")
    samples = np.memmap(path, "<i2", "r", start, (frames, count))
    signal = samples.astype(np.float32)
    signal[samples == _FAULT] = np.nan
    signal *= resolution * np.float32(1e-6)
    birth, recorded = (f"{year:04d}{month:02d}{day:02d}" for day, month, year in (dates[:3], dates[3:]))
    return Recording(
        signal=signal,
        rate=float(rate),
        leads=tuple(lead_name(_name(code) or f"ECG{i + 1}") for i, code in enumerate(codes[:count])),
        path=path,
        age=years_between(birth, recorded),
        sex=_SEXES.get(sex),
        notes=tuple(notes),
    )


def _name(code: int) -> str:
    return _LEADS[code] if 0 <= code < len(_LEADS) else ""


FORMAT = Format("ISHNE Holter", (".ecg",), _matches, _read)
