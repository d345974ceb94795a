"""A trained network that can be asked about any recording: `load` finds it, `Model` answers.

Checkpoints of runs, shipped models and exported files load alike, and give the same answers. Small networks are run by
NumPy, others by JAX, which is imported when one is loaded.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.data.windows import HostSignals, average, batches, covering_windows
from lrhnet_jax.deploy import exported, model_folder, numpy_network, shipped
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.ecg import quality, quality_hints, readers
from lrhnet_jax.ecg.lead_names import select_leads
from lrhnet_jax.ecg.leads import LEADS, demographics_vector
from lrhnet_jax.ecg.recording import RecordError, Recording
from lrhnet_jax.errors import CheckpointError, DataError
from lrhnet_jax.scoring import thresholds
from lrhnet_jax.tasks import Task, raw_labels

NOT_A_DEVICE = "Not a medical device: these are answers of a network under research, not a diagnosis."
SYNTHETIC = "This network was trained on SYNTHETIC ECGs. Its answers say nothing about patients."
UNFITTED = 0.5  # the threshold of every class of a network that none were fitted to
BATCH_SIZE = 64  # windows
CPU_WINDOWS = 16  # at a time: what a layer makes of more leaves the processor's caches

# (signal (windows, window, leads) float32, demographics (windows, 5) float32) -> probabilities (windows, classes)
Run = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model says of one recording.

    Attributes:
      classes, names: codes of the classes, and what they mean.
      probabilities: (classes,) float32, the mean over the windows.
      decisions: (classes,) bool: at or above its threshold; of classes that exclude each other, the most probable.
      thresholds: (classes,) float64, or None where classes exclude each other.
      starts: (windows,) seconds from the recording's first sample to each window's; negative where it is padded.
      window_probabilities: (windows, classes) float32.
      notes: what was derived, or looks wrong, and what the answer must not be taken for.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    probabilities: np.ndarray
    decisions: np.ndarray
    thresholds: np.ndarray | None
    starts: np.ndarray
    window_probabilities: np.ndarray
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """The classes decided for, or else the most probable one, in words."""
        decided = [name for name, positive in zip(self.names, self.decisions, strict=True) if positive]
        best = int(self.probabilities.argmax())
        return ", ".join(decided) or f"none; most probable: {self.names[best]} ({self.probabilities[best]:.2f})"


@dataclasses.dataclass(frozen=True)
class Model:
    """A trained network, and all that it takes to ask it about a recording.

    Attributes:
      meta: its checked description; see `training.description`.
      task: what its classes mean.
      options: how signals are prepared for it.
      run: gives the probabilities of prepared windows, any number at a time.
      most_windows: batch size -> how many windows to give it at a time.
    """

    meta: dict[str, Any]
    task: Task
    options: preprocessing.Preprocess
    run: Run
    most_windows: Callable[[int], int] = lambda batch_size: min(batch_size, CPU_WINDOWS)

    @property
    def name(self) -> str:
        return self.meta["name"]

    @property
    def leads(self) -> tuple[str, ...]:
        return tuple(self.meta["leads"])

    @property
    def limits(self) -> np.ndarray | None:
        """The thresholds of the classes, (classes,); None where classes exclude each other."""
        if self.task.exclusive:
            return None
        fitted = self.meta.get("thresholds")
        return np.full(len(self.task.classes), UNFITTED) if fitted is None else np.array(fitted)

    @property
    def warnings(self) -> list[str]:
        """What no answer of this model may be taken for, whatever the recording."""
        return [*([SYNTHETIC] if self.meta.get("synthetic") else []), NOT_A_DEVICE]

    def windows(self, records: Dataset, batch_size: int = BATCH_SIZE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Answers for the windows that cover each record.

        Args:
          records: prepared as `options` says, with the model's leads.
          batch_size: windows at a time; CPUs take fewer.

        Returns:
          record: (windows,) int32, which record; start: (windows,) int32, samples; probabilities: (windows, classes).
        """
        window, columns = self.meta["window"], records.columns(self.leads)
        row, start = covering_windows(records.lengths, window)
        signals = HostSignals(records.signals.view(np.ndarray), records.offsets, records.lengths)
        parts = [np.zeros((0, len(self.task.classes)), np.float32)]
        for rows, filled in batches(len(row), self.most_windows(batch_size)):
            signal = signals.cut(row[filled], start[filled], window, columns).astype(np.float32)
            parts.append(self.run(signal, records.demographics[row[filled]])[: len(rows)])
        return row, start, np.concatenate(parts)

    def probabilities(self, records: Dataset, batch_size: int = BATCH_SIZE) -> np.ndarray:
        """Returns the class probabilities of every record, (n, classes) float32: the mean over its windows."""
        row, _, answers = self.windows(records, batch_size)
        return average(answers, row, len(records))

    def predict(
        self,
        signal: np.ndarray,
        rate: float,
        leads: Sequence[str] | None = None,
        age: float | None = None,
        sex: str | None = None,
    ) -> Answer:
        """Answers for one recording.

        Args:
          signal: (time, leads), millivolts.
          rate: Hz.
          leads: names of the columns, in any spelling; None: the model's own leads, or, of twelve columns, all.
          age: years.
          sex: "female" or "male".

        Raises:
          DataError or LeadError: for a signal that the model cannot read.
        """
        signal = np.asarray(signal, np.float32)
        if signal.ndim != 2 or len(signal) < 2:
            raise DataError(f"a signal of shape {signal.shape}: (time, leads) expected, with two samples or more")
        if not (preprocessing.RATES[0] <= rate <= preprocessing.RATES[1]):
            low, high = preprocessing.RATES
            raise DataError(f"a rate of {rate} Hz is not one of an ECG ({low:g} to {high:g})")
        if leads is None:
            leads = self.leads if signal.shape[1] == len(self.leads) else LEADS
        if len(leads) != signal.shape[1]:
            raise DataError(f"{signal.shape[1]} columns, and names for {len(leads)}: give `leads`, a name a column")
        own, notes = select_leads(signal, leads, self.leads)
        if missing := int(np.count_nonzero(~np.isfinite(own))):
            raise DataError(f"{missing} samples of the leads {', '.join(self.leads)} are missing or not finite")
        return self._answer(own, rate, age, sex, (*notes, *quality.notes(own, self.leads)))

    def _answer(self, own: np.ndarray, rate: float, age: float | None, sex: str | None, notes: Sequence[str]) -> Answer:
        """Answers for a signal of the model's leads without missing samples, (time, leads), of which `notes` tell."""
        prepared = preprocessing.preprocess(own, rate, self.options)
        if not np.isfinite(prepared).all():
            raise DataError("the prepared signal leaves the range of numbers; is it in millivolts?")
        person = demographics_vector(age, sex)[None]
        records = Dataset.from_arrays([prepared], demographics=person, leads=self.leads, classes=self.task.classes)
        _, start, answers = self.windows(records)
        probabilities = average(answers, np.zeros(len(answers), np.int32), 1)
        limits = self.limits
        seen = (self.meta.get("card") or {}).get("seen", {})
        unlike = quality_hints.range_notes(len(own) / rate, rate, rates=seen.get("rates"), lengths=seen.get("seconds"))
        return Answer(
            classes=self.task.classes,
            names=tuple(self.task.description(code) for code in self.task.classes),
            probabilities=probabilities[0],
            decisions=thresholds.decide(probabilities, limits)[0],
            thresholds=limits,
            starts=start / self.options.rate,
            window_probabilities=answers,
            notes=tuple(dict.fromkeys([*notes, *unlike, *self._notes(len(prepared))])),
        )

    def predict_recording(self, recording: Recording) -> Answer:
        """Answers for a recording that `ecg.readers.read` has returned; its notes come first.

        Raises:
          RecordError: if a lead of the model can neither be found nor derived, or samples of it are missing.
        """
        own = readers.select(recording, self.leads)
        try:
            return self._answer(own.signal, own.rate, own.age, own.sex, own.notes)
        except DataError as error:
            raise RecordError(recording.path, str(error)) from error

    def predict_file(
        self,
        path: str | os.PathLike[str],
        rate: float | None = None,
        leads: Sequence[str] | None = None,
        unit: str | None = None,
        rename: Mapping[str, str] | None = None,
    ) -> Answer:
        """Answers for a file of any format that `ecg.readers` reads; arguments and errors are those of its `read`."""
        return self.predict_recording(readers.read(path, rate, leads, unit, rename))

    def _notes(self, samples: int) -> list[str]:
        """What holds for every answer of this model to a recording of so many prepared samples."""
        window = self.meta["window"]
        padded = f"shorter than the network's window: {samples / self.options.rate:.1f} s, padded with zeros to "
        notes = [f"{padded}{window / self.options.rate:.1f} s"] if samples < window else []
        return [*notes, *self.warnings]


