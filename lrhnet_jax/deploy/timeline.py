"""Answers along time for recordings of minutes to days, in the memory of some minutes: a window after the other.

A network has learned from recordings of seconds. So each window of a long one is answered as a recording of its own:
the whole is resampled and filtered, and then every window is z-scored over itself, where `Model.predict` z-scores a
recording over all of it. Windows lie side by side, from the begin to the end, where the last one overlaps the one
before; none is answered in which samples are missing, or every lead is flat.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from lrhnet_jax.data.windows import batches
from lrhnet_jax.deploy.model import BATCH_SIZE, Model
from lrhnet_jax.ecg import blocks, quality_hints
from lrhnet_jax.ecg.lead_names import LeadPlan, plan_leads
from lrhnet_jax.ecg.leads import LeadError, demographics_vector
from lrhnet_jax.ecg.preprocess import zscore
from lrhnet_jax.ecg.recording import BlockRecording, RecordError
from lrhnet_jax.scoring import thresholds

LONG = 300.0  # s: longer recordings are answered along time
FIBRILLATION = ("164889003", "164890007", "A", "AF")  # codes of atrial fibrillation and flutter, of every task
SINUS = ("426783006", "N", "NSR")  # of sinus rhythm
JOIN = 30.0  # s: interruptions up to this do not end an episode
SHORTEST = 30.0  # s: what is called an episode of atrial fibrillation (2020 guidelines of the ESC)
FLAT = 0.02  # mV, span of a filtered lead in a window, below which nothing was recorded
SAMPLE_SECONDS = 10.0  # of each block, that tell of the quality of all

NO_SAMPLES, NO_SIGNAL = "samples are missing", "no signal"


@dataclasses.dataclass(frozen=True)
class Episode:
    """A span of atrial fibrillation or flutter.

    Attributes:
      start, end: seconds from the recording's begin.
      probability: the mean over its windows that were answered, of the more probable of the two.
    """

    start: float
    end: float
    probability: float


@dataclasses.dataclass(frozen=True)
class Timeline:
    """What a model says of a long recording.

    Attributes:
      classes, names: codes of the classes, and what they mean.
      thresholds: (classes,), or None where classes exclude each other.
      seconds: of the recording.
      window: seconds of a window.
      starts: (windows,) seconds from the recording's begin to each window's.
      probabilities: (windows, classes) float32, NaN where a window was not answered.
      decisions: (windows, classes) bool.
      unanswered: (windows,) why a window was not answered, or "".
      episodes: of atrial fibrillation and flutter, in order.
      watched: indices of the classes that episodes are made of.
      strip: (time, leads) millivolts, filtered, at the model's rate: the answered window with the highest probability
        of these; empty if there is none.
      strip_start: seconds from the recording's begin to it.
      notes: as of `model.Answer`.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    thresholds: np.ndarray | None
    seconds: float
    window: float
    starts: np.ndarray
    probabilities: np.ndarray
    decisions: np.ndarray
    unanswered: tuple[str, ...]
    episodes: tuple[Episode, ...]
    watched: tuple[int, ...]
    strip: np.ndarray
    strip_start: float
    notes: tuple[str, ...]

    @property
    def answered(self) -> np.ndarray:
        """Which windows were answered, (windows,) bool."""
        return ~np.isnan(self.probabilities).any(1)

    @property
    def shares(self) -> np.ndarray:
        """Of the answered windows, the share that is decided for each class, (classes,)."""
        return self.decisions[self.answered].mean(0) if self.answered.any() else np.zeros(len(self.classes))

    @property
    def means(self) -> np.ndarray:
        """The mean probabilities of the answered windows, (classes,)."""
        answered = self.probabilities[self.answered]
        return answered.mean(0) if len(answered) else np.full(len(self.classes), np.nan, np.float32)

    def __str__(self) -> str:
        """The episodes, and the classes decided for in most windows, in words."""
        if not self.answered.any():
            return "no window could be answered"
        order = self.shares.argsort()[::-1]
        common = ", ".join(f"{self.names[i]} {100 * self.shares[i]:.0f} %" for i in order[:2] if self.shares[i] > 0)
        told = f"of the windows: {common or 'no class in any'}"
        if not self.watched:
            return told
        total = sum(episode.end - episode.start for episode in self.episodes)
        count = f"{len(self.episodes)} episode{'s' * (len(self.episodes) != 1)} of atrial fibrillation"
        return f"{count}{f', {duration(total)} in all' if self.episodes else ''}; {told}"


