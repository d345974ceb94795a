"""Marks for signals that carry nothing, or not what they say: a network answers for them all the same.

What is a lead of a sick heart and what is a fault of the recording cannot be told in general. The bounds here are far
from what hearts do: of 1,090 real recordings (PTB-XL, CPSC 2018, Georgia, PTB, Chapman-Shaoxing, Challenge 2017) three
are marked, one for leads that were off, two for a span of 35 mV.
"""

from collections.abc import Mapping, Sequence

import numpy as np

NO_SIGNAL, FLAT, CLIPPED, SCALE = "no signal", "flat", "clipped", "scale"
MARKS = {
    NO_SIGNAL: "every lead is flat: nothing was recorded",
    FLAT: "the lead has one value throughout: it was off, or is at a rail of the converter",
    CLIPPED: "the lead stays at its highest or lowest value: its amplitude was beyond the converter's range",
    SCALE: "the lead spans less than 0.1 mV or more than 20 mV: its gain or unit may be wrong",
}
CLIPPED_SHARE = 0.02  # of the samples, in runs of three or more
SPAN = (0.1, 20.0)  # mV


def marks(signal: np.ndarray, leads: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Returns the leads that deserve each of `MARKS`; a mark that no lead deserves is left out.

    Args:
      signal: (time, len(leads)), millivolts; NaN where a sample is missing.
      leads: names.
    """
    rows = np.array(np.asarray(signal).T, order="C")  # NumPy goes along contiguous samples several times faster
    low, high = np.fmin.reduce(rows, 1), np.fmax.reduce(rows, 1)  # NaN only if every sample is missing
    flat = ~(low < high)
    if len(leads) and flat.all():
        return {NO_SIGNAL: tuple(leads)}
    span = high - low
    marked = {
        FLAT: flat,
        CLIPPED: ~flat & (_held(rows, low) | _held(rows, high)),
        SCALE: ~flat & ~((span >= SPAN[0]) & (span <= SPAN[1])),
    }
    return {mark: tuple(np.array(leads)[where].tolist()) for mark, where in marked.items() if where.any()}


def describe(marks: Mapping[str, tuple[str, ...]]) -> str:
    """Returns marks as one cell of a table: "flat V4 V5; clipped V1", "" if there are none."""
    return "; ".join(mark if mark == NO_SIGNAL else f"{mark} {' '.join(names)}" for mark, names in marks.items())


def notes(signal: np.ndarray, leads: Sequence[str]) -> tuple[str, ...]:
    """Returns a sentence for each mark of `marks`, as a Recording's notes are."""
    return sentences(marks(signal, leads))


def sentences(marks: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Returns a sentence for each of the marks that `marks` has returned."""
    return tuple(f"{mark} ({', '.join(names)}): {MARKS[mark]}" for mark, names in marks.items())


def _held(rows: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Whether each row (n, time) has its `value` (n,) for `CLIPPED_SHARE` of the time, in runs of three or more."""
    at = rows == value[:, None]
    held = np.count_nonzero(at, axis=1) > CLIPPED_SHARE * rows.shape[1]
    for i in np.flatnonzero(held):  # hardly ever
        where = np.flatnonzero(at[i])
        held[i] = np.count_nonzero(where[2:] == where[:-2] + 2) > CLIPPED_SHARE * rows.shape[1]
    return held
