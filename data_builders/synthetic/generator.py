"""One record: a heart, a rhythm and the noise, put together."""

from collections.abc import Iterable

import numpy as np

from data_builders.synthetic import dipole, morphology, noise, rhythm
from lrhnet_jax.tasks import physionet2020


def abbreviations(codes: Iterable[str]) -> frozenset[str]:
    """Returns the abbreviations of scored SNOMED CT codes.

    Raises:
      ValueError: for a code that is not one of the 24 scored diagnoses or their equivalents.
    """
    merged = [physionet2020.EQUIVALENT.get(code, code) for code in codes]
    unknown = sorted(set(merged) - set(physionet2020.DIAGNOSES))
    if unknown:
        raise ValueError(
            f"cannot generate the unscored diagnosis {', '.join(unknown)}; the codes of "
            "lrhnet_jax.tasks.physionet2020.DIAGNOSES can be"
        )
    return frozenset(physionet2020.DIAGNOSES[code][0] for code in merged)


def generate(
    codes: Iterable[str],
    seed: int | tuple[int, ...],
    seconds: float = 10.0,
    rate: float = 500.0,
    age: float = 60.0,
    sex: str = "female",
    *,
    patient: int | tuple[int, ...] | None = None,
    mains: float = 50.0,
    noisy: bool = True,
) -> np.ndarray:
    """Generates one ECG that shows the given diagnoses.

    Diagnoses that exclude each other are not refused: the stronger rhythm wins (pacing, flutter, fibrillation, sinus).

    Args:
      codes: SNOMED CT codes of scored diagnoses; none gives normal sinus rhythm.
      seed: of rhythm and noise; the same arguments give the same signal.
      seconds: length.
      rate: samples a second.
      age: years.
      sex: "female" or "male".
      patient: seed of the heart's form; records of one patient share it. By default taken from `seed`.
      mains: frequency of the power line, Hz.
      noisy: False leaves out noise and baseline wander.

    Returns:
      (samples, 12) float32, mV, leads in the order of `leads.LEADS`.

    Raises:
      ValueError: for an unscored code, or a length or rate that holds no ECG.
    """
    if seconds < 1 or rate < 50:
        raise ValueError(f"an ECG needs at least 1 s at 50 Hz or more; got {seconds} s at {rate} Hz")
    classes = abbreviations(codes)
    seed = seed if isinstance(seed, tuple) else (seed,)
    patient_seed = seed if patient is None else patient if isinstance(patient, tuple) else (patient,)
    heart = morphology.make(classes, np.random.default_rng([*patient_seed, 1]), age=age, sex=sex)
    rng = np.random.default_rng([*seed, 2])
    beats = rhythm.make(classes, rng, seconds, age=age, pr=heart.pr, qrs_width=heart.qrs_width)
    samples = round(seconds * rate)
    signal = dipole.render(_trains(heart, beats, rng, rate), heart.leads, samples, rate)
    if beats.atria in ("fibrillation", "flutter"):
        signal += _atrial_waves(beats, heart.leads, rng, samples, rate)
    if noisy:
        signal += noise.make(rng, samples, rate, mains, beats.breath)
    return dipole.twelve_leads(signal)


def _trains(heart: morphology.Heart, beats: rhythm.Rhythm, rng: np.random.Generator, rate: float) -> list[dipole.Train]:
    def train(times: np.ndarray, scales: np.ndarray | float, waves: list[dipole.Wave]) -> dipole.Train:
        breath = 1 + 0.05 * np.sin(2 * np.pi * beats.breath[0] * times + beats.breath[1])
        gains = breath * (1 + 0.02 * rng.standard_normal(len(times)))
        return dipole.Train(times, np.broadcast_to(np.asarray(scales, np.float32), times.shape), gains, waves)

    trains = []
    if beats.atria == "waves":
        trains.append(train(beats.p, 1.0, heart.p))
    trains.append(train(beats.odd_p, 1.0, heart.odd_p))
    for kind, waves in heart.qrs.items():
        of_kind = beats.kind == kind
        times, width = beats.qrs[of_kind], heart.widths[kind]
        # Fridericia's cube root; conduction delay lengthens QT by part of the widening.
        qt = heart.qtc * np.cbrt(np.clip(beats.rr[of_kind], 0.3, 1.6)) + 0.6 * max(width - 0.095, 0)
        trains += [train(times, width, waves), train(times, qt, heart.t[kind])]
    if len(beats.spikes):
        size = rng.choice([rng.uniform(0.25, 0.6), rng.uniform(0.6, 2.0)])  # bipolar or unipolar electrode
        width = max(0.001, 0.45 / rate)
        spike = dipole.Wave(
            0.0, width, width, dipole.moment(size, rng.uniform(-100, -30), rng.uniform(-0.5, 0.5) * size)
        )
        trains.append(train(beats.spikes, 1.0, [spike]))
    return trains


def _atrial_waves(
    beats: rhythm.Rhythm, leads: np.ndarray, rng: np.random.Generator, samples: int, rate: float
) -> np.ndarray:
    """Continuous activity of the atria, (samples, 8): a regular sawtooth, or waves of changing rate, size and form."""
    time = np.arange(samples, dtype=np.float32) / np.float32(rate)
    if beats.atria == "flutter":
        phase = 2 * np.pi * (time - beats.flutter_phase) / beats.flutter_cycle
        wave = np.sin(phase) + 0.42 * np.sin(2 * phase + 0.3) + 0.18 * np.sin(3 * phase + 0.6)
        common = rng.random() < 0.75  # counter-clockwise: negative below, positive in V1
        size = rng.uniform(0.09, 0.22)
        seen = leads @ dipole.moment(size, rng.normal(-95, 10) if common else rng.normal(85, 10), -0.05)
        seen[2:] += dipole.chest(0.7, 0.3, 0.1, 0, 0, 0) * size * (1 if common else -0.7)
        return np.outer(wave, seen).astype(np.float32)
    signal = np.zeros((samples, 8), np.float32)
    size = rng.gamma(3.0, 0.011) + 0.015  # coarse in some, hardly to be seen in others
    knots = max(int(samples / rate * 1.5), 4)
    at = np.linspace(0, time[-1], knots)
    for source in range(2):
        speed = np.interp(time, at, rng.normal(rng.uniform(5.0, 7.5), 0.7, knots))
        phase = np.cumsum(speed / rate) * 2 * np.pi + rng.uniform(0, 2 * np.pi)
        swell = np.interp(time, at, np.clip(rng.normal(1, 0.35, knots), 0.2, 2))
        wave = swell * (np.sin(phase) + 0.35 * np.sin(2 * phase + rng.uniform(0, 2 * np.pi)))
        seen = leads @ dipole.moment(size * rng.uniform(0.4, 1.2), rng.uniform(40, 140), -0.6 * size)
        seen[2:] += dipole.chest(1, 0.4, 0.1, 0, 0, 0) * size * (1.2 if source == 0 else 0.3)
        signal += np.outer(wave, seen).astype(np.float32)
    return signal
