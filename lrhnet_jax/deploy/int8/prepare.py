"""From a sensor's counts to what an integer network reads, in integers, window by window.

This is what `ecg.preprocess` does in floating point, for a stream: each window is a record of its own, and samples come
in one at a time. The C in deploy/c computes the same bits.

- Counts are int32, in any unit; a microvolt is a good one. The first sample of the stream is taken off all others, so
  that offsets of electrodes do not matter.
- Resampling has the filter of `ecg.preprocess`, its taps rounded to 14 fractional bits such that a constant stays one.
  Behind the last sample the signal is thought to stay where it is. Results are rounded, and saturate at 16 bits.
- The filter "monitor" runs forwards and backwards over the window, in sections of second order (direct form I) with 14
  fractional bits, and begins at rest for the window's first value, as SciPy's sosfiltfilt does. What rounding leaves is
  added to the next sample: a section of .5 Hz would otherwise make a large slow error of it.
- The z-score has 1024 for one standard deviation; a lead whose samples are all the same is zeros.
"""

import dataclasses
import fractions
import functools
import math

import numpy as np
import scipy.signal

from lrhnet_jax.deploy.int8.program import HIGHEST, LOWEST, SIGNAL_ONE
from lrhnet_jax.ecg import preprocess as floats
from lrhnet_jax.errors import ConfigError

Array = np.ndarray

RATES = (250, 300, 360, 500)  # Hz, that C resamples from, beside the network's own
TAP_BITS, STATE_BITS, COEFFICIENT_BITS, SCALE_BITS = 14, 14, 30, 40
STATE_LIMIT = 1 << 30


@dataclasses.dataclass(frozen=True, eq=False)
class Resampler:
    """From `rate` to `rate` * up / down: output m is the sum over n of x[n] * taps[half + m * down - n * up].

    Attributes:
      rate: Hz.
      up, down: their ratio is that of the rates, in lowest terms.
      taps: (half + 1,) of the symmetric filter's 2 * half + 1, up to the one in the middle; 14 fractional bits.
    """

    rate: int
    up: int
    down: int
    taps: Array

    @property
    def half(self) -> int:
        return len(self.taps) - 1

    @property
    def ahead(self) -> int:
        """How many samples behind the one at its own time an output may need."""
        return (self.half + self.up - 1) // self.up

    @property
    def history(self) -> int:
        """The samples that an output may need."""
        return 2 * self.ahead + 1


def check(options: floats.Preprocess) -> None:
    """Raises ConfigError if C cannot prepare signals as `options` say."""
    if options.resample != "polyphase":
        raise ConfigError(f"resample={options.resample!r}: C resamples by polyphase filters only; build the set so")
    if options.bandpass not in ("none", "monitor"):
        raise ConfigError(
            f"bandpass={options.bandpass!r}: C has the filter 'monitor' or none; build the set with preprocess=monitor "
            "or preprocess=paper"
        )
    if options.rate != round(options.rate):
        raise ConfigError(f"a rate of {options.rate} Hz: C needs a whole number")


@functools.lru_cache(maxsize=16)
def resampler(rate: int, target: int) -> Resampler:
    """Returns what resamples from `rate` to `target` Hz."""
    ratio = fractions.Fraction(target, rate)
    up, down = ratio.numerator, ratio.denominator
    taps = floats.lowpass(up, down).astype(np.float64) * up if up != down else np.ones(1)
    whole = np.rint(taps * (1 << TAP_BITS)).astype(np.int64)
    half = len(whole) // 2
    for phase in range(up):  # an output's taps: what they lack of one goes to the largest, and to its mirror image
        places = np.arange(phase, len(whole), up)
        lack = (1 << TAP_BITS) - whole[places].sum()
        place = places[whole[places].argmax()]
        mirror = 2 * half - place
        if mirror != place and (mirror - place) % up == 0:
            lack //= 2
        whole[place] += lack
        whole[mirror] += lack if mirror != place else 0
    return Resampler(rate, up, down, whole[: half + 1])