def load(name: str | os.PathLike[str]) -> Model:
    """Loads a trained network.

    Args:
      name: of a shipped model; or a path: of a model's folder (`model_folder`), of WORKDIR/networks/NAME of a run, or
        of a program that `lrhnet_jax.export` has written.

    Raises:
      CheckpointError: if there is none, it was altered, or what runs it is not installed.
    """
    path = shipped.resolve(name)
    if path.suffix in exported.READERS:
        meta, run = exported.load(path)
        return Model(meta, *raw_labels.expected(path, meta), run)
    if model_folder.is_one(path):
        meta, arrays = model_folder.read(path)
        if meta["model"] in numpy_network.MODELS:
            task, options = raw_labels.expected(path, meta)
            try:
                run = numpy_network.make(arrays, len(meta["leads"]), len(task.classes), task.exclusive)
            except CheckpointError as error:
                raise CheckpointError(f"{path / model_folder.WEIGHTS}: {error}") from error
            return Model(meta, task, options, run)
    from lrhnet_jax.deploy import jax_network  # late: it takes seconds

    meta, variables = jax_network.read(path)
    task, options = raw_labels.expected(path, meta)
    return Model(meta, task, options, jax_network.make(meta, variables, task.exclusive), jax_network.most_windows)


def check_answers(name: str | os.PathLike[str], probabilities: np.ndarray) -> None:
    """Raises CheckpointError if a model answers NaN, as one whose training diverged does."""
    if not np.isfinite(probabilities).all():
        raise CheckpointError(f"{name}: the network answers NaN; its training diverged, train it again")
