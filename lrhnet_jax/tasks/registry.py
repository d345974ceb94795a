"""Tasks and data sets: what labels mean, how answers are decided and scored, and which sets can be built.

A task is data; `data`, `experiment`, `assess`, `scoring`, `report` and `evaluate` read it. docs/tasks.md says how to
add one. Pure Python: no JAX, and no files.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from lrhnet_jax import errors
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.ecg.leads import SAMPLE_RATE
from lrhnet_jax.errors import DataError
from lrhnet_jax.tasks import cpsc2018, physionet2017, physionet2020, ptbxl

# What the metrics are called in reports; `scoring` computes them.
METRICS = {
    "challenge_metric": "Challenge metric",
    "challenge_f1": "Challenge F1",
    "challenge_f1_with_noise": "F1 with noise",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "macro_auroc": "macro AUROC",
    "macro_average_precision": "macro AP",
}
RANKING_METRICS = ("macro_auroc", "macro_average_precision")  # of probabilities; every other depends on decisions
THRESHOLD_METRICS = ("challenge_metric", "macro_f1")


@dataclasses.dataclass(frozen=True)
class Task:
    """What the labels of a data set mean.

    Attributes:
      name: as checkpoints name it.
      classes: the columns of a label matrix.
      abbreviations, descriptions: of the classes, for tables and in full.
      exclusive: one class a record: softmax, cross-entropy, and the most probable class is the decision. Otherwise each
        class is a yes or no of its own: sigmoid, binary cross-entropy, and a threshold for each.
      metrics: the headline, keys of `METRICS`.
      table: those of them that the terminal's table shows, the most important two first.
      epoch_metric: the one whose value on the validation part chooses the epoch; it needs no thresholds.
      threshold_metric: the one of `THRESHOLD_METRICS` that thresholds maximise; empty for an exclusive task.
      rate: Hz, where a built set does not say.
    """

    name: str
    classes: tuple[str, ...]
    abbreviations: tuple[str, ...]
    descriptions: tuple[str, ...]
    exclusive: bool
    metrics: tuple[str, ...]
    table: tuple[str, ...]
    epoch_metric: str
    threshold_metric: str
    rate: float = float(SAMPLE_RATE)

    def __post_init__(self) -> None:
        if not len(self.classes) == len(self.abbreviations) == len(self.descriptions) == len(set(self.classes)):
            raise ValueError(f"{self.name}: every class needs one abbreviation and one description, and no class twice")
        unknown = {*self.metrics, self.epoch_metric} - METRICS.keys() | {*self.table} - {*self.metrics}
        if unknown:
            raise ValueError(
                f"{self.name}: unknown metric {', '.join(sorted(unknown))}; there are {', '.join(METRICS)}"
            )
        if not self.exclusive and self.epoch_metric not in RANKING_METRICS:
            raise ValueError(f"{self.name}: {self.epoch_metric} needs thresholds, which no epoch has")
        valid = ("",) if self.exclusive else THRESHOLD_METRICS
        if self.threshold_metric not in valid:
            raise ValueError(f"{self.name}: thresholds cannot maximise {self.threshold_metric!r}; choose from {valid}")

    @property
    def decision_metrics(self) -> tuple[str, ...]:
        """The headline's metrics that depend on how probabilities become decisions."""
        return tuple(name for name in self.metrics if name not in RANKING_METRICS)

    def abbreviation(self, code: str) -> str:
        return self.abbreviations[self.classes.index(code)]

    def description(self, code: str) -> str:
        return self.descriptions[self.classes.index(code)]


