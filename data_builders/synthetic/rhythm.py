"""When the heart beats: sinus rhythm and its disturbances as a timetable of beats.

All times are seconds from the start of the record; a beat's time is the onset of its QRS complex.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np

# Kinds of beat. A kind decides the form of the QRS complex and of the T wave.
NORMAL, VENTRICULAR, PACED = 0, 1, 2
LEAD_IN = 2.0  # seconds simulated before the record starts, so that its first T wave belongs to a beat


@dataclass
class Rhythm:
    """Beats and atrial activity of one record.

    Attributes:
      qrs: (beats,) onset of each QRS complex.
      kind: (beats,) NORMAL, VENTRICULAR or PACED.
      rr: (beats,) interval that the beat's QT follows: a slow average of the intervals before it.
      p: onsets of sinus P waves; odd_p: of ectopic ones; both (waves,).
      spikes: (spikes,) times of pacemaker stimuli.
      atria: "waves" (P waves), "fibrillation", "flutter" or "silent".
      flutter_cycle, flutter_phase: length of a flutter wave and the time of one.
      breath: (rate in Hz, phase) of respiration, which also moves the baseline and the amplitudes.
      premature: (beats,) whether a beat is early: an atrial or ventricular extrasystole.
    """

    qrs: np.ndarray
    kind: np.ndarray
    rr: np.ndarray
    p: np.ndarray
    odd_p: np.ndarray
    spikes: np.ndarray
    premature: np.ndarray
    breath: tuple[float, float]
    atria: str = "waves"
    flutter_cycle: float = 0.2
    flutter_phase: float = 0.0


@dataclass
class _Beats:
    """The lists that the loops below fill."""

    qrs: list[float] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    premature: list[bool] = field(default_factory=list)
    p: list[float] = field(default_factory=list)
    odd_p: list[float] = field(default_factory=list)
    spikes: list[float] = field(default_factory=list)

    def add(self, time: float, kind: int = NORMAL, premature: bool = False) -> None:
        self.qrs.append(time)
        self.kind.append(kind)
        self.premature.append(premature)


def heart_rate(classes: AbstractSet[str], rng: np.random.Generator, age: float) -> float:
    """Returns a mean heart rate in beats per minute that fits the diagnoses (abbreviations)."""
    if "STach" in classes:
        rate = 101 + rng.gamma(2.0, 7.0)
        return float(min(rate, 165 - 0.3 * max(age - 50, 0)))
    if classes & {"SB", "Brady"}:
        return float(max(59 - rng.gamma(2.0, 3.5), 34))
    if "AF" in classes:
        return float(np.clip(rng.normal(88, 20), 55, 150))
    return float(np.clip(rng.normal(72, 11), 55, 99))


def make(
    classes: AbstractSet[str],
    rng: np.random.Generator,
    seconds: float,
    *,
    age: float,
    pr: float,
    qrs_width: float,
) -> Rhythm:
    """Draws the timetable of a record that shows `classes` (abbreviations).

    Where classes exclude each other the stronger rhythm wins: pacing, flutter, fibrillation, then sinus rhythm.

    Args:
      pr: PR interval of conducted sinus beats, in seconds.
      qrs_width: in seconds; a pause or early beat never cuts into the complex before it.
    """
    rate = heart_rate(classes, rng, age)
    breath = (float(rng.uniform(0.18, 0.32)), float(rng.uniform(0, 2 * np.pi)))
    beats = _Beats()
    cycle, phase, atria = 0.2, 0.0, "waves"
    dues = _ectopic_times(classes, rng, seconds, 60 / rate)
    if "PR" in classes:
        atria = _paced(beats, classes, rng, seconds, rate, dues)
    elif "AFL" in classes:
        atria = "flutter"
        cycle, phase = _flutter(beats, classes, rng, seconds, dues)
    elif "AF" in classes:
        atria = "fibrillation"
        _fibrillation(beats, rng, seconds, rate, dues, qrs_width)
    else:
        junctional = (
            "Brady" in classes and not classes & {"NSR", "SB", "SA", "IAVB", "LPR", "PAC"} and rng.random() < 0.4
        )
        atria = "silent" if junctional else "waves"
        _sinus(beats, classes, rng, seconds, rate, dues, breath, age=age, pr=pr, conducted=not junctional)
    qrs = np.array(beats.qrs)
    order = np.argsort(qrs, kind="stable")
    qrs = qrs[order]
    rr = np.diff(qrs, prepend=qrs[0] - 60 / rate)
    for i in range(1, len(rr)):  # QT follows the rate slowly: an early beat keeps nearly the QT of its neighbours
        rr[i] = 0.75 * rr[i - 1] + 0.25 * rr[i]
    return Rhythm(
        qrs,
        np.array(beats.kind)[order],
        rr,
        np.array(beats.p),
        np.array(beats.odd_p),
        np.array(beats.spikes),
        np.array(beats.premature)[order],
        breath,
        atria,
        cycle,
        phase,
    )


def _ectopic_times(
    classes: AbstractSet[str], rng: np.random.Generator, seconds: float, rr: float
) -> list[tuple[float, str]]:
    """When an extrasystole falls due, and which ("PAC" or "PVC"), in order of time. At least one lies in the record."""
    dues: list[tuple[float, str]] = []
    for name in ("PAC", "PVC"):
        if name not in classes:
            continue
        if rng.random() < 0.15:  # bigeminy or trigeminy
            step = rr * (2.6 if rng.random() < 0.5 else 3.6)
            dues += [(float(t), name) for t in np.arange(0.3, seconds, step)]
        else:
            count = 1 + rng.poisson(1.3 * seconds / 10)
            latest = max(seconds - 2.5 * rr, 0.1)
            dues += [(float(t), name) for t in rng.uniform(0.05 * seconds, latest, count)]
    return sorted(dues)


def _sinus(
    beats: _Beats,
    classes: AbstractSet[str],
    rng: np.random.Generator,
    seconds: float,
    rate: float,
    dues: list[tuple[float, str]],
    breath: tuple[float, float],
    *,
    age: float,
    pr: float,
    conducted: bool,
) -> None:
    """Sinus (or, not conducted, junctional) rhythm with respiratory and slow variability, and extrasystoles."""
    rr0 = 60 / rate
    youth = np.clip(1.4 - age / 80, 0.3, 1.2)
    if "SA" in classes:
        respiratory, slow, jitter = rng.uniform(0.09, 0.2), rng.uniform(0.02, 0.06), 0.015
    elif not conducted:
        respiratory, slow, jitter = 0.002, 0.004, 0.006
    else:
        respiratory, slow, jitter = 0.025 * youth * rng.uniform(0.4, 1.5), 0.012 * rng.uniform(0.3, 1.5), 0.006
    if "STach" in classes:
        respiratory, slow = respiratory * 0.4, slow * 0.6
    slow_phase = rng.uniform(0, 2 * np.pi)
    # Only some junctional beats show their retrograde P wave, in the ST segment.
    retrograde = not conducted and rng.random() < 0.4
    coupling = rng.uniform(0.52, 0.72)  # an ectopic focus fires at a steady distance from the beat before
    pr = min(pr, 0.55 * rr0)
    t, due = -LEAD_IN - rng.uniform(0, rr0), 0
    while t < seconds + rr0:
        beats.add(t)
        if conducted:
            beats.p.append(t - pr)
        elif retrograde:
            beats.odd_p.append(t + 0.13)
        interval = rr0 * (
            1
            + respiratory * np.sin(2 * np.pi * breath[0] * t + breath[1])
            + slow * np.sin(2 * np.pi * 0.1 * t + slow_phase)
            + jitter * rng.standard_normal()
        )
        if due < len(dues) and t >= dues[due][0]:
            early = t + max(coupling * rng.normal(1, 0.03) * rr0, 0.34)
            if dues[due][1] == "PAC":
                # The focus resets the sinus node: the pause is not compensatory.
                beats.add(early, NORMAL, True)
                beats.odd_p.append(early - min(pr * 0.9, 0.16))
                t = early + rr0 * rng.uniform(1.02, 1.15)
            else:
                # The sinus node goes on unseen: the beat after comes when it would have come anyway.
                beats.add(early, VENTRICULAR, True)
                t = t + 2 * interval
            due += 1
            while due < len(dues) and dues[due][0] < early:
                due += 1
        else:
            t += interval


def _fibrillation(
    beats: _Beats, rng: np.random.Generator, seconds: float, rate: float, dues: list[tuple[float, str]], width: float
) -> None:
    """Irregularly irregular: intervals drawn independently of each other."""
    rr0 = 60 / rate
    spread = rng.uniform(0.16, 0.28)
    floor = max(0.3, width + 0.2)
    t, due = -LEAD_IN - rng.uniform(0, rr0), 0
    while t < seconds + rr0:
        beats.add(t)
        t_next = t + max(rr0 * np.exp(spread * rng.standard_normal() - spread**2 / 2), floor)
        if due < len(dues) and t >= dues[due][0]:
            early = t + max(0.6 * rr0, floor)
            beats.add(early, VENTRICULAR if dues[due][1] == "PVC" else NORMAL, True)
            t_next = early + rr0 * rng.uniform(1.0, 1.4)
            due += 1
        t = t_next


def _flutter(
    beats: _Beats, classes: AbstractSet[str], rng: np.random.Generator, seconds: float, dues: list[tuple[float, str]]
) -> tuple[float, float]:
    """Ventricles that answer every n-th flutter wave; n is fixed or changes by beat. Returns cycle and phase."""
    cycle = rng.uniform(0.185, 0.235)
    if classes & {"SB", "Brady"}:
        ratios = [5, 6]
    elif "STach" in classes:
        ratios = [2]
    else:
        ratios = [[2], [3], [4], [4], [2, 4], [2, 3, 4]][rng.integers(6)]
    if "AF" in classes:
        ratios = [2, 3, 4, 5]
    phase = -LEAD_IN - rng.uniform(0, 0.5)
    wave, due = 0, 0
    while phase + wave * cycle < seconds + 1:
        t = phase + wave * cycle + 0.006 * rng.standard_normal()
        beats.add(t)
        if due < len(dues) and t >= dues[due][0]:
            ventricular = dues[due][1] == "PVC"
            beats.add(t + max(1.6 * cycle, 0.36), VENTRICULAR if ventricular else NORMAL, True)
            wave += 4
            due += 1
        wave += int(rng.choice(ratios))
    return float(cycle), float(phase + 0.35 * cycle)


def _paced(
    beats: _Beats,
    classes: AbstractSet[str],
    rng: np.random.Generator,
    seconds: float,
    rate: float,
    dues: list[tuple[float, str]],
) -> str:
    """Pacemaker rhythm: ventricular (VVI), dual-chamber (DDD) or atrial (AAI). Returns the atria's activity."""
    rr0 = 60 / (rate if classes & {"STach", "SB", "Brady"} else rng.uniform(60, 82))
    mode = (
        "VVI"
        if "AF" in classes or "AFL" in classes
        else rng.choice(["VVI", "DDD", "sensed", "AAI"], p=[0.38, 0.26, 0.26, 0.1])
    )
    delay = rng.uniform(0.13, 0.19)
    jitter = 0.02 if mode == "sensed" else 0.0
    t, due = -LEAD_IN - rng.uniform(0, rr0), 0
    sinus = t - rng.uniform(0, 0.8)
    while t < seconds + rr0:
        beats.add(t, NORMAL if mode == "AAI" else PACED)
        if mode != "AAI":
            beats.spikes.append(t - 0.004)
        if mode in ("DDD", "AAI"):
            beats.spikes.append(t - delay - 0.012)
        if mode != "VVI":
            beats.p.append(t - delay)
        step = rr0 * (1 + jitter * rng.standard_normal())
        if due < len(dues) and t >= dues[due][0]:
            early = t + 0.6 * rr0
            beats.add(early, VENTRICULAR if dues[due][1] == "PVC" else NORMAL, True)
            step = 0.6 * rr0 + rr0  # the pacemaker senses the beat and starts its interval anew
            due += 1
        t += step
    if mode != "VVI":
        return "waves"
    if "AF" in classes:
        return "fibrillation"
    if "AFL" not in classes and rng.random() < 0.5:  # sinus P waves that march through, unrelated to the beats
        atrial = 60 / rng.uniform(68, 95)
        beats.p.extend(float(x) for x in np.arange(sinus, seconds + 1, atrial))
        return "waves"
    return "fibrillation" if rng.random() < 0.5 else "silent"
