"""All metrics of a network on a set of records, with bootstrap intervals, and the comparison of two networks.

The bootstrap draws patients, not records: two recordings of one patient are not independent. Intervals are the 2.5th to
97.5th percentile. They cover the choice of test patients, not that of the training run.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from lrhnet_jax.scoring import challenge2017, challenge2020, metrics
from lrhnet_jax.scoring.schema import Difference, Estimate, Score
from lrhnet_jax.scoring.thresholds import decide
from lrhnet_jax.tasks import PHYSIONET2020, Task

_PERCENTILES = (2.5, 97.5)
_BLOCK = 100  # resamples that are scored together: bounds the memory
Metrics = dict[str, np.ndarray]
Thresholds = np.ndarray | Sequence[float] | None
Weighted = Callable[[np.ndarray | None], np.ndarray]  # weights as in `metrics` -> values


def _challenge_metric(labels: np.ndarray, outputs: np.ndarray) -> Weighted:
    contributions = challenge2020.contributions(labels, outputs)  # found once for all weights

    def value(weights: np.ndarray | None) -> np.ndarray:
        ones = np.ones(len(labels)) if weights is None else weights
        return challenge2020.normalise(*np.einsum("kn,...n->k...", contributions, ones))

    return value


def _plain(metric: Callable[..., np.ndarray]) -> Callable[[np.ndarray, np.ndarray], Weighted]:
    return lambda labels, outputs: functools.partial(metric, labels, outputs)


# The metrics of decisions by name: (labels, outputs) -> (weights -> values).
DECISION_METRICS: Mapping[str, Callable[[np.ndarray, np.ndarray], Weighted]] = {
    "challenge_metric": _challenge_metric,
    "challenge_f1": _plain(challenge2017.challenge_f1),
    "challenge_f1_with_noise": _plain(challenge2017.macro_f1),
    "micro_f1": _plain(metrics.micro_f1),
    "macro_f1": _plain(metrics.macro_f1),
}


def score(
    labels: np.ndarray,
    probabilities: np.ndarray,
    thresholds: Thresholds,
    patients: Sequence[str] | np.ndarray | None = None,
    *,
    task: Task = PHYSIONET2020,
    resamples: int = 200,
    seed: int = 0,
) -> Score:
    """Returns the metrics of one network as a dict for JSON; a number that does not exist is None.

    Args:
      labels: (records, classes) bool.
      probabilities: (records, classes) float in 0 to 1.
      thresholds: (classes,) float; None if the task's classes exclude each other.
      patients: (records,) whose recording each is; None or an empty name: a patient of its own.
      task: what the classes are, and which metrics are the headline.
      resamples: of the bootstrap.
      seed: of the bootstrap; networks that are scored with one seed share their resamples.

    Raises:
      ValueError: for no records, or input of another type, shape or range.
    """
    labels, probabilities, thresholds = _check(task, labels, probabilities, thresholds)
    groups = _patients(patients, len(labels))
    first = _Scorer(task, labels, probabilities, decide(probabilities, thresholds))
    positives = labels.sum(axis=0)
    f1 = metrics.f1(labels, first.outputs)
    auroc, precision = metrics.ranking(labels, probabilities)
    result: Score = {
        "records": len(labels),
        "patients": int(groups.max()) + 1,
        "resamples": resamples,
        "headline": _intervals(first.all, groups, resamples, seed),
        "headline_top1": {},
        "per_class": {
            code: {
                "abbreviation": task.abbreviations[c],
                "positives": int(positives[c]),
                "f1": _number(f1[c]),
                "auroc": _number(auroc[c]),
                "average_precision": _number(precision[c]),
                "threshold": None if thresholds is None else float(thresholds[c]),
            }
            for c, code in enumerate(task.classes)
        },
        "classes_without_positives": [code for code, count in zip(task.classes, positives, strict=True) if count == 0],
    }
    if task.exclusive:
        result["confusion"] = (labels.T.astype(int) @ first.outputs).tolist()
    else:
        with_top1 = _Scorer(task, labels, probabilities, decide(probabilities, thresholds, top1=True))
        result["headline_top1"] = _intervals(with_top1.decisions, groups, resamples, seed)
    return result


def headline(score: Score, decision: str) -> dict[str, Estimate]:
    """Returns the main metrics of what `score` returned, under a decision rule: "threshold" or "threshold_or_top1"."""
    return score["headline"] | (score["headline_top1"] if decision == "threshold_or_top1" else {})


def epoch_score(task: Task, labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Returns the task's `epoch_metric`, which needs no thresholds; NaN where the labels do not allow it.

    Args:
      labels: (records, classes) bool; probabilities: (records, classes) float.
    """
    if task.epoch_metric in DECISION_METRICS:
        return float(DECISION_METRICS[task.epoch_metric](labels, decide(probabilities, None))(None))
    return float(_ranking_metrics(labels, probabilities, None)[task.epoch_metric])


def paired_difference(
    labels: np.ndarray,
    probabilities_a: np.ndarray,
    thresholds_a: Thresholds,
    probabilities_b: np.ndarray,
    thresholds_b: Thresholds,
    patients: Sequence[str] | np.ndarray | None = None,
    *,
    task: Task = PHYSIONET2020,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Difference]:
    """Returns how much better network a is than network b on the same records.

    Both are scored on the same resamples of patients, so that what makes a resample hard for both cancels.

    Returns:
      {metric: {"difference", "low", "high", "p"}} for the task's metrics: a minus b, its interval, and the two-sided
      bootstrap p: twice the share of resamples on the far side of zero, at least 2 / (resamples + 1), at most 1.

    Raises:
      ValueError: as in `score`.
    """
    a, b = (
        resample(labels, probabilities, thresholds, patients, task=task, resamples=resamples, seed=seed)
        for probabilities, thresholds in ((probabilities_a, thresholds_a), (probabilities_b, thresholds_b))
    )
    return difference(a, b)


