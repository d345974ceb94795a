"""From millivolts at any rate to what the networks read: 257 Hz, z-scored per lead, float16.

`PAPER` is the project's default. `REFERENCE` does what the public reference code does, faults included (interpolation
without an anti-alias filter, on a time axis that is stretched by one sample; a band-pass whose edges assume 500 Hz).
"""

import dataclasses
import fractions
import functools

import numpy as np
import scipy.signal

from lrhnet_jax.ecg.leads import RATES, SAMPLE_RATE
from lrhnet_jax.errors import choose

MAX_DENOMINATOR = 10_000  # of the ratio of two rates: off by less than a sample in an hour
RESAMPLE = ("polyphase", "interp")
BANDPASS = ("none", "butterworth_47hz", "butterworth_47hz_257", "monitor")
BAND = (0.001, 47.0)  # Hz
MONITOR_BAND = (0.5, 40.0)  # Hz, of bedside monitors and of most wearables
# Seconds by which a record is continued at its ends before that filter: SciPy's default at 500 Hz. What is filtered at
# 500 Hz and then resampled, as some records are published, then comes out the same.
MONITOR_EDGE = 27 / 500


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """How a signal is prepared.

    Attributes:
      resample: "polyphase" (anti-aliased) or "interp" (the reference's linear interpolation).
      bandpass: "none", "butterworth_47hz" (the reference's: designed for 500 Hz and applied at 257 Hz, where its edges
        come to lie at about 0.0005 and 24 Hz), "butterworth_47hz_257" (0.001 to 47 Hz at `rate`) or "monitor" (0.5 to
        40 Hz, of fourth order: the band of monitors and wearables).
      rate: Hz, of the result.
    """

    resample: str = "polyphase"
    bandpass: str = "none"
    rate: float = float(SAMPLE_RATE)

    def __post_init__(self) -> None:
        choose("", self.resample, RESAMPLE, noun="resample", error=ValueError)
        choose("", self.bandpass, BANDPASS, noun="bandpass", error=ValueError)
        if not (isinstance(self.rate, int | float) and RATES[0] <= self.rate <= RATES[1]):  # nor NaN
            raise ValueError(f"a rate of {self.rate} Hz is not one of an ECG ({RATES[0]:g} to {RATES[1]:g})")


PAPER = Preprocess()
REFERENCE = Preprocess(resample="interp", bandpass="butterworth_47hz")
OPTIONS = {  # of the 12-lead sets
    "paper": PAPER,
    "reference": REFERENCE,
    "bandpass": Preprocess(bandpass="butterworth_47hz_257"),
    "monitor": Preprocess(bandpass="monitor"),
    "100hz": Preprocess(rate=100.0),  # MVKT-ECG
}


def preprocess(signal: np.ndarray, rate: float, options: Preprocess = PAPER) -> np.ndarray:
    """Resamples, filters and z-scores a signal.

    Args:
      signal: (t, leads) float32, millivolts.
      rate: Hz, of `signal`.
      options: what to do.

    Returns:
      (t * options.rate / rate, leads) float16; a lead that was flat is all zeros.
    """
    flat = (signal == signal[0]).all(0)  # before filters leave rounding errors in it
    result = zscore(bandpass(resample(signal, rate, options), options))
    result[:, flat] = 0
    return result.astype(np.float16, order="C")


def resample(
    signal: np.ndarray, rate: float, options: Preprocess = PAPER, offset: np.ndarray | None = None
) -> np.ndarray:
    """Returns `signal` (t, leads) at `options.rate`, float32; unchanged if that is its rate already.

    Args:
      offset: (leads,) what is taken off meanwhile: the first sample of the recording that `signal` is a part of.
    """
    if rate == options.rate:
        return np.asarray(signal, np.float32)
    if options.resample == "interp":
        return _interpolate(signal, rate, options.rate)
    return _polyphase(signal, rate, options.rate, signal[0] if offset is None else offset)