def resample(counts: Array, how: Resampler) -> Array:
    """Returns a whole stream at the new rate, (ceil(t * up / down), leads) int64, within 16 bits.

    Args:
      counts: (t, leads) int32.
    """
    values = counts.astype(np.int64) - counts[0]
    count = -(-len(values) * how.up // how.down)
    taps = np.concatenate([how.taps, how.taps[-2::-1]])
    padded = np.pad(values, ((how.ahead, 0), (0, 0)))
    padded = np.pad(padded, ((0, how.ahead + 1), (0, 0)), mode="edge")
    middle, phase = np.divmod(np.arange(count) * how.down, how.up)
    total = np.zeros((count, values.shape[1]), np.int64)
    for offset in range(-how.ahead, how.ahead + 1):
        place = how.half + phase - offset * how.up
        inside = (place >= 0) & (place < len(taps))
        tap = np.where(inside, taps[np.clip(place, 0, len(taps) - 1)], 0)
        total += padded[middle + offset + how.ahead] * tap[:, None]
    rounded = (total + (1 << (TAP_BITS - 1))) >> TAP_BITS
    return _saturated(rounded)


@dataclasses.dataclass(frozen=True, eq=False)
class Sections:
    """A filter as sections of second order; the first one lets no constant through.

    Attributes:
      coefficients: (sections, 5): b0, b1, b2, -a1, -a2, of 30 fractional bits.
      edge: samples by which a window is continued at both ends, turned about its first and its last value.
    """

    coefficients: Array
    edge: int


@functools.lru_cache(maxsize=4)
def monitor(rate: int) -> Sections:
    """Returns the filter "monitor" of `ecg.preprocess` at `rate` Hz."""
    sections = scipy.signal.butter(4, floats.MONITOR_BAND, btype="bandpass", output="sos", fs=rate)
    sections = sections[np.argsort(sections[:, 1])]  # high-pass first: an offset needs no room in the others
    gain = np.prod(sections[:, 0]) ** (1 / len(sections))  # shared out: no section makes its input much larger
    ratios = np.rint(sections[:, :3] / sections[:, :1])  # 1, -2 or 2, 1: exact, so that a constant becomes exactly 0
    one = 1 << COEFFICIENT_BITS
    coefficients = np.concatenate([ratios * round(gain * one), np.rint(-sections[:, 4:] * one)], axis=1)
    return Sections(coefficients.astype(np.int64), round(floats.MONITOR_EDGE * rate))


def filter_window(values: Array, how: Sections) -> Array:
    """Returns a window (t, leads), of 16 bits, filtered forwards and backwards, int64 within 16 bits."""
    edge = min(how.edge, len(values) - 1)
    front, back = 2 * values[0] - values[edge:0:-1], 2 * values[-1] - values[-2 : -2 - edge : -1]
    forwards = _run(_saturated(np.concatenate([front, values, back])), how)[edge:]
    return _run(forwards[::-1], how)[::-1][: len(values)]


def _run(values: Array, how: Sections) -> Array:
    """One pass; its results are rounded to whole numbers of 16 bits."""
    start, rest = values[0] << STATE_BITS, np.zeros_like(values[0])
    states = [[start, start, rest, rest, rest], *([rest] * 5 for _ in how.coefficients[1:])]
    result = np.empty_like(values)
    for index, value in enumerate(values):
        x = value << STATE_BITS
        for state, (b0, b1, b2, a1, a2) in zip(states, how.coefficients, strict=True):
            x1, x2, y1, y2, left = state
            total = b0 * x + b1 * x1 + b2 * x2 + a1 * y1 + a2 * y2 + left
            y = np.clip(total >> COEFFICIENT_BITS, -STATE_LIMIT, STATE_LIMIT)
            state[:] = x, x1, y, y1, total & ((1 << COEFFICIENT_BITS) - 1)
            x = y
        result[index] = _rounded(x, STATE_BITS)
    return _saturated(result)


def _rounded(values: Array, bits: int) -> Array:
    return (values + (1 << (bits - 1))) >> bits


def _saturated(values: Array) -> Array:
    return np.clip(values, LOWEST["int16"], HIGHEST["int16"])


def zscore(values: Array) -> Array:
    """Returns a window (t, leads), of 16 bits, with mean 0 and 1024 for a standard deviation, int16."""
    count, result = len(values), np.zeros(values.shape, np.int16)
    for lead, column in enumerate(values.T):
        total, squares = int(column.sum()), int((column * column).sum())
        deviation = math.isqrt(count * squares - total * total)  # count times the standard deviation
        if deviation:
            scale = (SIGNAL_ONE << SCALE_BITS) // deviation
            scaled = _rounded((count * column - total) * scale, SCALE_BITS)
            result[:, lead] = _saturated(scaled)
    return result


def prepare(window: Array, options: floats.Preprocess) -> Array:
    """Returns a resampled window (t, leads) as the network reads it, int16.

    Args:
      window: of `resample`.
    """
    flat = (window == window[0]).all(0)
    if options.bandpass == "monitor":
        window = filter_window(window, monitor(round(options.rate)))
    return np.where(flat, 0, zscore(window)).astype(np.int16)


def place(prepared: Array, window: int) -> Array:
    """Returns a prepared signal that is no longer than a window in the middle of one, with zeros around it."""
    before = (window - len(prepared)) // 2
    return np.pad(prepared, ((before, window - len(prepared) - before), (0, 0)))
