"""Hints that a recording is hard to read, or is not what a network has learned from: said to the user, never fatal.

`quality` marks what carries nothing; here is what carries something: noise, a wandering baseline, swapped arms, and a
rate or length that the network has not seen. Of 204 records of PTB-XL, 3 are called noisy, 5 wandering, and 3 negative
in lead I; of 688 normal ones of Challenge 2017 (a device in two hands, often the wrong way round) 1, 12 and 73; of its
223 noisy ones 22, 16 and 13.
"""

from collections.abc import Sequence

import numpy as np

from lrhnet_jax.ecg import quality

NOISE = 0.05  # mV, robust standard deviation of what is faster than about 15 Hz
NOISY_SHARE = 0.25  # of the seconds
WANDER = 3.0  # mV, span of what is slower than about 1 Hz
REVERSED = 2.0  # how many times the strokes of lead I are deeper than high
SMALLEST_STROKE = 0.15  # mV; less says nothing of an axis
STILL = 0.3  # s without any change in any lead, at the begin or the end
PIECES, PIECE_SECONDS = 60, 10.0  # of a long recording, evenly spread, are looked at
_LONGEST_STILL = 1_000_000  # samples


def hints(signal: np.ndarray, rate: float, leads: Sequence[str]) -> tuple[str, ...]:
    """Returns what is noisy, wanders, begins or ends without a signal, or looks as if the arm electrodes were swapped.

    Args:
      signal: (time, len(leads)), millivolts; NaN where a sample is missing.
      rate: Hz.
      leads: names.
    """
    rows = _pieces(np.asarray(signal), rate)  # (leads, pieces, time)
    fast = rows - _smooth(rows, 0.03 * rate)
    slow = _smooth(rows, 0.6 * rate)
    seconds = rows.shape[2] // max(round(rate), 1)
    blocks = np.abs(fast[:, :, : seconds * round(rate)]).reshape(len(rows), -1, round(rate))
    noisy = (1.4826 * np.median(blocks, 2) > NOISE).mean(1) > NOISY_SHARE
    wander = np.ptp(slow, 2).max(1) > WANDER
    notes = []
    for where, what in ((noisy, "noisy"), (wander, f"the baseline wanders by more than {WANDER:g} mV")):
        if where.any():
            notes.append(f"{what}: {', '.join(np.array(leads)[where].tolist())}")
    for what, still in zip(("begins", "ends"), _still(np.asarray(signal)), strict=True):
        if still > STILL * rate:
            notes.append(f"{what} with {still / rate:.2g} s in which nothing moves: padding, or not yet connected")
    if "I" in leads:
        one = (rows - slow)[list(leads).index("I")]
        low, middle, high = np.quantile(one, (0.005, 0.5, 0.995))
        if middle - low > max(REVERSED * (high - middle), SMALLEST_STROKE):
            notes.append("lead I is negative: the arm electrodes may be swapped, or the axis of the heart points right")
    return tuple(notes)


def range_notes(
    seconds: float,
    rate: float,
    window: float | None = None,
    rates: tuple[float, float] | None = None,
    lengths: tuple[float, float] | None = None,
) -> tuple[str, ...]:
    """Returns how a recording's length and rate differ from what a network has learned from.

    Args:
      seconds: of the recording.
      rate: Hz, of the file.
      window: seconds that the network reads at a time; a shorter recording is padded to it.
      rates: lowest and highest rate, in Hz, of the recordings that it has learned from.
      lengths: shortest and longest of these, in seconds.
    """
    notes = []
    if window is not None and seconds < window:
        notes.append(f"{seconds:.3g} s long: padded with silence to the {window:.3g} s that the network reads")
    if rates is not None and not rates[0] <= rate <= rates[1]:
        notes.append(f"recorded at {rate:.4g} Hz: the network has seen {_span(*rates)} Hz")
    if lengths is not None and not lengths[0] <= seconds <= lengths[1]:
        notes.append(f"{seconds:.4g} s long: the network has seen {_span(*lengths)} s")
    return tuple(notes)


def all_notes(signal: np.ndarray, rate: float, leads: Sequence[str]) -> tuple[str, ...]:
    """Returns the notes of `quality`, and the hints of the leads that it does not mark as flat."""
    marks = quality.marks(signal, leads)
    flat = {*marks.get(quality.FLAT, ()), *marks.get(quality.NO_SIGNAL, ())}
    alive = [i for i, lead in enumerate(leads) if lead not in flat]
    more = hints(np.asarray(signal)[:, alive], rate, [leads[i] for i in alive]) if alive else ()
    return quality.sentences(marks) + more


def _still(signal: np.ndarray) -> tuple[int, int]:
    """Returns how many samples of (time, leads) at the begin, and at the end, are equal to the first, or last, one."""
    counts = []
    for rows in (signal, signal[::-1]):
        moved = np.flatnonzero((rows[1:_LONGEST_STILL] != rows[0]).any(1))
        counts.append(int(moved[0]) + 1 if len(moved) else min(len(rows), _LONGEST_STILL))
    return counts[0], counts[1]


def _pieces(signal: np.ndarray, rate: float) -> np.ndarray:
    """Returns (leads, pieces, time) float64 of (time, leads); one piece, if the recording is short."""
    length = round(PIECE_SECONDS * rate)
    if len(signal) > PIECES * length:
        starts = np.linspace(0, len(signal) - length, PIECES).astype(int)
        rows = np.stack([signal[start : start + length] for start in starts]).transpose(2, 0, 1)
    else:
        rows = signal.T[:, None]
    rows = np.ascontiguousarray(rows, np.float64)
    missing = np.isnan(rows)
    if missing.any():
        rows[missing] = np.broadcast_to(np.nanmedian(rows, (1, 2), keepdims=True), rows.shape)[missing]
    return rows


def _smooth(rows: np.ndarray, width: float) -> np.ndarray:
    """Returns moving means over about `width` samples of the last axis; the ends are repeated."""
    half = max(round(width / 2), 1)
    padded = np.concatenate((rows[..., :1].repeat(half + 1, -1), rows, rows[..., -1:].repeat(half, -1)), -1)
    sums = np.cumsum(padded, -1)
    return (sums[..., 2 * half + 1 :] - sums[..., : -(2 * half + 1)]) / (2 * half + 1)


def _span(low: float, high: float) -> str:
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
