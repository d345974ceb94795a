"""A recording as every reader of a file format returns it, and the error for one that cannot be read."""

import contextlib
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from lrhnet_jax.ecg.files import printable
from lrhnet_jax.errors import UserError


class RecordError(UserError):
    """A record that cannot be used; `path` names its file (`files.printable`) and `reason` says why."""

    def __init__(self, path: str | os.PathLike[str], reason: str):
        self.path = printable(path)
        self.reason = reason
        super().__init__(self.path, reason)  # both in args: exceptions cross process borders by pickle

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@contextlib.contextmanager
def record_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Makes a RecordError with `path` of whatever goes wrong inside: readers of files need no other handling.

    A UserError has a message for the user, and so has an OSError; anything else is a fault of the file that nobody has
    thought of, or of the reader, and is named by its type too.
    """
    try:
        yield
    except RecordError:
        raise
    except UserError as error:
        raise RecordError(path, str(error)) from error
    except OSError as error:
        raise RecordError(path, f"cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise RecordError(path, "needs more memory than there is") from error
    except Exception as error:
        raise RecordError(path, f"cannot be read ({type(error).__name__}: {error})") from error


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording that was read.

    Attributes:
      signal: (time, leads) float32, millivolts; NaN where a sample is missing.
      rate: Hz.
      leads: names of the columns: those of `ecg.leads.LEADS`, or the file's own where they mean none of these.
      path: the file.
      age: years, or None.
      sex: as in the file, or None.
      codes: of the diagnoses (SNOMED CT), as in the file.
      patient: what the file calls the patient, or None.
      source: the collection that the file belongs to, or "".
      notes: what was derived, renamed, mended or looks wrong, for the user.
    """

    signal: np.ndarray
    rate: float
    leads: tuple[str, ...]
    path: pathlib.Path
    age: float | None = None
    sex: str | None = None
    codes: tuple[str, ...] = ()
    patient: str | None = None
    source: str = ""
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class BlockRecording:
    """A recording whose samples come one block after another, once.

    Attributes:
      blocks: (time, leads) float32, millivolts, NaN where a sample is missing; of any lengths.
      rate, leads, path, age, sex, notes: as of `Recording`.
      samples: of the whole recording, as far as the file says it before it is read; else None.
      whole: the recording itself, where it is in memory.
    """

    blocks: Iterator[np.ndarray]
    rate: float
    leads: tuple[str, ...]
    path: pathlib.Path
    age: float | None = None
    sex: str | None = None
    notes: Sequence[str] = ()
    samples: int | None = None
    whole: Recording | None = None


def in_blocks(recording: Recording) -> BlockRecording:
    """Returns a recording that is in memory, in blocks."""
    signal, step = recording.signal, max(round(_BLOCK_SECONDS * recording.rate), 1)
    return BlockRecording(
        blocks=(signal[start : start + step] for start in range(0, len(signal), step)),
        rate=recording.rate,
        leads=recording.leads,
        path=recording.path,
        age=recording.age,
        sex=recording.sex,
        notes=recording.notes,
        samples=len(signal),
        whole=recording,
    )


def parse_age(text: str | None) -> float | None:
    """Returns years from what files say of an age, or None.

    "61", "61 years", "061Y", "006M" (DICOM: months); "89+", ">89" and "over 89" are 90. 300 to 330 are returned as they
    are: PTB-XL and MIMIC write ages over 89 so, and `ecg.leads.demographics_vector` counts them as 90.
    """
    match = _AGE.fullmatch(" ".join((text or "")[:_LONGEST_AGE].casefold().split()))
    if not match:
        return None
    years = float(match["number"]) / _IN_A_YEAR[(match["unit"] or "y")[0]]
    if match["over"] or match["plus"]:
        return 90.0 if 89 <= years <= 120 else None
    return years if years <= 120 or 300 <= years <= 330 else None


_BLOCK_SECONDS = 300.0
_LONGEST_AGE = 30  # characters
_AGE = re.compile(  # [0-9], not \d, which takes the digits of any script
    r"(?P<over>(?:>=?|over|above) ?)?(?P<number>[0-9]{1,6}(?:\.[0-9]{0,9})?)(?P<plus>\+)? ?"
    r"(?P<unit>y|yr|yrs|years?|yo|m|months?|w|weeks?|d|days?)?\.?"
)
_IN_A_YEAR = {"y": 1.0, "m": 12.0, "w": 365.25 / 7, "d": 365.25}
