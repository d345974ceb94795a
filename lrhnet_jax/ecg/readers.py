"""One registry of file formats: suffix and content -> a reader that returns a `Recording`.

`read` is what most callers need. A format of your own takes one file: docs/formats.md.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from lrhnet_jax.ecg import files, quality_hints
from lrhnet_jax.ecg.formats import (
    aecg,
    arrays,
    cardiosoft,
    dicom,
    edf,
    ishne,
    kardia,
    muse,
    philips,
    scp,
    text,
    wfdb_record,
    xml_tree,
)
from lrhnet_jax.ecg.formats.base import HEAD, Format, Given
from lrhnet_jax.ecg.lead_names import select_leads
from lrhnet_jax.ecg.leads import RATES
from lrhnet_jax.ecg.recording import BlockRecording, RecordError, Recording, in_blocks, record_errors
from lrhnet_jax.ecg.wfdb import MIN_SECONDS, find_headers
from lrhnet_jax.errors import UserError

MAX_LEADS = 1000
_LONGEST_MESSAGE = 400  # characters
_NAMELESS = re.compile(r"(ecg|ekg|lead|channel|ch|signal|unnamed)?\W*[01]?", re.IGNORECASE)

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
    cardiosoft.FORMAT,
    kardia.JSON,
    text.FORMAT,
]
_TEXTS = (".csv", ".tsv", ".txt", ".asc", ".xml", ".json")  # suffixes that mean anything
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
        reader = _by_content(path, head)
        root = xml_tree.root_name(head)
        if not reader and root:
            raise UserError(f"is XML (<{root[:40]}>) of a kind that is not read; export it as HL7 aECG, EDF or DICOM")
        reader = reader or next((one for one in _formats if path.suffix.lower() in one.suffixes), None)
        if reader:
            return reader
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
    rename: Mapping[str, str] | None = None,
) -> Recording:
    """Reads a recording from a file of any registered format.

    Args:
      path: of the file; of a WFDB record, its .hea, .dat or .mat.
      rate: Hz, where the file itself does not say it.
      leads: names of its signals, in their order, where the file itself does not say them.
      unit: of its samples ("mV", "uV", "nV", "V"), where the file itself does not say it.
      rename: name in the file -> the lead that it counts as ({"MLII": "II"}).

    Raises:
      RecordError: if it cannot be read, or holds no usable signal; it names the file and the remedy.
    """
    path = pathlib.Path(path)
    chosen = find_format(path)
    given = Given(rate, tuple(leads) if leads is not None else None, unit)
    with _reader_errors(path, chosen):
        return _finished(chosen.read(path, given), given, rename)


def read_blocks(
    path: str | os.PathLike[str],
    rate: float | None = None,
    leads: Sequence[str] | None = None,
    unit: str | None = None,
    rename: Mapping[str, str] | None = None,
) -> BlockRecording:
    """Reads a recording of any length and registered format, block by block; arguments and errors as of `read`.

    WFDB, EDF and tables take the memory of a block; what is in other formats is read whole first.
    """
    path = pathlib.Path(path)
    chosen = find_format(path)
    given = Given(rate, tuple(leads) if leads is not None else None, unit)
    if chosen.read_blocks is None:
        return in_blocks(read(path, rate, leads, unit, rename))
    with _reader_errors(path, chosen):
        opened = chosen.read_blocks(path, given)
        if opened.whole:
            return in_blocks(_finished(opened.whole, given, rename))
        names, notes = _named(opened.leads, given, rename or {})
        _check_rate(opened.rate)
    parts = _checked(path, chosen, opened.blocks)
    return dataclasses.replace(opened, leads=names, notes=[*opened.notes, *notes], blocks=parts)


def _checked(path: pathlib.Path, chosen: Format, parts: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    with _reader_errors(path, chosen):
        for part in parts:
            yield np.where(np.isinf(part), np.float32(np.nan), part)


@contextlib.contextmanager
def _reader_errors(path: pathlib.Path, chosen: Format) -> Iterator[None]:
    """Makes a RecordError of whatever a format's reader raises; a damaged file makes it stumble anywhere."""
    with record_errors(path):
        try:
            yield
        except (OSError, MemoryError, RecordError):
            raise
        except UserError as error:
            raise UserError(_plain(str(error))) from error
        except Exception as error:
            what = _plain(f"{type(error).__name__}: {error}")
            raise UserError(f"is not a whole {chosen.name} file ({what}); export it again") from error


