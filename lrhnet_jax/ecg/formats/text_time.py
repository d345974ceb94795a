"""The column of times in a table: from what it says to a sampling rate."""

import datetime
import re

import numpy as np

from lrhnet_jax.errors import UserError

_NAME = re.compile(r"(elapsed\s*)?(time(stamp)?|t|date(time)?|sec(ond)?s?|ms|milli(second)?s?)\b.*", re.IGNORECASE)
_INDEX_NAME = re.compile(r"(sample|index|idx|frame|row|n|no|nr|#|unnamed.*|)\W*\d*", re.IGNORECASE)
_UNITS = {"s": 1.0, "sec": 1.0, "second": 1.0, "ms": 1e-3, "milli": 1e-3, "msec": 1e-3, "millisecond": 1e-3,
          "us": 1e-6, "usec": 1e-6, "microsecond": 1e-6, "ns": 1e-9}  # fmt: skip
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?)")
_SNAP = 2e-4  # of a rate: times are rounded, to milliseconds for instance


def is_time(name: str) -> bool:
    """Whether a column of this name holds times ("time", "Elapsed time (s)", "ms")."""
    return _NAME.fullmatch(name.replace("_", " ").strip()) is not None


def is_index(name: str) -> bool:
    """Whether a column of this name counts the samples ("sample", "Unnamed: 0", "")."""
    return _INDEX_NAME.fullmatch(name.strip()) is not None


def is_clock(text: str) -> bool:
    """Whether a field is a time of day or a date with a time, and not a number."""
    return ":" in text and any(letter.isdigit() for letter in text)


def unit_seconds(text: str) -> float | None:
    """Returns the seconds of the unit of time that a column's name or unit names last ("time (ms)"), or None."""
    words = re.findall(r"[a-z]+", text.replace("µ", "u").replace("μ", "u").lower())
    return next((_UNITS[word.removesuffix("s") if word not in _UNITS else word] for word in reversed(words)
                 if word in _UNITS or word.removesuffix("s") in _UNITS), None)  # fmt: skip


def steps_evenly(values: np.ndarray) -> bool:
    """Whether numbers grow by the same step all along, as no signal does: a column without a name that is time."""
    if len(values) < 3 or not np.isfinite(values).all():
        return False
    step = (values[-1] - values[0]) / (len(values) - 1)
    return bool(step > 0 and (np.abs(np.diff(values) - step) < 0.6 * step).all())


def parse_times(texts: list[str]) -> np.ndarray:
    """Returns seconds from "0:00.004", "12:30:00.004", or dates with times in ISO 8601.

    Raises:
      UserError: for anything else.
    """
    result = np.empty(len(texts))
    for i, text in enumerate(texts):
        text = text.strip("'\"[] ")
        clock = _CLOCK.fullmatch(text)
        try:
            if clock:
                hours, minutes, seconds = int(clock[1] or 0), int(clock[2]), float(clock[3].replace(",", "."))
                result[i] = hours * 3600 + minutes * 60 + seconds
            else:
                result[i] = datetime.datetime.fromisoformat(text.replace(",", ".")).timestamp()
        except (ValueError, OverflowError, OSError):
            raise UserError(f"time {text!r} in row {i + 1} of the table is not read; give the rate instead") from None
    return result


def rate_from_times(times: np.ndarray, seconds: float | None, notes: list[str]) -> float | None:
    """Returns Hz, or None if the column only counts samples.

    Args:
      path: of the table, for errors.
      times: one a sample, in any unit.
      seconds: of that unit, or None if the table does not say it: then it is guessed from the step, and noted.
      notes: gaps and guesses are added to them.

    Raises:
      UserError: for times that do not grow.
    """
    steps = np.diff(times)
    step = float(np.median(steps)) if len(steps) else 0.0
    if not np.isfinite(times).all() or step <= 0 or steps.min() < 0:
        raise UserError("its column of times does not grow from row to row; remove it, and give the rate")
    if seconds is None:
        if step == 1 and steps.max() == 1:
            return None
        limits = (
            (0.05, 1.0, "seconds"),
            (200, 1e-3, "milliseconds"),
            (2e5, 1e-6, "microseconds"),
            (np.inf, 1e-9, "ns"),
        )
        _, seconds, unit = next(limit for limit in limits if step < limit[0])
        notes.append(f"the column of times does not say its unit: taken as {unit}")
    gaps = np.flatnonzero(steps > 2.5 * step)
    if len(gaps):
        first = (times[gaps[0]] - times[0]) * seconds
        notes.append(f"{len(gaps)} gaps in the times (first after {first:.2f} s) are closed: what follows is moved up")
    else:
        step = float(times[-1] - times[0]) / len(steps)
    rate = 1 / (step * seconds)
    return float(round(rate)) if abs(rate - round(rate)) < _SNAP * rate else rate
