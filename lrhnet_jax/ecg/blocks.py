"""Long recordings, prepared a block at a time: a day of ECG takes the memory of some minutes.

`prepare` gives what `preprocess.preprocess` gives of the whole recording, but for the z-score: each block is resampled
and filtered with `CONTEXT_SECONDS` of its neighbours on either side, in which the ends of filters die away.
"""

import fractions
import math
from collections.abc import Iterable, Iterator

import numpy as np

from lrhnet_jax.ecg import preprocess as preprocessing

BLOCK_SECONDS = 300.0  # about; of what is prepared at a time
CONTEXT_SECONDS = 20.0  # the monitor's high-pass has forgotten all but 1e-6 by then


def prepare(
    blocks: Iterable[np.ndarray], rate: float, options: preprocessing.Preprocess
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Resamples and filters a recording; missing samples are bridged by straight lines.

    Args:
      blocks: (time, leads) float32, millivolts, at `rate` Hz.
      options: what to do; what needs the whole recording (the z-score) is left.

    Yields:
      signal: (time, leads) float32 at `options.rate`, millivolts; one after another, the whole recording.
      known: (time,) bool, False where a lead's samples are missing.
    """
    ratio = fractions.Fraction(options.rate / rate).limit_denominator(preprocessing.MAX_DENOMINATOR)
    # Parts begin where a sample of one rate meets one of the other.
    period = ratio.denominator
    context, step = (math.ceil(seconds * rate / period) * period for seconds in (CONTEXT_SECONDS, BLOCK_SECONDS))
    before = 0  # samples of `held` that are prepared already
    held: list[np.ndarray] = []
    length = 0
    offset: np.ndarray | None = None
    for block in blocks:
        if offset is None and len(block):
            offset = np.nan_to_num(block[0])
        held.append(block)
        length += len(block)
        while length >= before + step + context:
            part = np.concatenate(held)
            yield _prepared(part[: before + step + context], before, step, rate, ratio, options, offset)
            keep = before + step - context
            held, length, before = [part[keep:]], length - keep, context
    if length > before:
        part = np.concatenate(held)
        yield _prepared(part, before, length - before, rate, ratio, options, offset)


def _prepared(
    part: np.ndarray,
    before: int,
    count: int,
    rate: float,
    ratio: fractions.Fraction,
    options: preprocessing.Preprocess,
    offset: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Prepares `part`, of which the first `before` samples, and those behind `count` more, are context."""
    missing = np.isnan(part)
    if missing.any():
        part = _bridged(part, missing)
    result = preprocessing.bandpass(preprocessing.resample(part, rate, options, offset), options)
    first, last = int(before * ratio), math.ceil((before + count) * ratio)
    result = result[first:last]
    place = np.minimum(((np.arange(len(result)) + first) / float(ratio)).round().astype(np.int64), len(part) - 1)
    return result, ~missing.any(1)[place]


def _bridged(part: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Returns (time, leads) with straight lines across missing samples; a lead without any sample is zero."""
    result, place = part.copy(), np.arange(len(part))
    for lead, gone in enumerate(missing.T):
        there = np.flatnonzero(~gone)
        result[gone, lead] = np.interp(place[gone], there, part[there, lead]) if len(there) else 0.0
    return result