def select(recording: Recording, leads: Sequence[str]) -> Recording:
    """Returns a recording of the leads that a network reads; limb leads that are missing are derived from I and II.

    Its notes say what was derived, and what looks wrong with these leads: flat, clipped, noisy ...

    Args:
      recording: with any leads.
      leads: of `ecg.leads.LEADS`, in the order of the result.

    Raises:
      RecordError: if a lead is missing, or samples of it.
    """
    with record_errors(recording.path):
        signal, notes = select_leads(recording.signal, recording.leads, leads)
        missing = np.isnan(signal).sum(0)
        if missing.any():
            listed = ", ".join(f"{n} of lead {lead}" for lead, n in zip(leads, missing.tolist(), strict=True) if n)
            raise UserError(f"lacks samples ({listed}, of {len(signal)}); choose a model without that lead")
        notes += quality_hints.all_notes(signal, recording.rate, leads)
        return dataclasses.replace(recording, signal=signal, leads=tuple(leads), notes=recording.notes + notes)


def find(paths: Iterable[str | os.PathLike[str]]) -> list[pathlib.Path]:
    """Returns the files that `paths` name, in order; of a folder, the recordings below it, sorted.

    A WFDB record is one file, its header. Texts (.csv, .txt, .xml, .json) in a folder count if they look like a
    recording; tables of labels and the like lie there too.
    """
    suffixes = tuple({suffix for one in _formats for suffix in one.suffixes})
    result: list[pathlib.Path] = []
    for path in map(pathlib.Path, paths):
        if not path.is_dir():
            result.append(path)
            continue
        below = files.find_files(path, suffixes)
        headers = {file.with_suffix("") for file in below if file.suffix.lower() == ".hea"}
        records = set(find_headers(path)) if headers else set()  # without the segments of records in several parts
        for file in below:
            suffix = file.suffix.lower()
            if suffix == ".hea":
                known = file in records
            elif suffix in (".dat", ".mat"):
                known = file.with_suffix("") not in headers
            else:
                known = suffix not in _TEXTS or _looks_like_one(file)
            if known:
                result.append(file)
    return result


def _by_content(path: pathlib.Path, head: bytes) -> Format | None:
    return next((one for one in _formats if one.matches(path, head)), None)


def _looks_like_one(path: pathlib.Path) -> bool:
    try:
        return _by_content(path, files.read_regular(path, HEAD)) is not None
    except (OSError, UserError):
        return True  # reading it will say what is wrong


def _plain(text: str) -> str:
    """A message on one line, of a length to read: parts of it may come from the file."""
    text = " ".join(text.split())[:_LONGEST_MESSAGE]
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _finished(recording: Recording, given: Given, rename: Mapping[str, str] | None) -> Recording:
    """Returns a recording with the user's names of its leads, checked."""
    names, notes = _named(recording.leads, given, rename or {})
    return _check(dataclasses.replace(recording, leads=names, notes=recording.notes + notes))


def _named(leads: Sequence[str], given: Given, rename: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the user's names of leads, and notes; the only lead of a device that names none is lead I."""
    names = [rename.get(name, name) for name in leads]
    notes = [f"{name} is read as lead {rename[name]}" for name in leads if name in rename]
    if len(names) == 1 and _NAMELESS.fullmatch(names[0]):
        name = given.leads[0] if given.leads else "I"
        notes.append(f"its only signal, {names[0]!a}, is read as lead {name}")
        names = [name]
    return tuple(names), tuple(notes)


def _check_rate(rate: float) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise UserError(f"a rate of {rate:g} Hz is not that of an ECG ({RATES[0]:g} to {RATES[1]:g} Hz)")


def _check(recording: Recording) -> Recording:
    """Returns a recording in float32, with missing samples noted; raises UserError for what no network can read."""
    signal, rate = np.asarray(recording.signal, np.float32), recording.rate
    if signal.ndim != 2 or signal.shape[1] != len(recording.leads) or not 1 <= signal.shape[1] <= MAX_LEADS:
        raise UserError(f"holds no ECG leads ({signal.shape[-1]} signals, {len(recording.leads)} names)")
    _check_rate(rate)
    if len(signal) < MIN_SECONDS * rate:
        raise UserError(f"short signal: {len(signal)} samples at {rate:g} Hz; {MIN_SECONDS:g} s is needed")
    if not np.isfinite(signal).any():
        raise UserError("holds no samples that are numbers: every one is missing (NaN); export it again")
    if np.isinf(signal).any():
        signal = np.where(np.isinf(signal), np.float32(np.nan), signal)
    missing = np.isnan(signal).sum(0).tolist()
    notes = tuple(f"{n} missing samples in lead {lead}" for lead, n in zip(recording.leads, missing, strict=True) if n)
    return dataclasses.replace(recording, signal=signal, notes=tuple(dict.fromkeys(recording.notes + notes)))
