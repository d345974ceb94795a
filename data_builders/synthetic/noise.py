"""What an electrode adds: amplifier noise, muscle, mains, a wandering baseline, poor contact."""

import numpy as np
from scipy import signal as scipy_signal

# Rows: electrodes RA, LA, LL, V1-V6; columns: leads I, II, V1-V6 (chest leads against Wilson's central terminal).
_ELECTRODES = np.zeros((9, 8), np.float32)
_ELECTRODES[[0, 1], 0] = -1, 1
_ELECTRODES[[0, 2], 1] = -1, 1
_ELECTRODES[:3, 2:] = -1 / 3
_ELECTRODES[3:, 2:] = np.eye(6)


def make(rng: np.random.Generator, samples: int, rate: float, mains: float, breath: tuple[float, float]) -> np.ndarray:
    """Draws the noise of one record at the nine electrodes, so that limb leads share it as real ones do.

    Args:
      mains: frequency of the power line in Hz.
      breath: (Hz, phase) of respiration, which moves the baseline.

    Returns:
      (samples, 8) float32, mV, leads I, II, V1-V6.
    """
    time = np.arange(samples, dtype=np.float32) / np.float32(rate)
    quality = rng.lognormal(0.0, 0.6)  # one factor for the whole record: some are clean, some poor
    noise = rng.standard_normal((9, samples), np.float32)
    noise *= (0.0025 * quality * rng.lognormal(0, 0.3, (9, 1))).astype(np.float32)
    if rng.random() < 0.35:
        noise += _muscle(rng, samples, rate, 0.02 * quality)
    if rng.random() < 0.5 and mains < rate / 2:
        hum = np.sin(np.float32(2 * np.pi * mains) * time + np.float32(rng.uniform(0, 6.28)))
        noise += (0.005 * quality * rng.lognormal(0, 0.5, (9, 1))).astype(np.float32) * hum
    noise += _wander(rng, time, 0.028 * quality, breath)
    if rng.random() < 0.06:
        noise += _contact(rng, time)
    return noise.T @ _ELECTRODES


def _muscle(rng: np.random.Generator, samples: int, rate: float, level: float) -> np.ndarray:
    """Tremor: noise above 20 Hz, mostly at the limbs, swelling and fading."""
    numerator, denominator = scipy_signal.butter(1, min(20 / (rate / 2), 0.9), "high")
    burst = rng.standard_normal((3, samples), np.float32)
    burst = scipy_signal.lfilter(numerator.astype(np.float32), denominator.astype(np.float32), burst)
    knots = max(int(samples / rate / 2), 3)
    swell = np.interp(np.arange(samples), np.linspace(0, samples, knots), rng.gamma(0.6, 1.0, knots))
    noise = np.zeros((9, samples), np.float32)
    noise[:3] = level * swell * burst
    return noise


def _wander(rng: np.random.Generator, time: np.ndarray, level: float, breath: tuple[float, float]) -> np.ndarray:
    """Respiration and a few slow waves, each with its own strength at each electrode."""
    frequencies = np.array([breath[0], *rng.uniform(0.04, 0.5, 3)])
    phases = np.array([breath[1], *rng.uniform(0, 2 * np.pi, 3)])
    waves = np.sin((2 * np.pi * frequencies).astype(np.float32)[:, None] * time + phases.astype(np.float32)[:, None])
    strength = level * rng.standard_normal((9, 4)) * np.array([1.0, 0.8, 0.6, 0.4])
    return strength.astype(np.float32) @ waves


def _contact(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """A jump of one electrode's potential that decays as the amplifier recovers."""
    noise = np.zeros((9, len(time)), np.float32)
    start = rng.uniform(0, time[-1])
    after = time >= start
    noise[rng.integers(9), after] = rng.normal(0, 0.5) * np.exp(-(time[after] - start) / rng.uniform(0.15, 0.6))
    return noise
