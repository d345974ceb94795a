"""What `score` and `difference` return, as it stands in JSON: in results.json and in metrics.json.

Metrics are fractions, 1 at best (the Challenge metric may be negative); a number that does not exist is None.
"""

from typing import NotRequired, TypedDict


class Estimate(TypedDict):
    """A metric, and its 95 % bootstrap interval over patients."""

    value: float | None
    low: float | None
    high: float | None


class Difference(TypedDict):
    """One network's metric minus another's on the same records: its 95 % interval, and a two-sided bootstrap p."""

    difference: float | None
    low: float | None
    high: float | None
    p: float | None


class ClassScore(TypedDict):
    """How well one class is found.

    Attributes:
      abbreviation: its short name.
      positives: records that carry it.
      f1: of the decisions; auroc, average_precision: of the probabilities.
      threshold: the probability from which it is decided; None where classes exclude each other.
    """

    abbreviation: str
    positives: int
    f1: float | None
    auroc: float | None
    average_precision: float | None
    threshold: float | None


class Score(TypedDict):
    """All metrics of one network on a set of records.

    Attributes:
      records, patients: that were scored; resamples: of the bootstrap.
      headline: the task's metrics by name, decided by thresholds, or by the most probable class.
      headline_top1: the task's `decision_metrics`, decided by "threshold or top-1"; empty for an exclusive task.
      per_class: by the class' code.
      classes_without_positives: codes of the classes that the macro figures leave out.
      confusion: of an exclusive task, counts of records: a row for each labelled class, a column for each decided one.
    """

    records: int
    patients: int
    resamples: int
    headline: dict[str, Estimate]
    headline_top1: dict[str, Estimate]
    per_class: dict[str, ClassScore]
    classes_without_positives: list[str]
    confusion: NotRequired[list[list[int]]]
