"""The heart as a moving dipole, and how twelve leads see it.

A wave is a sum of Gaussians in time. Each Gaussian has a moment in space (a 3-vector) that all leads see through fixed
lead vectors, and a near field that only the chest electrodes close to its source see.
"""

from dataclasses import dataclass

import numpy as np

CHEST = 6
INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")  # the other four limb leads follow from I and II

# Dower's lead vectors (G. E. Dower, "A lead synthesizer for the Frank system", Circ. Res. 1968): rows as INDEPENDENT,
# columns towards the left arm, the feet and the back.
LEAD_VECTORS = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
_AVF = LEAD_VECTORS[1] - LEAD_VECTORS[0] / 2
_FROM_FRONTAL = np.linalg.inv(np.stack([LEAD_VECTORS[0, :2], _AVF[:2]]))


def moment(amplitude: float, axis: float, back: float) -> np.ndarray:
    """Returns the moment (3,) that leads I and aVF see as `amplitude` mV in direction `axis`.

    Args:
      amplitude: in the frontal plane, in mV of lead I.
      axis: degrees as electrocardiographers count them: 0 towards the left arm, 90 towards the feet.
      back: component towards the back, in mV.
    """
    angle = np.deg2rad(axis)
    # aVF is an augmented lead: it sees sqrt(3)/2 of what a lead of the Einthoven triangle sees.
    seen = amplitude * np.array([np.cos(angle), np.sin(angle) * np.sqrt(3) / 2])
    seen = seen - back * np.array([LEAD_VECTORS[0, 2], _AVF[2]])
    return np.array([*(_FROM_FRONTAL @ seen), back])


@dataclass(frozen=True)
class Wave:
    """One Gaussian of a wave.

    Attributes:
      centre, rise, fall: its peak and the standard deviations before and after it, in units of the wave's scale.
      vector: (3,) moment in mV.
      near: (6,) what V1-V6 see besides, in mV.
    """

    centre: float
    rise: float
    fall: float
    vector: np.ndarray
    near: np.ndarray | None = None

    def seen(self, leads: np.ndarray) -> np.ndarray:
        """Returns the amplitude in each of the INDEPENDENT leads, (8,), through lead vectors (8, 3)."""
        amplitudes = leads @ self.vector
        if self.near is not None:
            amplitudes[2:] += self.near
        return amplitudes


@dataclass(frozen=True)
class Train:
    """The same wave at several times: times, scales (seconds) and gains are (events,)."""

    times: np.ndarray
    scales: np.ndarray
    gains: np.ndarray
    waves: list[Wave]


def render(trains: list[Train], leads: np.ndarray, samples: int, rate: float) -> np.ndarray:
    """Sums all waves of all trains.

    Returns:
      (samples, 8) float32, mV, in the order of INDEPENDENT.
    """
    trains = [train for train in trains if len(train.times) and train.waves]
    traces = np.zeros((sum(len(train.waves) for train in trains), samples), np.float32)
    amplitudes = np.empty((len(traces), 8), np.float32)
    row = 0
    for train in trains:
        for wave in train.waves:
            _add_gaussians(traces[row], train, wave, rate)
            amplitudes[row] = wave.seen(leads)
            row += 1
    return traces.T @ amplitudes


def _add_gaussians(trace: np.ndarray, train: Train, wave: Wave, rate: float) -> None:
    centres = (train.times + wave.centre * train.scales) * rate
    rise = np.float32(wave.rise * rate) * train.scales
    fall = np.float32(wave.fall * rate) * train.scales
    reach = int(3.5 * max(rise.max(), fall.max())) + 1
    first = np.floor(centres).astype(np.int64) - reach
    index = first[:, None] + np.arange(2 * reach + 2)
    away = (index - centres[:, None]).astype(np.float32)
    width = np.where(away < 0, rise[:, None], fall[:, None]).astype(np.float32)
    values = np.exp(-0.5 * np.square(away / width)) * train.gains[:, None].astype(np.float32)
    inside = (index >= 0) & (index < len(trace))
    trace += np.bincount(index[inside], values[inside], minlength=len(trace))[: len(trace)].astype(np.float32)


def twelve_leads(independent: np.ndarray) -> np.ndarray:
    """Returns all leads (samples, 12) in standard order from the INDEPENDENT ones (samples, 8).

    III = II - I (Einthoven); aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2 (Goldberger).
    """
    one, two = independent[:, 0], independent[:, 1]
    leads = np.empty((len(independent), 12), independent.dtype)
    leads[:, 0] = one
    leads[:, 1] = two
    leads[:, 2] = two - one
    leads[:, 3] = -(one + two) / 2
    leads[:, 4] = one - two / 2
    leads[:, 5] = two - one / 2
    leads[:, 6:] = independent[:, 2:]
    return leads


def chest(*values: float) -> np.ndarray:
    """Returns a near field (6,) for V1-V6."""
    near = np.asarray(values, float)
    if near.shape != (CHEST,):
        raise ValueError(f"a near field has {CHEST} values, for V1 to V6; got {len(values)}")
    return near


# Chest leads that see a finding most, by wall of the heart; the limb leads see it from the wall's axis in degrees.
WALLS: dict[str, tuple[np.ndarray, float]] = {
    "anterior": (chest(0.6, 1.0, 1.0, 0.7, 0.25, 0.0), 0.0),
    "lateral": (chest(0.0, 0.0, 0.1, 0.35, 0.8, 0.8), -10.0),
    "inferior": (chest(0.0, 0.0, 0.0, 0.0, 0.1, 0.2), 95.0),
}
