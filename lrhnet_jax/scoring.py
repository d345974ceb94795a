"""All metrics of a network on a set of records, with bootstrap intervals, and the comparison of two networks.

The bootstrap draws patients, not records: two recordings of one patient are not independent. Intervals are the 2.5th to
97.5th percentile. They cover the choice of test patients, not that of the training run.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lrhnet_jax import challenge, ecg, metrics
from lrhnet_jax.thresholds import decide

HEADLINE = ("challenge_metric", "micro_f1", "macro_f1", "macro_auroc", "macro_average_precision")
DECISION_METRICS = HEADLINE[:3]  # those that depend on the decision rule

_PERCENTILES = (2.5, 97.5)
_BLOCK = 100  # resamples that are scored together: bounds the memory
Metrics = dict[str, np.ndarray]


def score(
    labels: np.ndarray,
    probabilities: np.ndarray,
    thresholds: np.ndarray | Sequence[float],
    patients: Sequence[str] | np.ndarray | None = None,
    *,
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns the metrics of one network as a dict for JSON; a number that does not exist is None.

    Args:
      labels: (records, 24) bool.
      probabilities: (records, 24) float in 0 to 1.
      thresholds: (24,) float.
      patients: (records,) whose recording each is; None or an empty name: a patient of its own.
      resamples: of the bootstrap.
      seed: of the bootstrap; networks that are scored with one seed share their resamples.

    Returns:
      "records", "patients", "resamples"; "headline": {metric: {"value", "low", "high"}} for `HEADLINE`, decided by
      "threshold"; "headline_top1": the same for `DECISION_METRICS`, decided by "threshold or top-1"; "per_class":
      {code: {"abbreviation", "positives", "f1", "auroc", "average_precision", "threshold"}};
      "classes_without_positives": [codes], which the macro figures leave out.

    Raises:
      ValueError: for no records, or input of another type, shape or range.
    """
    labels, probabilities, thresholds = _check(labels, probabilities, thresholds)
    groups = _patients(patients, len(labels))
    with_threshold = _Scorer(labels, probabilities, decide(probabilities, thresholds))
    with_top1 = _Scorer(labels, probabilities, decide(probabilities, thresholds, top1=True))
    positives = labels.sum(axis=0)
    f1 = metrics.f1(labels, with_threshold.outputs)
    auroc, precision = metrics.ranking(labels, probabilities)
    return {
        "records": len(labels),
        "patients": int(groups.max()) + 1,
        "resamples": resamples,
        "headline": _intervals(with_threshold.all, groups, resamples, seed),
        "headline_top1": _intervals(with_top1.decisions, groups, resamples, seed),
        "per_class": {
            code: {
                "abbreviation": ecg.DIAGNOSES[code][0],
                "positives": int(positives[c]),
                "f1": _number(f1[c]),
                "auroc": _number(auroc[c]),
                "average_precision": _number(precision[c]),
                "threshold": float(thresholds[c]),
            }
            for c, code in enumerate(ecg.CLASSES)
        },
        "classes_without_positives": [code for code, count in zip(ecg.CLASSES, positives, strict=True) if count == 0],
    }


def paired_difference(
    labels: np.ndarray,
    probabilities_a: np.ndarray,
    thresholds_a: np.ndarray | Sequence[float],
    probabilities_b: np.ndarray,
    thresholds_b: np.ndarray | Sequence[float],
    patients: Sequence[str] | np.ndarray | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, float | None]]:
    """Returns how much better network a is than network b on the same records.

    Both are scored on the same resamples of patients, so that what makes a resample hard for both cancels.

    Returns:
      {metric: {"difference", "low", "high", "p"}} for `HEADLINE`: a minus b, its interval, and the two-sided bootstrap
      p: twice the share of resamples on the far side of zero, at least 2 / (resamples + 1), at most 1.

    Raises:
      ValueError: as in `score`.
    """
    labels, probabilities_a, thresholds_a = _check(labels, probabilities_a, thresholds_a)
    labels, probabilities_b, thresholds_b = _check(labels, probabilities_b, thresholds_b)
    groups = _patients(patients, len(labels))
    a = _Scorer(labels, probabilities_a, decide(probabilities_a, thresholds_a))
    b = _Scorer(labels, probabilities_b, decide(probabilities_b, thresholds_b))

    def difference(weights: np.ndarray | None) -> Metrics:
        of_a, of_b = a.all(weights), b.all(weights)
        return {name: of_a[name] - of_b[name] for name in HEADLINE}

    point, drawn = difference(None), _bootstrap(difference, groups, resamples, seed)
    result: dict[str, dict[str, float | None]] = {}
    for name, values in drawn.items():
        low, high = _interval(values)
        sides = int((values <= 0).sum()), int((values >= 0).sum())
        p = None if low is None else min(1.0, 2 * (min(sides) + 1) / (int((~np.isnan(values)).sum()) + 1))
        result[name] = {"difference": _number(point[name]), "low": low, "high": high, "p": p}
    return result


class _Scorer:
    """Scores one network's decisions for any weights of the records; what does not depend on them is found once."""

    def __init__(self, labels: np.ndarray, probabilities: np.ndarray, outputs: np.ndarray):
        self.labels, self.probabilities, self.outputs = labels, probabilities, outputs
        self.contributions = challenge.contributions(labels, outputs)

    def decisions(self, weights: np.ndarray | None) -> Metrics:
        """Returns `DECISION_METRICS` for `weights` as in `metrics`."""
        ones = np.ones(len(self.labels)) if weights is None else weights
        weighted = np.einsum("kn,...n->k...", self.contributions, ones)
        return {
            "challenge_metric": challenge.normalise(*weighted),
            "micro_f1": metrics.micro_f1(self.labels, self.outputs, weights),
            "macro_f1": metrics.macro_f1(self.labels, self.outputs, weights),
        }

    def all(self, weights: np.ndarray | None) -> Metrics:
        """Returns `HEADLINE` for `weights` as in `metrics`."""
        auroc, precision = metrics.ranking(self.labels, self.probabilities, weights)
        ranked = {"macro_auroc": metrics.macro(auroc), "macro_average_precision": metrics.macro(precision)}
        return {**self.decisions(weights), **ranked}


def _intervals(
    scorer: Callable[[np.ndarray | None], Metrics], groups: np.ndarray, resamples: int, seed: int
) -> dict[str, dict[str, float | None]]:
    point, drawn = scorer(None), _bootstrap(scorer, groups, resamples, seed)
    result = {}
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
    labels: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray | Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = metrics.check_bool("labels", labels)
    if len(labels) == 0:
        raise ValueError("there is no record to score")
    probabilities = metrics.check_probabilities(probabilities, labels.shape)
    return labels, probabilities, np.asarray(thresholds, float)


def _interval(values: np.ndarray) -> tuple[float | None, float | None]:
    """Returns the percentiles of the resamples in which the metric exists."""
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return None, None
    low, high = np.percentile(values, _PERCENTILES)
    return float(low), float(high)


def _number(value: np.ndarray | float) -> float | None:
    return float(value) if math.isfinite(value) else None
