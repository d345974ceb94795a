"""What the reader of a file format is, and the checks that all of them share.

Readers raise UserError, or whatever a broken file makes them raise: `readers.read` makes it a RecordError, which names
the file.
"""

import dataclasses
import datetime
import pathlib
import unicodedata
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lrhnet_jax.ecg import files
from lrhnet_jax.ecg.lead_names import canonical_lead
from lrhnet_jax.ecg.recording import BlockRecording, Recording
from lrhnet_jax.ecg.wfdb_header import MILLIVOLTS
from lrhnet_jax.errors import UserError

HEAD = 4096  # bytes of a file that tell its format
MAX_BYTES = 4 * 1024**3  # of a file: a day of twelve leads at 500 Hz has a quarter of it
_PLAIN, _PACKED = 64 * 1024**2, 64  # bytes to which any file may unpack; beyond, so many times its size
MAX_MARKUP_BYTES = 256 * 1024**2  # of a text or XML file, which takes several times its size in memory


@dataclasses.dataclass(frozen=True)
class Given:
    """What the user says of a file; it counts where the file itself does not say it.

    Attributes:
      rate: Hz.
      leads: names of the signals, in the order of the file.
      unit: "mV", "uV", "nV" or "V".
    """

    rate: float | None = None
    leads: tuple[str, ...] | None = None
    unit: str | None = None


@dataclasses.dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
      name: for messages, as "EDF".
      suffixes: of its files, lower case, with the dot.
      matches: (path, first `HEAD` bytes) -> whether the file is of this format, by its content.
      read: (path, what the user says) -> the recording. The path is that of a regular file, which is not empty.
      read_blocks: the same, of a recording that may not fit into memory; None: this format is always read whole.
    """

    name: str
    suffixes: tuple[str, ...]
    matches: Callable[[pathlib.Path, bytes], bool]
    read: Callable[[pathlib.Path, Given], Recording]
    read_blocks: Callable[[pathlib.Path, Given], BlockRecording] | None = None


def read_bytes(path: pathlib.Path, limit: int = MAX_BYTES) -> bytes:
    """Returns a file's content; raises UserError if it is larger than `limit` bytes."""
    size = files.file_size(path)
    if size > limit:
        raise UserError(f"too large: {size / 1e9:.1f} GB, and {limit / 1e9:.1f} GB are read; cut it into parts")
    return files.read_regular(path)


def check_claim(needed: float, there: float, what: str) -> None:
    """Raises UserError if `needed` bytes, that `what` claims to hold, are more than are there."""
    if not needed <= there:
        raise UserError(f"truncated: {what} claims {needed:.0f} bytes, and {there:.0f} are there; export it again")


def check_unpacked(size: int, packed: int) -> None:
    """Raises UserError if a file of `packed` bytes unpacks to `size` bytes, more than any recording does."""
    if size > max(_PLAIN, _PACKED * packed):
        raise UserError(f"unpacks to {size:,} bytes or more, out of {packed:,}, as no recording does")


def in_millivolts(unit: str) -> float | None:
    """Returns how many millivolts a unit is ("uV", "µV", "Microvolts", "mV" ...), or None if it is not a voltage."""
    return MILLIVOLTS.get(unicodedata.normalize("NFKC", unit[:20]).strip(" []()").casefold())


def scale_of(unit: str | None, given: Given, notes: list[str], default: str | None = None) -> float:
    """Returns millivolts per unit, of the file's own unit, else of the given one, else of `default` (which is noted).

    Raises:
      UserError: if there is none, or it is not a voltage.
    """
    text = unit or given.unit or default
    if text is None:
        raise UserError("does not say in what unit its samples are; give the unit (mV, uV, nV or V)")
    scale = in_millivolts(text)
    if scale is None:
        raise UserError(f"unit {text[:40]!a} is not a voltage (mV, uV, nV or V)")
    if not unit and not given.unit:
        notes.append(f"the file names no unit; its samples are taken as {text}")
    return scale


def rate_of(rate: float | None, given: Given) -> float:
    """Returns Hz, of the file or else as given; raises UserError if there is none."""
    rate = rate if rate is not None else given.rate
    if rate is None:
        raise UserError("does not say its sampling rate; give the rate in Hz")
    return float(rate)


def lead_name(name: str) -> str:
    """Returns the usual name of a lead ("ECG AVR" -> "aVR"), or the file's own, if it is not one of the twelve."""
    return canonical_lead(name) or " ".join(name.split()) or "unnamed"


def columns(signals: Mapping[str, np.ndarray] | Sequence[tuple[str, np.ndarray]]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns (time, leads) float32 and the lead names of signals of one rate; shorter ones end in NaN."""
    pairs = list(signals.items()) if isinstance(signals, Mapping) else list(signals)
    result = np.full((max((len(values) for _, values in pairs), default=0), len(pairs)), np.nan, np.float32)
    for column, (_, values) in enumerate(pairs):
        result[: len(values), column] = values
    return result, tuple(lead_name(name) for name, _ in pairs)


def years_between(born: str, recorded: str) -> float | None:
    """Returns whole years between two dates that begin with YYYYMMDD or YYYY-MM-DD; None if they are not such dates."""
    try:
        first, last = (datetime.date.fromisoformat(text.replace("-", "")[:8]) for text in (born, recorded))
    except ValueError:
        return None
    years = last.year - first.year - ((last.month, last.day) < (first.month, first.day))
    return float(years) if 0 <= years <= 120 else None