PHYSIONET2020 = Task(
    name="physionet2020",
    classes=physionet2020.CLASSES,
    abbreviations=physionet2020.ABBREVIATIONS,
    descriptions=tuple(physionet2020.DIAGNOSES[code][1] for code in physionet2020.CLASSES),
    exclusive=False,
    metrics=("challenge_metric", "micro_f1", "macro_f1", "macro_auroc", "macro_average_precision"),
    table=("challenge_metric", "micro_f1", "macro_auroc", "macro_average_precision"),
    epoch_metric="macro_average_precision",
    threshold_metric="challenge_metric",
)
PHYSIONET2017 = Task(
    name="physionet2017",
    classes=physionet2017.CLASSES,
    abbreviations=physionet2017.CLASSES,
    descriptions=tuple(physionet2017.NAMES.values()),
    exclusive=True,
    metrics=("challenge_f1", "challenge_f1_with_noise", "macro_auroc", "macro_average_precision"),
    table=("challenge_f1", "challenge_f1_with_noise", "macro_auroc", "macro_average_precision"),
    epoch_metric="challenge_f1",
    threshold_metric="",
    rate=300.0,
)
PTBXL = Task(
    name="ptbxl",
    classes=ptbxl.CLASSES,
    abbreviations=ptbxl.CLASSES,
    descriptions=tuple(ptbxl.NAMES[code] for code in ptbxl.CLASSES),
    exclusive=False,
    metrics=("macro_auroc", "macro_average_precision", "macro_f1", "micro_f1"),
    table=("macro_auroc", "macro_f1", "micro_f1", "macro_average_precision"),
    epoch_metric="macro_auroc",
    threshold_metric="macro_f1",
)
CPSC2018 = Task(
    name="cpsc2018",
    classes=cpsc2018.CLASSES,
    abbreviations=cpsc2018.CLASSES,
    descriptions=tuple(cpsc2018.NAMES[code] for code in cpsc2018.CLASSES),
    exclusive=False,
    metrics=("macro_f1", "macro_auroc", "macro_average_precision", "micro_f1"),
    table=("macro_f1", "macro_auroc", "macro_average_precision", "micro_f1"),
    epoch_metric="macro_average_precision",
    threshold_metric="macro_f1",
)
TASKS: Mapping[str, Task] = {task.name: task for task in (PHYSIONET2020, PHYSIONET2017, PTBXL, CPSC2018)}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A set of real recordings that can be built, and its generated counterpart.

    Attributes:
      name: of the built set, and of `python -m data_builders.build`.
      task: what its labels mean.
      title: what people call it.
      get: how to get the recordings and build them, for error messages; {flags} stands for where the set is to lie.
      preprocess: the ways to prepare its signals, the default first.
      synthetic: name of the built set of generated recordings with the same labels; empty if there is none.
    """

    name: str
    task: Task
    title: str
    get: str
    preprocess: tuple[str, ...]
    synthetic: str = ""


_BUILD = "and run: python -m data_builders.build"
DATASETS: Mapping[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "physionet2020",
            PHYSIONET2020,
            "Challenge 2020",
            f"Download it from https://physionet.org/content/challenge-2020/1.0.2/ {_BUILD} physionet2020 "
            "--raw_dir=FOLDER {flags} (without --raw_dir it downloads the archive itself)",
            tuple(preprocessing.OPTIONS),
            "synthetic",
        ),
        Dataset(
            "physionet2017",
            PHYSIONET2017,
            "Challenge 2017",
            "Download training2017.zip and REFERENCE-v3.csv from https://physionet.org/content/challenge-2017/1.0.0/ "
            f"{_BUILD} physionet2017 --raw_dir=FOLDER {{flags}}",
            ("300hz", "200hz", "257hz"),
            "synthetic_physionet2017",
        ),
        Dataset(
            "ptbxl",
            PTBXL,
            "PTB-XL",
            f"Download it from https://physionet.org/content/ptb-xl/1.0.3/ {_BUILD} ptbxl --raw_dir=FOLDER {{flags}}",
            tuple(preprocessing.OPTIONS),
            "synthetic_ptbxl",
        ),
        Dataset(
            "cpsc2018",
            CPSC2018,
            "CPSC 2018",
            "Download training/cpsc_2018 of https://physionet.org/content/challenge-2020/1.0.2/ "
            f"{_BUILD} cpsc2018 --raw_dir=FOLDER {{flags}}",
            tuple(preprocessing.OPTIONS),
        ),
    )
}


def of(name: str) -> Task:
    """Returns the task of a built data set, real or generated; raises DataError for an unknown one."""
    for dataset in DATASETS.values():
        if name in (dataset.name, dataset.synthetic):
            return dataset.task
    known = ", ".join(filter(None, (one for d in DATASETS.values() for one in (d.name, d.synthetic))))
    raise DataError(f"no task is known for the data set {name!r}; the data sets are {known}")


def is_synthetic(name: str) -> bool:
    """Returns whether the recordings of a built data set were generated."""
    return any(name == dataset.synthetic for dataset in DATASETS.values())


def choices(datasets: Sequence[str]) -> tuple[str, ...]:
    """Returns what the config field `data` may be in an experiment that is made for the real sets `datasets`.

    Raises:
      DataError: if `datasets` is empty, or one of them unknown.
    """
    unknown = [key for key in datasets if key not in DATASETS]
    if unknown or not datasets:
        raise DataError(f"config.datasets: unknown data set {unknown}; choose among {', '.join(DATASETS)}")
    names = [name for key in datasets for name in (DATASETS[key].name, DATASETS[key].synthetic) if name]
    return ("auto", *names)


def choose(name: str, datasets: Sequence[str]) -> Dataset:
    """Returns the data set that `name` means in an experiment for `datasets`: "auto" is the first of them.

    Raises:
      DataError: for a name that is not among `choices(datasets)`.
    """
    errors.choose("", name, choices(datasets), noun="data set", error=DataError)
    return next(DATASETS[key] for key in datasets if name in ("auto", key, DATASETS[key].synthetic))
