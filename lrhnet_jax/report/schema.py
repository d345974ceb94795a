"""results.json: what the experiment writes, and what the reports and benchmarks read, field by field.

The types are dicts of JSON values, so that mypy checks whoever writes or reads one. What a score holds is defined
where it is made, in `scoring.schema`. Metrics are fractions, 1 at best; a number that does not exist is None. Folds
are named "0" to "4", networks as in the config.

A field marked NotRequired is left out where a run has nothing to say there. Some of the data set's, and `inference`,
are always written now, and were not by earlier versions.
"""

from typing import Any, NotRequired, TypedDict

from lrhnet_jax.scoring.schema import Difference, Score

VERSION = 1  # of the schema


class DataDescription(TypedDict):
    """The records that a run read, before they were split.

    Attributes:
      name: the built set's; task: what its labels mean, a name of `tasks.TASKS`.
      rate: Hz, of the signals.
      synthetic: the ECGs are generated; notice: what to say first because of it, or "".
      path: the folder it was read from.
      records: how many there are; per_source: by where they come from.
      per_class: records that carry each class, by its code; per_source_class: the same of each source.
      co_occurrence: records that carry both of two classes, in the task's order of classes.
      build_report: report.json of the build, as its builder wrote it.
    """

    name: str
    task: str
    rate: NotRequired[float]
    synthetic: bool
    notice: NotRequired[str]
    path: str
    records: int
    per_source: dict[str, int]
    per_class: dict[str, int]
    per_source_class: NotRequired[dict[str, dict[str, int]]]
    co_occurrence: NotRequired[list[list[int]]]
    build_report: NotRequired[dict[str, Any]]


class NetworkDescription(TypedDict):
    """A network of the graph, as it is before it is trained.

    Attributes:
      model: a name of `models.NAMES`; leads: that it reads.
      teachers: weight of each, by name; empty for a network that learns from labels alone.
      method: how it learns beside labels and logits, a name of `losses.METHODS` or "none".
      parameters: how many are trained; bytes: of all variables as they are saved, in float32.
      macs: multiply-accumulates for one window.
      recipe: what it is a run of, among others of other seeds; "" of nothing.
      seed: that decides, with the experiment's, initialisation and order of records.
    """

    model: str
    leads: list[str]
    recipe: str
    seed: int
    teachers: dict[str, float]
    method: str
    parameters: int
    bytes: int
    macs: int


class PruningRound(TypedDict):
    """A round of a search for the smallest network, see `compress.search.Round`.

    Attributes:
      index: from 0, the dense network; parent: the round that was pruned further, None for the dense one.
      rate: the share of the parent's units that went; kept: units left.
      score: on the validation part, by the task's epoch metric.
      decision: "dense", "good", "below" or "step back".
    """

    index: int
    parent: int | None
    rate: float
    kept: int
    score: float | None
    decision: str


class Pruning(TypedDict):
    """What pruning made of a network.

    Attributes:
      unit: "weight" or "channel"; units: of the dense network.
      control: "none", "random_mask" or "random_init"; ticket: the network whose masks were trained, "" after a search.
      rewind: the share of the dense training's steps that surviving weights start from.
      tolerance: the share of the dense network's score that may be lost.
      rounds: of the search; round: the chosen one's index; ending: why the search ended.
      weights: in the kernels that can be pruned; kept: of them; compression: how many times fewer.
      parameters, parameters_kept, parameter_compression: the same of all parameters.
      dense_bytes, structured_bytes: of all variables in float32; of what is left without channels that nothing reads.
      sparse_bytes, sparse_code: kept weights with their places, by "bitmap" or "gaps"; None for channels.
      macs, macs_structured: multiply-accumulates for one window, of the dense and of the structured network.
      inner: channels left inside each block; empty where none were removed.
    """

    unit: str
    control: str
    ticket: str
    rewind: float
    tolerance: float
    units: int
    ending: str
    round: int
    weights: int
    kept: int
    compression: float
    parameters: int
    parameters_kept: int
    parameter_compression: float
    dense_bytes: int
    sparse_bytes: int | None
    sparse_code: str | None
    structured_bytes: int
    macs: int
    macs_structured: int
    inner: list[int]
    rounds: list[PruningRound]


class Training(TypedDict):
    """How a network was trained.

    Attributes:
      epochs: that were planned; 0 for a loaded network. best_epoch: the one that was kept, counted from 1.
      samples_per_second: windows, the median over epochs.
      history: a row for each epoch: "epoch", "step", "loss" and its parts, "learning_rate", "samples_per_second", and
        "validation_METRIC" where the best epoch is kept.
      loaded_from: the checkpoint that a network was loaded from in place of training.
      pruning: of a pruned network; the rest is then the chosen round's.
    """

    epochs: int
    best_epoch: int
    samples_per_second: NotRequired[float]
    history: list[dict[str, float]]
    loaded_from: NotRequired[str]
    pruning: NotRequired[Pruning]


class Inference(TypedDict):
    """One pass over the validation part, from the store to probabilities, compiled.

    Attributes:
      seconds: it took; records: that it answered for.
      batch_size: windows of a call; device: what it ran on.
    """

    seconds: float
    records: int
    batch_size: int
    device: str


class Evaluation(TypedDict):
    """How a network scored on one fold.

    Attributes:
      thresholds: one a class, fitted on the validation part; None where classes exclude each other.
      validation, test: the scores on the validation part and on the scored fold.
      test_reference: on the scored fold, with thresholds fitted on it, as in the reference code; where asked for.
      inference: how long one pass took.
    """

    thresholds: list[float] | None
    validation: Score
    test: Score
    test_reference: NotRequired[Score]
    inference: NotRequired[Inference]


class NetworkResult(Training, Evaluation):
    """A network on one fold: how it was trained, and how it scored."""


class Comparison(TypedDict):
    """Two networks on the records of the scored fold: network a minus network b, by metric."""

    a: str
    b: str
    differences: dict[str, Difference]


class PartSizes(TypedDict):
    """Records of a fold that are trained on, validated on, and scored."""

    train: int
    validation: int
    test: int


class FoldResult(TypedDict):
    """The graph on one fold: how its records were parted, its networks by name, and their differences."""

    records: PartSizes
    networks: dict[str, NetworkResult]
    comparisons: list[Comparison]


class Spread(TypedDict):
    """A metric over runs: mean of the values that exist, sample standard deviation (None of fewer than two), all."""

    mean: float | None
    std: float | None
    values: list[float | None]


class Provenance(TypedDict):
    """What was run, on what.

    Attributes:
      schema: `VERSION`.
      experiment: the config's name for it; preset: "paper", "reference" or "demo".
      command: the line that starts it again.
      versions: of Python and packages, by name; device: number and kind, for people.
      dataset: what it read; config: all fields, as in configs/common.py.
      networks: of the graph by name, in training order.
    """

    schema: int
    experiment: str
    preset: str
    command: str
    versions: dict[str, str]
    device: str
    dataset: DataDescription
    config: dict[str, Any]
    networks: dict[str, NetworkDescription]


class Results(Provenance):
    """All of results.json.

    Attributes:
      folds: that were run, by name.
      summary: of each network, its metrics over the folds.
      created: when the run ended, ISO 8601 in UTC.
    """

    folds: dict[str, FoldResult]
    summary: dict[str, dict[str, Spread]]
    created: str
