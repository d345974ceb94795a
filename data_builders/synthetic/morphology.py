"""The form of one patient's beats: traits that everybody has, and what each diagnosis does to them.

Every finding has a strength drawn per patient, from barely to plainly visible, and traits vary up to the limits of
normal: no network should reach a perfect score.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from data_builders.synthetic import repolarisation, rhythm
from data_builders.synthetic.dipole import LEAD_VECTORS, WALLS, Wave, chest, moment


@dataclass(frozen=True)
class Heart:
    """What the beats of one patient look like.

    Attributes:
      leads: (8, 3) lead vectors of this chest and these electrode positions.
      pr, qtc, qrs_width: seconds; qtc at a rate of 60, without the widening that `qrs_width` brings.
      axis: of the QRS complex in the frontal plane, degrees.
      p, odd_p: waves in seconds from the onset of P.
      qrs, t: by kind of beat; scales are `widths[kind]` and the beat's QT.
      widths: by kind of beat, seconds.
    """

    leads: np.ndarray
    pr: float
    qtc: float
    qrs_width: float
    axis: float
    p: list[Wave]
    odd_p: list[Wave]
    qrs: dict[int, list[Wave]]
    t: dict[int, list[Wave]]
    widths: dict[int, float]


@dataclass(frozen=True)
class _Traits:
    voltage: float
    axis: float
    back: float
    near_qrs: np.ndarray
    near_t: np.ndarray
    t_share: float
    t_turn: float


def _near(rng: np.random.Generator, size: float) -> np.ndarray:
    """A smooth random near field: neighbouring electrodes see alike."""
    steps = rng.standard_normal(4)
    return size * np.interp(np.arange(6), [0, 1.7, 3.4, 5], steps)


def make(classes: AbstractSet[str], rng: np.random.Generator, *, age: float, sex: str) -> Heart:
    """Draws a heart that shows `classes` (abbreviations).

    The traits that no diagnosis changes are drawn first: the same generator state gives the same patient, whatever the
    diagnoses.
    """
    leads = LEAD_VECTORS + 0.09 * rng.standard_normal((8, 3)) * np.abs(LEAD_VECTORS).max(1, keepdims=True)
    male = sex.lower().startswith("m")
    voltage = 1.03 * rng.lognormal(0, 0.28) * (1.04 if male else 0.96) * np.clip(1.15 - 0.003 * age, 0.8, 1.15)
    voltage = float(np.clip(voltage, 0.68, 2.1))
    axis = float(np.clip(rng.normal(60 - 0.6 * (age - 25), 27), -26, 88))
    traits = _Traits(
        voltage,
        axis,
        voltage * float(np.clip(rng.normal(1.05, 0.3), 0.4, 1.8)),
        _near(rng, 0.24 * voltage),
        _near(rng, 0.09),
        float(np.clip(rng.normal(0.26 if male else 0.23, 0.055), 0.15, 0.4)),
        float(rng.normal(0, 14)),
    )
    width = float(np.clip(rng.normal(0.094 if male else 0.089, 0.007), 0.075, 0.107))
    pr = float(np.clip(rng.normal(0.150 + 0.0003 * age, 0.017), 0.118, 0.197))
    qtc = float(np.clip(rng.normal(0.410 if male else 0.420, 0.016), 0.37, 0.452))
    p = _p_waves(rng)
    odd_p = _odd_p_waves(rng)
    u = Wave(1.16, 0.06, 0.07, np.zeros(3), chest(0, 1, 1, 0.7, 0.3, 0) * rng.uniform(0, 0.05))
    ventricular = _foreign_qrs(traits, rng, _premature_origin(rng))
    ventricular_width = rng.uniform(0.15, 0.19)
    paced = _foreign_qrs(traits, rng, (rng.uniform(-85, -55), rng.uniform(0.4, 0.9), -0.45))
    paced_width = rng.uniform(0.16, 0.2)

    axis = _axis(traits.axis, classes, rng)
    if "LQRSV" in classes:
        traits = _weaker(traits, rng)
    qrs, width = _qrs(traits, axis, width, classes, rng)
    if "QAb" in classes:
        qrs = _with_q_wave(qrs, traits, rng)
    if classes & {"IAVB", "LPR"}:
        pr = float(np.clip(0.205 + rng.gamma(1.8, 0.024), 0.205, 0.36))
    if "LQT" in classes:
        qtc = float(np.clip(0.462 + rng.gamma(2.0, 0.02), 0.462, 0.6))
    t = repolarisation.t_waves(
        float(np.clip(traits.t_share * (0.5 + 0.4 * traits.voltage), 0.09, 0.42)),
        float(np.clip(0.45 * axis + 26 + traits.t_turn, 5, 75)),
        traits.near_t,
        qrs,
        classes,
        rng,
    )
    normal, premature, stimulated = rhythm.NORMAL, rhythm.VENTRICULAR, rhythm.PACED
    return Heart(
        leads,
        pr,
        qtc,
        width,
        axis,
        p,
        odd_p,
        qrs={normal: qrs, premature: ventricular, stimulated: paced},
        t={
            normal: [*t, u],
            premature: repolarisation.discordant(ventricular, 0.32),
            stimulated: repolarisation.discordant(paced, 0.3),
        },
        widths={normal: width, premature: ventricular_width, stimulated: paced_width},
    )


def _p_waves(rng: np.random.Generator) -> list[Wave]:
    """Right atrium first and to the front, then the left one to the back: biphasic in V1."""
    size, axis = rng.uniform(0.06, 0.11), rng.normal(55, 12)
    far = -size * chest(0, 0.2, 0.7, 0.7, 0.55, 0.4)  # the atria lie behind the ventricles: V3-V6 see less of them
    return [
        Wave(0.036, 0.016, 0.017, moment(size, axis + 10, -0.045), far),
        Wave(0.068, 0.019, 0.017, moment(size * rng.uniform(0.6, 1.0), axis - 15, rng.uniform(0.02, 0.06)), far),
    ]


def _odd_p_waves(rng: np.random.Generator) -> list[Wave]:
    """An ectopic atrial focus: often low in the atrium, so that P is inverted below; else another form."""
    low = rng.random() < 0.6
    axis = rng.uniform(-110, -70) if low else rng.uniform(-20, 20)
    return [Wave(0.04, 0.015, 0.017, moment(rng.uniform(0.09, 0.17), axis, rng.normal(-0.03, 0.06)))]


def _axis(normal: float, classes: AbstractSet[str], rng: np.random.Generator) -> float:
    strength = rng.beta(1.6, 2.0)
    if "LAnFB" in classes:
        return float(-46 - 35 * strength)
    if "LAD" in classes:
        return float(-28 - 41 * strength)
    if "RAD" in classes:
        return float(93 + 48 * strength)
    if classes & {"LBBB", "NSIVCB"}:
        return float(np.clip(normal - 25, -27, 80))
    return normal


def _weaker(traits: _Traits, rng: np.random.Generator) -> _Traits:
    voltage = rng.uniform(0.2, 0.36)
    share = rng.uniform(0.5, 1.0)  # some chests show low voltage in the limb leads only
    back = traits.back * share
    return _Traits(
        voltage, traits.axis, back, traits.near_qrs * share, traits.near_t * 0.6, traits.t_share, traits.t_turn
    )


def _qrs(
    traits: _Traits, axis: float, width: float, classes: AbstractSet[str], rng: np.random.Generator
) -> tuple[list[Wave], float]:
    """Returns the complex of conducted beats, in units of its width, and the width in seconds."""
    v, back, near = traits.voltage, traits.back, traits.near_qrs
    strength = rng.beta(2.0, 1.8)
    deep = chest(0.15, -0.2, -0.25, -0.1, 0, 0) * back
    right, left = "RBBB" in classes, "LBBB" in classes
    if left and not right:
        width = 0.122 + 0.045 * strength
        notch = rng.uniform(0.6, 0.95)
        return [
            Wave(0.16, 0.07, 0.09, moment(0.3 * v, axis, -0.08 * back if rng.random() < 0.6 else 0.15 * back)),
            Wave(0.36, 0.10, 0.10, moment(0.68 * v, axis, 0.65 * back), 0.5 * near),
            Wave(0.66, 0.12, 0.10, moment(0.85 * notch * v, axis - 8, 0.75 * back), 0.5 * near),
        ], width
    if "NSIVCB" in classes and not right:
        width = 0.114 + 0.036 * strength
        return [
            Wave(0.12, 0.05, 0.05, moment(0.1 * v, axis + 170, -0.2 * back)),
            Wave(0.32, 0.08, 0.08, moment(0.75 * v, axis + rng.normal(0, 12), 0.2 * back), near),
            Wave(0.58, 0.09, 0.09, moment(0.55 * v, axis + rng.normal(0, 25), 0.6 * back)),
            Wave(0.82, 0.08, 0.08, moment(0.3 * v, axis + rng.normal(60, 60), rng.normal(0.15, 0.2) * back)),
        ], width
    hemiblock = "LAnFB" in classes
    first = 110.0 if hemiblock else axis + rng.uniform(140, 190)
    waves = [
        Wave(0.17, 0.065, 0.065, moment(v * (0.32 if hemiblock else rng.uniform(0.05, 0.2)), first, -0.22 * back)),
        Wave(0.42, 0.105, 0.09, moment(v, axis, 0.12 * back), near),
        Wave(0.58, 0.085, 0.09, moment(0.4 * v, axis - 8, 0.75 * back), deep),
        Wave(0.78, 0.075, 0.075, moment(rng.uniform(0.05, 0.3) * v, axis + rng.uniform(110, 190), 0.2 * back)),
    ]
    if hemiblock:
        width = max(width, 0.094)
    if right:
        narrow, width = width, 0.121 + 0.036 * strength
        shrink = min(narrow * 0.95, 0.09) / width
        waves = [Wave(w.centre * shrink, w.rise * shrink, w.fall * shrink, w.vector, w.near) for w in waves[:3]]
        late = moment(rng.uniform(0.32, 0.6) * v, rng.uniform(165, 215), -rng.uniform(0.35, 0.7) * back)
        waves.append(Wave(0.72, 0.11, 0.12, late, chest(0.12, 0.06, 0, 0, 0, 0) * v))
    elif "IRBBB" in classes:
        width = 0.1 + 0.014 * strength
        late = moment((0.1 + 0.16 * strength) * v, rng.uniform(160, 210), -(0.12 + 0.18 * strength) * back)
        waves[3] = Wave(0.82, 0.075, 0.07, late, chest(0.08, 0.02, 0, 0, 0, 0) * v)
    return waves, width


def _with_q_wave(qrs: list[Wave], traits: _Traits, rng: np.random.Generator) -> list[Wave]:
    """A dead wall: no forces towards it at the start, so that its leads show a wide Q wave or QS complex."""
    wall = rng.choice(["anterior", "inferior", "lateral"], p=[0.45, 0.4, 0.15])
    near, towards = WALLS[wall]
    size = rng.uniform(0.45, 1.0) * traits.voltage
    kept = [Wave(w.centre, w.rise, w.fall, w.vector, w.near) for w in qrs[1:]]
    if wall == "anterior":
        vector, near = moment(0.05 * size, 180, 0.35 * size), -0.85 * size * near
    else:
        vector, near = moment(0.75 * size, towards + 180, 0.0), -0.5 * size * near
    return [Wave(0.22, 0.085, 0.1, vector, near), *kept]


def _premature_origin(rng: np.random.Generator) -> tuple[float, float, float]:
    """Axis, force to the back and near field at the apex: of a focus in outflow tract, apex or left ventricle."""
    return [
        (rng.uniform(75, 105), rng.uniform(0.4, 1.0), 0.3),
        (rng.uniform(-95, -50), rng.uniform(0.3, 0.9), -0.4),
        (rng.uniform(100, 250), -rng.uniform(0.5, 1.1), -0.4),
    ][rng.integers(3)]


def _foreign_qrs(traits: _Traits, rng: np.random.Generator, origin: tuple[float, float, float]) -> list[Wave]:
    """A beat that starts in a ventricle and spreads slowly, cell by cell."""
    axis, back, apex = origin
    size = traits.voltage**0.7 * rng.uniform(0.8, 1.25)
    turn = rng.normal(0, 20)
    near = chest(0, 0, 0.1, 0.4, 0.6, 0.6) * apex * size
    return [
        Wave(0.3, 0.11, 0.11, moment(0.75 * size, axis + turn, 0.7 * back * size), 0.6 * near),
        Wave(0.58, 0.13, 0.13, moment(0.9 * size, axis, 1.0 * back * size), near),
    ]
