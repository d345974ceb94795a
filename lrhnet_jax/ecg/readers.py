"""One registry of file formats: suffix and content -> a reader that returns a `Recording`.

`read` is what most callers need. A format of your own takes one file: docs/formats.md.
"""

import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from lrhnet_jax.ecg import files
from lrhnet_jax.ecg.formats import aecg, arrays, dicom, edf, ishne, kardia, muse, philips, scp, text, wfdb_record
from lrhnet_jax.ecg.formats.base import HEAD, Format, Given
from lrhnet_jax.ecg.recording import Recording, record_errors
from lrhnet_jax.ecg.wfdb import MIN_SECONDS
from lrhnet_jax.ecg.wfdb_header import RATES
from lrhnet_jax.errors import UserError

MAX_LEADS = 1000

# In the order in which they are asked whether a file is theirs: those with a signature of their own come first.
_formats: list[Format] = [
    edf.FORMAT,
    dicom.FORMAT,
    ishne.FORMAT,
    kardia.ATC,
    arrays.NPY,
    arrays.NPZ,
    wfdb_record.FORMAT,
    arrays.MAT,
    scp.FORMAT,
    aecg.FORMAT,
    muse.FORMAT,
    philips.FORMAT,
    kardia.JSON,
    text.FORMAT,
]
_PICTURES = {b"%PDF": "a PDF", b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture", b"II*\0": "a picture"}


def formats() -> tuple[Format, ...]:
    """Returns the formats that are read."""
    return tuple(_formats)


def register(new: Format) -> None:
    """Adds a format; it is asked before those that are there."""
    _formats.insert(0, new)


def find_format(path: str | os.PathLike[str]) -> Format:
    """Returns a file's format, by its content, or else by its suffix.

    Raises:
      RecordError: if neither tells, or the file cannot be opened, or is empty.
    """
    path = pathlib.Path(path)
    with record_errors(path):
        head = files.read_regular(path, HEAD)
        if not head:
            raise UserError("is empty (0 bytes); export it again")
        by_content = next((one for one in _formats if one.matches(path, head)), None)
        by_suffix = next((one for one in _formats if path.suffix.lower() in one.suffixes), None)
        found = by_content or by_suffix
        if found:
            return found
        picture = next((kind for magic, kind in _PICTURES.items() if head.startswith(magic)), None)
        if picture:
            raise UserError(f"is {picture} of an ECG, not its samples; export these, as CSV, EDF or DICOM")
        known = ", ".join(dict.fromkeys(suffix for one in _formats for suffix in one.suffixes))
        raise UserError(f"is of a format that is not read; export it to one that is ({known})")


def read(
    path: str | os.PathLike[str],
    rate: float | None = None,
    leads: Sequence[str] | None = None,
    unit: str | None = None,
) -> Recording:
    """Reads a recording from a file of any registered format.

    Args:
      path: of the file; of a WFDB record, its .hea, .dat or .mat.
      rate: Hz, where the file itself does not say it.
      leads: names of its signals, in their order, where the file itself does not say them.
      unit: of its samples ("mV", "uV", "nV", "V"), where the file itself does not say it.

    Raises:
      RecordError: if it cannot be read, or holds no usable signal; it names the file and the remedy.
    """
    path = pathlib.Path(path)
    chosen = find_format(path)
    given = Given(rate, tuple(leads) if leads is not None else None, unit)
    with record_errors(path):
        try:
            recording = chosen.read(path, given)
        except (UserError, OSError, MemoryError):
            raise
        except Exception as error:  # a damaged file makes its reader stumble anywhere
            what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UserError(f"is not a whole {chosen.name} file ({what}); export it again") from error
        return _check(recording)


def find(paths: Iterable[str | os.PathLike[str]]) -> list[pathlib.Path]:
    """Returns the files that `paths` name, in order: of a folder, those below it with a suffix that is read, sorted.

    A WFDB record in a folder is one file, its header.
    """
    suffixes = {suffix for one in _formats for suffix in one.suffixes}
    result: list[pathlib.Path] = []
    for path in map(pathlib.Path, paths):
        if not path.is_dir():
            result.append(path)
            continue
        below = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in suffixes and file.is_file()]
        headers = {file.with_suffix("") for file in below if file.suffix.lower() == ".hea"}
        result += [f for f in below if f.suffix.lower() not in (".dat", ".mat") or f.with_suffix("") not in headers]
    return result


def _check(recording: Recording) -> Recording:
    """Raises UserError for what no network can read."""
    signal, rate = recording.signal, recording.rate
    if signal.ndim != 2 or signal.shape[1] != len(recording.leads) or not 1 <= signal.shape[1] <= MAX_LEADS:
        raise UserError(f"holds no ECG leads ({signal.shape[-1]} signals, {len(recording.leads)} names)")
    if not RATES[0] <= rate <= RATES[1]:
        raise UserError(f"a rate of {rate:g} Hz is not that of an ECG ({RATES[0]:g} to {RATES[1]:g} Hz)")
    if len(signal) < MIN_SECONDS * rate:
        raise UserError(f"short signal: {len(signal)} samples at {rate:g} Hz; {MIN_SECONDS:g} s is needed")
    if not np.isfinite(signal).any():
        raise UserError("holds no samples that are numbers: every one is missing (NaN); export it again")
    if np.isinf(signal).any():
        signal[np.isinf(signal)] = np.nan
    return recording