def duration(seconds: float) -> str:
    """Returns "2:05:09" (hours, minutes, seconds)."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def follow(model: Model, recording: BlockRecording) -> Timeline:
    """Answers for a long recording, whose blocks it reads.

    Raises:
      RecordError: if a lead of the model can neither be found nor derived, the recording is shorter than a window, or
        reading it fails.
    """
    try:
        plan = plan_leads(recording.leads, model.leads)
    except LeadError as error:
        raise RecordError(recording.path, str(error)) from error
    window, rate = model.meta["window"], model.options.rate
    samples: list[np.ndarray] = []
    own = _own_leads(recording, plan, samples)
    watched = tuple(i for i, code in enumerate(model.task.classes) if code in FIBRILLATION)
    person = demographics_vector(recording.age, recording.sex)
    starts, parts, why = [], [np.zeros((0, len(model.task.classes)), np.float32)], []
    best, strip, strip_start = -1.0, np.zeros((0, len(model.leads)), np.float32), 0.0
    total = 0
    for first, signal, known in _windows(blocks.prepare(own, recording.rate, model.options), window):
        answers, reasons = _answers(model, signal, known, person)
        starts += [start / rate for start in first]
        parts.append(answers)
        why += reasons
        total = max(total, first[-1] + window)
        likely = np.nan_to_num(answers[:, list(watched)].max(1, initial=-1.0), nan=-1.0)
        if likely.max() > best:
            place = int(likely.argmax())
            best, strip, strip_start = (
                float(likely[place]),
                signal[place].copy(),
                starts[len(starts) - len(first) + place],
            )
    if not starts:
        raise RecordError(recording.path, f"is shorter than a window of the model, {window / rate:.3g} s")
    probabilities = np.concatenate(parts)
    answered = ~np.isnan(probabilities).any(1)
    decisions = np.zeros(probabilities.shape, bool)
    decisions[answered] = thresholds.decide(probabilities[answered], model.limits)
    seconds = total / rate
    notes = [
        *recording.notes,
        *plan.notes,
        *quality_hints.all_notes(np.concatenate(samples), recording.rate, model.leads),
    ]
    if gone := int(np.count_nonzero(~answered)):
        notes.append(f"{gone} of {len(starts)} windows are not answered: {', '.join(sorted(set(filter(None, why))))}")
    return Timeline(
        classes=model.task.classes,
        names=tuple(model.task.description(code) for code in model.task.classes),
        thresholds=model.limits,
        seconds=seconds,
        window=window / rate,
        starts=np.array(starts),
        probabilities=probabilities,
        decisions=decisions,
        unanswered=tuple(why),
        episodes=episodes(
            np.array(starts), window / rate, *_fibrillation(model.task.classes, probabilities, decisions)
        ),
        watched=watched,
        strip=strip,
        strip_start=strip_start,
        notes=tuple(dict.fromkeys([*notes, *model.warnings])),
    )


def _fibrillation(
    classes: Sequence[str], probabilities: np.ndarray, decisions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns which windows are of atrial fibrillation or flutter, (windows,) bool, and how probable it is in each.

    That is decided, and more probable than sinus rhythm, which thresholds alone may allow beside it.
    """
    watched, sinus = ([code in codes for code in classes] for codes in (FIBRILLATION, SINUS))
    likely = probabilities[:, watched].max(1, initial=0.0)
    against = probabilities[:, sinus].max(1, initial=0.0)
    return decisions[:, watched].any(1) & (likely > against), likely


def episodes(starts: np.ndarray, window: float, inside: np.ndarray, likely: np.ndarray) -> tuple[Episode, ...]:
    """Returns the spans of windows that are `inside`.

    Interruptions of up to `JOIN` seconds, by other answers or by windows without one, do not end an episode. What is
    then shorter than `SHORTEST` is none.

    Args:
      starts: (windows,) seconds.
      window: seconds.
      inside: (windows,) bool.
      likely: (windows,) probabilities, NaN where a window was not answered.
    """
    spans: list[list[int]] = []
    for place in np.flatnonzero(inside).tolist():
        if spans and starts[place] - (starts[spans[-1][-1]] + window) <= JOIN:
            spans[-1].append(place)
        else:
            spans.append([place])
    result = []
    for span in spans:
        start, end = float(starts[span[0]]), float(starts[span[-1]] + window)
        if end - start >= SHORTEST:
            result.append(Episode(start, end, float(np.nanmean(likely[span[0] : span[-1] + 1]))))
    return tuple(result)


def _own_leads(recording: BlockRecording, plan: LeadPlan, samples: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields the blocks of the leads that `plan` makes; puts the begin of each into `samples`."""
    for block in recording.blocks:
        own = plan.apply(np.asarray(block[:, list(plan.columns)], np.float32))
        samples.append(own[: round(SAMPLE_SECONDS * recording.rate)])
        yield own


def _windows(
    parts: Iterable[tuple[np.ndarray, np.ndarray]], window: int
) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
    """Yields first samples, signals (n, window, leads) and what is known of them (n, window) of some windows."""
    rest, last = None, None
    begin = 0
    for signal, known in parts:
        there = np.concatenate([known[:, None], signal], axis=1)  # together: they are cut alike
        rest = there if rest is None else np.concatenate([rest, there])
        last = there[-window:] if last is None else np.concatenate([last, there])[-window:]
        count = len(rest) // window
        if count:
            whole = rest[: count * window].reshape(count, window, -1)
            yield [begin + i * window for i in range(count)], whole[..., 1:], whole[..., 0] > 0
            rest, begin = rest[count * window :], begin + count * window
    if rest is not None and last is not None and len(rest) and len(last) == window:
        yield [begin + len(rest) - window], last[None, :, 1:], last[None, :, 0] > 0


def _answers(model: Model, signal: np.ndarray, known: np.ndarray, person: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Returns probabilities (n, classes), NaN where there are none, and why there are none."""
    flat = np.ptp(signal, axis=1) < FLAT
    why = np.where(known.all(1), np.where(flat.all(1), NO_SIGNAL, ""), NO_SAMPLES)
    rows = np.flatnonzero(why == "")
    prepared = np.zeros((len(rows), *signal.shape[1:]), np.float32)
    for row, to in zip(rows, prepared, strict=True):
        to[:] = zscore(signal[row]).astype(np.float16)
        to[:, flat[row]] = 0
    result = np.full((len(signal), len(model.task.classes)), np.nan, np.float32)
    for some, filled in batches(len(rows), model.most_windows(BATCH_SIZE)):
        people = np.repeat(person[None], len(filled), axis=0)
        result[rows[some]] = model.run(prepared[filled], people)[: len(some)]
    return result, why.tolist()
