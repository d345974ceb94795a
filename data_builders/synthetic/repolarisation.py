"""The T wave and ST segment: normal, abnormal by diagnosis, or secondary to a wide QRS complex."""

from collections.abc import Set as AbstractSet

import numpy as np

from data_builders.synthetic.dipole import WALLS, Wave, chest, moment


def discordant(qrs: list[Wave], share: float) -> list[Wave]:
    """T (and ST) against the main force of a wide complex."""
    vector = -share * sum((w.vector for w in qrs), np.zeros(3))
    near = -share * sum((w.near for w in qrs if w.near is not None), np.zeros(6))
    return [
        Wave(0.76, 0.15, 0.10, vector, near),
        Wave(0.5, 0.1, 0.14, 0.3 * vector, 0.3 * near),
    ]


def t_waves(
    size: float,
    towards: float,
    near_t: np.ndarray,
    qrs: list[Wave],
    classes: AbstractSet[str],
    rng: np.random.Generator,
) -> list[Wave]:
    """Draws ST and T of conducted beats, in units of QT: normally near the QRS axis and to the front.

    Args:
      size: of T in mV; towards: its frontal axis in degrees; near_t: (6,) its near field of this patient.
      qrs: the complex, which the T wave opposes where conduction is slow.
    """
    vector = moment(size, towards, -0.8 * size)
    near = near_t + size * chest(0.0, 0.35, 0.0, -0.3, -0.35, -0.2)
    st = moment(0.03, 60, -0.03)
    st_near = np.zeros(6)
    rise = 0.145
    if classes & {"LBBB", "NSIVCB"} and "RBBB" not in classes:
        against = discordant(qrs, 0.3)
        share = 1.0 if "LBBB" in classes else rng.uniform(0.1, 0.7)
        vector = (1 - share) * vector + share * against[0].vector
        near = (1 - share) * near
        st = share * against[1].vector
    elif "RBBB" in classes:
        near = near - size * chest(0.9, 0.6, 0.2, 0, 0, 0) * rng.uniform(0.5, 1.3)
    elif rng.random() < 0.12:  # slight ST depression of no diagnosis
        st_near = -0.06 * rng.random() * WALLS["lateral"][0]
    if "TAb" in classes:
        vector, near, st_near = _abnormal_t(vector, near, size, rng)
    if "TInv" in classes:
        vector, near = _inverted_t(vector, near, size, rng)
        rise = 0.12
    return [
        Wave(0.775, rise, 0.1, vector, near),
        Wave(0.42, 0.12, 0.14, st, st_near),
    ]


def _abnormal_t(
    vector: np.ndarray, near: np.ndarray, size: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flat, slightly inverted over a wall, or tall: returns moment, near field and the near field of ST."""
    form = rng.choice(["flat", "wall", "tall"], p=[0.5, 0.38, 0.12])
    strength = rng.beta(2.2, 1.5)
    if form == "flat":
        left = 1 - 0.95 * strength
        return vector * left, near * left, -0.08 * strength * WALLS["lateral"][0]
    if form == "tall":
        return vector * (1.4 + strength), near * (1.4 + strength), np.zeros(6)
    chest_part, towards = WALLS[rng.choice(list(WALLS))]
    left = 1 - 0.6 * strength
    lost = 1.3 * strength * size
    vector = vector * left - moment(0.5 * lost, towards, 0.0)
    return vector, near * left - lost * chest_part, -0.07 * strength * chest_part


def _inverted_t(
    vector: np.ndarray, near: np.ndarray, size: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """T against its normal direction over one wall, or everywhere."""
    size = max(size, 0.16)
    depth = size * rng.uniform(0.8, 2.0)
    wall = rng.choice(["anterior", "lateral", "inferior", "all"], p=[0.4, 0.27, 0.18, 0.15])
    if wall == "all":
        flip = rng.uniform(0.6, 1.2)
        return -flip * vector, -flip * near
    if wall == "anterior":
        return vector * 0.7, near * 0.5 - (1.0 + size / 0.3) * depth * WALLS["anterior"][0]
    chest_part, towards = WALLS[wall]
    return 0.25 * vector - moment(depth, towards, 0.0), near - depth * chest_part