@dataclasses.dataclass(frozen=True)
class Resampled:
    """A network's metrics: on the records themselves, (), and on each resample of their patients, (resamples,)."""

    point: Metrics
    drawn: Metrics


def resample(
    labels: np.ndarray,
    probabilities: np.ndarray,
    thresholds: Thresholds,
    patients: Sequence[str] | np.ndarray | None = None,
    *,
    task: Task = PHYSIONET2020,
    resamples: int = 1000,
    seed: int = 0,
) -> Resampled:
    """Returns what `difference` compares: of many networks, each is resampled once. Arguments are those of `score`."""
    labels, probabilities, thresholds = _check(task, labels, probabilities, thresholds)
    scorer = _Scorer(task, labels, probabilities, decide(probabilities, thresholds))
    return Resampled(scorer.all(None), _bootstrap(scorer.all, _patients(patients, len(labels)), resamples, seed))


def difference(a: Resampled, b: Resampled) -> dict[str, Difference]:
    """Returns what `paired_difference` does, of two networks resampled with the same records, patients and seed."""
    result: dict[str, Difference] = {}
    for name in a.point:
        values = a.drawn[name] - b.drawn[name]
        low, high = _interval(values)
        sides = int((values <= 0).sum()), int((values >= 0).sum())
        p = None if low is None else min(1.0, 2 * (min(sides) + 1) / (int((~np.isnan(values)).sum()) + 1))
        result[name] = {"difference": _number(a.point[name] - b.point[name]), "low": low, "high": high, "p": p}
    return result


class _Scorer:
    """Scores one network's decisions for any weights of the records; what does not depend on them is found once."""

    def __init__(self, task: Task, labels: np.ndarray, probabilities: np.ndarray, outputs: np.ndarray):
        self.task, self.labels, self.probabilities, self.outputs = task, labels, probabilities, outputs
        self._decided = {name: DECISION_METRICS[name](labels, outputs) for name in task.decision_metrics}

    def decisions(self, weights: np.ndarray | None) -> Metrics:
        """Returns the task's `decision_metrics` for `weights` as in `metrics`."""
        return {name: value(weights) for name, value in self._decided.items()}

    def all(self, weights: np.ndarray | None) -> Metrics:
        """Returns the task's metrics for `weights` as in `metrics`."""
        values = self.decisions(weights) | _ranking_metrics(self.labels, self.probabilities, weights)
        return {name: values[name] for name in self.task.metrics}


def _ranking_metrics(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None) -> Metrics:
    """Returns `tasks.RANKING_METRICS` for `weights` as in `metrics`."""
    auroc, precision = metrics.ranking(labels, probabilities, weights)
    return {"macro_auroc": metrics.macro(auroc), "macro_average_precision": metrics.macro(precision)}


def _intervals(
    scorer: Callable[[np.ndarray | None], Metrics], groups: np.ndarray, resamples: int, seed: int
) -> dict[str, Estimate]:
    point, drawn = scorer(None), _bootstrap(scorer, groups, resamples, seed)
    result: dict[str, Estimate] = {}
    for name, values in drawn.items():
        low, high = _interval(values)
        result[name] = {"value": _number(point[name]), "low": low, "high": high}
    return result


def _bootstrap(
    scorer: Callable[[np.ndarray | None], Metrics], groups: np.ndarray, resamples: int, seed: int
) -> Metrics:
    blocks = [scorer(weights) for weights in _resample(groups, resamples, seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _resample(groups: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yields how often each record is drawn, blocks of shape (resamples, records)."""
    if resamples < 1:
        raise ValueError(f"the bootstrap needs at least one resample, not {resamples}")
    rng = np.random.default_rng(seed)
    count = int(groups.max()) + 1
    for first in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - first)
        drawn = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)[:, groups].astype(float)


def _patients(patients: Sequence[str] | np.ndarray | None, records: int) -> np.ndarray:
    """Returns the number of each record's patient, (records,) int, from 0 without gaps."""
    if patients is None:
        return np.arange(records)
    if len(patients) != records:
        raise ValueError(f"{len(patients)} patients for {records} records")
    known = [(str(patient), 0) if patient else ("", record) for record, patient in enumerate(patients)]
    number: dict[tuple[str, int], int] = {}
    return np.array([number.setdefault(key, len(number)) for key in known])


def _check(
    task: Task, labels: np.ndarray, probabilities: np.ndarray, thresholds: Thresholds
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    labels = metrics.check_bool("labels", labels)
    if len(labels) == 0:
        raise ValueError("there is no record to score")
    if labels.shape[1] != len(task.classes):
        raise ValueError(f"labels have {labels.shape[1]} classes; {task.name} has {len(task.classes)}")
    if task.exclusive != (thresholds is None):
        raise ValueError(f"{task.name} is decided {'without' if task.exclusive else 'by'} thresholds")
    probabilities = metrics.check_probabilities(probabilities, labels.shape)
    return labels, probabilities, None if thresholds is None else np.asarray(thresholds, float)


def _interval(values: np.ndarray) -> tuple[float | None, float | None]:
    """Returns the percentiles of the resamples in which the metric exists."""
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return None, None
    low, high = np.percentile(values, _PERCENTILES)
    return float(low), float(high)


def _number(value: np.ndarray | float) -> float | None:
    return float(value) if math.isfinite(value) else None
