"""Records on the host: a built data set, loaded once into NumPy arrays. `windows` copies them to the device."""

import dataclasses
import json
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from lrhnet_jax import tasks
from lrhnet_jax.data import tfds_reader
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.errors import DataError
from lrhnet_jax.runtime import host
from lrhnet_jax.tasks import physionet2020

logger = logging.getLogger(__name__)

MAPPED_SHARE = 0.5  # of the host's memory: larger signals are mapped into it


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set on the host: n records, at the rate that they were built at.

    Attributes:
      signals: (total samples, leads) float16, z-scored, all records one after another.
      offsets, lengths: (n,) first sample and number of samples of each record.
      labels: (n, classes) bool.
      demographics: (n, 5) float32, see `leads.demographics_vector`.
      record_ids, sources, patients: (n,) str.
      folds: (n,) int32, 0 to 4.
      leads: the columns of `signals`.
      classes: the columns of `labels`.
      name, synthetic, path, build_report: where the data comes from.
      published_folds: (n,) int32, of the split that the set's authors publish, from 1; None where there is none.
    """

    signals: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    demographics: np.ndarray
    record_ids: np.ndarray
    sources: np.ndarray
    patients: np.ndarray
    folds: np.ndarray
    leads: tuple[str, ...] = LEADS
    classes: tuple[str, ...] = physionet2020.CLASSES
    name: str = "records"
    synthetic: bool = False
    path: str = ""
    build_report: dict[str, Any] = dataclasses.field(default_factory=dict)
    published_folds: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def task(self) -> tasks.Task:
        """What the labels mean: the task of the data set of this name; DataError if there is none."""
        return tasks.of(self.name)

    @property
    def rate(self) -> float:
        """Hz, of the signals: the build report's, or the task's where it says nothing."""
        return float(self.build_report.get("preprocess", {}).get("rate") or self.task.rate)

    @classmethod
    def from_arrays(
        cls,
        signals: Sequence[np.ndarray],
        labels: np.ndarray | None = None,
        demographics: np.ndarray | None = None,
        record_ids: Sequence[str] | np.ndarray | None = None,
        sources: Sequence[str] | np.ndarray | None = None,
        patients: Sequence[str] | np.ndarray | None = None,
        folds: np.ndarray | None = None,
        leads: tuple[str, ...] = LEADS,
        classes: tuple[str, ...] = physionet2020.CLASSES,
        **origin: Any,
    ) -> "Dataset":
        """Packs signals, each (time, leads), z-scored; what is not given is unknown (zeros, own patient)."""
        n = len(signals)
        lengths = np.array([len(signal) for signal in signals], np.int32)
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])[:n]
        flat = np.concatenate(signals).astype(np.float16) if n else np.zeros((0, len(leads)), np.float16)
        record_ids = [str(i) for i in range(n)] if record_ids is None else record_ids
        return cls(
            signals=flat,
            offsets=offsets,
            lengths=lengths,
            labels=np.zeros((n, len(classes)), bool) if labels is None else np.asarray(labels, bool),
            demographics=np.zeros((n, 5), np.float32) if demographics is None else np.asarray(demographics, np.float32),
            record_ids=np.array(record_ids, str),
            sources=np.array([""] * n if sources is None else sources, str),
            patients=np.array(record_ids if patients is None else patients, str),
            folds=np.zeros(n, np.int32) if folds is None else np.asarray(folds, np.int32),
            leads=leads,
            classes=classes,
            **origin,
        )

    def select(self, which: np.ndarray) -> "Dataset":
        """Returns the records of a mask (n,) bool or of indices, with their signals copied together."""
        indices = np.flatnonzero(which) if np.asarray(which).dtype == bool else np.asarray(which)
        return Dataset.from_arrays(
            [self.signals[self.offsets[i] : self.offsets[i] + self.lengths[i]] for i in indices],
            self.labels[indices],
            self.demographics[indices],
            self.record_ids[indices],
            self.sources[indices],
            self.patients[indices],
            self.folds[indices],
            leads=self.leads,
            classes=self.classes,
            name=self.name,
            synthetic=self.synthetic,
            path=self.path,
            build_report=self.build_report,
            published_folds=None if self.published_folds is None else self.published_folds[indices],
        )

    def columns(self, leads: Sequence[str]) -> tuple[int, ...]:
        """Returns the columns of `signals` that hold `leads`; raises DataError if the data lacks one."""
        missing = [lead for lead in leads if lead not in self.leads]
        if missing:
            raise DataError(
                f"the data set {self.name} has no lead {', '.join(missing)}; it has {', '.join(self.leads)}"
            )
        return tuple(self.leads.index(lead) for lead in leads)


def find(name: str, data_dir: str, preprocess: str = "paper") -> pathlib.Path | None:
    """Returns the folder of a built data set, DATA_DIR/NAME/PREPROCESS/VERSION (the newest), or None."""
    # A build that was killed leaves incomplete.*: not a version.
    versions = pathlib.Path(data_dir).expanduser().glob(f"{name}/{preprocess}/[0-9]*/dataset_info.json")
    return max((path.parent for path in versions), default=None)


def load(path: pathlib.Path, memory_map: bool | None = None) -> Dataset:
    """Reads a built data set into memory: about 60 KB a 10 s record.

    Args:
      memory_map: True maps the signals into memory from a file, for sets larger than it; the file is made once, beside
        the set, and needs as much space. None does so where they would take more than half of the memory.

    Raises:
      DataError: if the folder holds no readable data set, an empty one, one of other classes than its task's, or no
        place for the file.
    """
    source = tfds_reader.open_set(path)
    report = json.loads((path / "report.json").read_text()) if (path / "report.json").exists() else {}
    name = path.parts[-3]
    classes = tuple(report.get("classes", tasks.of(name).classes))
    if classes != tasks.of(name).classes:
        raise DataError(
            f"{path}: its classes are {', '.join(classes)}, those of {name} are {', '.join(tasks.of(name).classes)}; "
            "build it again"
        )
    leads = tuple(report.get("leads", LEADS))
    most = tfds_reader.most_samples(source, len(leads))
    if memory_map is None:
        memory_map = most * len(leads) * tfds_reader.HALF.itemsize > MAPPED_SHARE * host.memory()
    if memory_map:
        signals, columns = tfds_reader.map_file(path, source, len(leads))
    else:
        # Pages that are never written take no memory, so that the array may be a little too large.
        signals = np.empty((most, len(leads)), tfds_reader.HALF)
        columns = tfds_reader.read(path, source, signals)
        signals = signals[: columns["lengths"].sum()]
    return Dataset(
        signals=signals,
        offsets=np.concatenate([[0], np.cumsum(columns["lengths"], dtype=np.int64)[:-1]]),
        **columns,
        leads=leads,
        classes=classes,
        name=name,
        synthetic=tasks.is_synthetic(name),
        path=str(path),
        build_report=report,
    )