def zscore(signal: np.ndarray) -> np.ndarray:
    """Returns the leads of `signal` (t, leads) with mean 0 and standard deviation 1, float32; a flat lead becomes 0."""
    rows = np.array(signal.T, np.float32, order="C")  # NumPy reduces along contiguous samples several times faster
    flat = rows.max(1) == rows.min(1)
    rows -= rows.mean(1, dtype=np.float64, keepdims=True).astype(np.float32)
    power = np.einsum("ct,ct->c", rows, rows) / rows.shape[1]
    flat |= power == 0  # squares too small for float32
    rows *= np.where(flat, 0, 1 / np.sqrt(np.where(flat, 1, power)))[:, None].astype(np.float32)
    return rows.T


def bandpass(signal: np.ndarray, options: Preprocess) -> np.ndarray:
    """Returns `signal` (t, leads) filtered forwards and backwards (no phase shift), float32."""
    if options.bandpass == "none":
        return signal
    sections, edge = design(options)
    values = np.asarray(signal, np.float64)
    if len(sections) == 1:
        return scipy.signal.filtfilt(sections[0, :, 0], sections[0, :, 1], values, axis=0, padlen=edge).astype(
            np.float32
        )
    rows = sections.transpose(0, 2, 1).reshape(len(sections), -1)
    return scipy.signal.sosfiltfilt(rows, values, axis=0, padlen=edge).astype(np.float32)


@functools.lru_cache(maxsize=16)  # it takes longer than to filter ten seconds
def design(options: Preprocess) -> tuple[np.ndarray, int]:
    """Returns the filter of `options.bandpass`, which is not "none", for those who filter without this module.

    Returns:
      (sections, coefficients, 2) float64: numerator and denominator of each section, one after another; and by how many
      samples a record is continued at its ends, by odd reflection.
    """
    if options.bandpass == "butterworth_47hz":
        # As coded there: edges over 250 Hz, whatever the rate. In this form rounding puts a pole outside of the unit
        # circle: 10 s drift by some 0.05 mV, half an hour is drowned.
        b, a = scipy.signal.butter(3, [BAND[0] / 250, BAND[1] / 250], btype="bandpass")
        return np.stack([b, a], axis=1)[None], 3 * len(a)
    monitor = options.bandpass == "monitor"
    order, band = (4, MONITOR_BAND) if monitor else (3, BAND)
    rows = scipy.signal.butter(order, band, btype="bandpass", output="sos", fs=options.rate)
    sections = rows.reshape(len(rows), 2, 3).transpose(0, 2, 1)
    if monitor:
        return sections, round(MONITOR_EDGE * options.rate)
    return sections, 3 * (2 * len(sections) + 1 - int((sections[:, 2] == 0).sum(0).min()))  # SciPy's default


def _interpolate(signal: np.ndarray, rate: float, target: float) -> np.ndarray:
    # The reference puts the first sample at 0 and the last at the record's end, one sample late, on both time axes.
    samples = len(signal)
    length = int(samples / rate * target)
    old = np.linspace(0, samples, samples) / rate
    new = np.linspace(0, length, length) / target
    return np.stack([np.interp(new, old, lead) for lead in signal.T], axis=1).astype(np.float32)


def _polyphase(signal: np.ndarray, rate: float, target: float, offset: np.ndarray) -> np.ndarray:
    ratio = fractions.Fraction(target / rate).limit_denominator(MAX_DENOMINATOR)
    up, down = ratio.numerator, ratio.denominator
    # The filter lets a trace of a constant through as ripple: large offsets of electrodes had better not pass it.
    taps = lowpass(up, down)
    return scipy.signal.resample_poly(signal - offset, up, down, axis=0, window=taps, padtype="line") + offset


@functools.lru_cache(maxsize=16)
def lowpass(up: int, down: int) -> np.ndarray:
    """The filter that resample_poly designs anew in every call, which takes longer than the filtering."""
    slowest = max(up, down)
    return scipy.signal.firwin(20 * slowest + 1, 1 / slowest, window=("kaiser", 5.0)).astype(np.float32)
