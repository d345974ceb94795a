"""F1, AUROC and average precision of multi-label predictions, for one sample or for many weighted resamples.

Every metric takes `weights`: None counts each record once, shape (records,) weighs the records, and shape
(resamples, records) gives one answer per row. A bootstrap is then a matter of counts, and the ranking of the records,
which is what costs time, is found once for all resamples.

A class without a positive record has no F1, AUROC or average precision: NaN. `macro` leaves it out.
"""

import numpy as np
from scipy import sparse

Array = np.ndarray


def check_bool(name: str, array: Array, shape: tuple[int, ...] | None = None) -> Array:
    """Returns `array`, shape (records, classes), bool; raises ValueError for another type, shape or number of axes."""
    array = np.asarray(array)
    if array.dtype != bool:
        raise ValueError(f"{name} must be bool, not {array.dtype}; compare with a threshold first")
    if array.ndim != 2:
        raise ValueError(f"{name} must have shape (records, classes), not {array.shape}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    return array


def check_probabilities(probabilities: Array, shape: tuple[int, ...]) -> Array:
    """Returns `probabilities`, float, of `shape`; raises ValueError if a value is NaN, infinite, or outside 0 to 1."""
    probabilities = np.asarray(probabilities)
    if not np.issubdtype(probabilities.dtype, np.floating):
        raise ValueError(f"probabilities must be floating-point, not {probabilities.dtype}")
    if probabilities.shape != shape:
        raise ValueError(f"probabilities have shape {probabilities.shape}, expected {shape}")
    finite = np.isfinite(probabilities)
    if not finite.all():
        rows = np.flatnonzero(~finite.all(axis=1))
        raise ValueError(
            f"probabilities of {len(rows)} of {shape[0]} records are NaN or infinite (first: record {rows[0]}); "
            "the network has diverged or its input was not finite"
        )
    if probabilities.size and (probabilities.min() < 0 or probabilities.max() > 1):
        raise ValueError("probabilities must lie between 0 and 1; apply a sigmoid to logits first")
    return probabilities


def f1(labels: Array, outputs: Array, weights: Array | None = None) -> Array:
    """Returns the F1 of each class, shape (..., classes): 2 TP / (labelled + predicted); NaN without a positive."""
    both, labelled, predicted = _counts(labels, outputs, weights)
    return _divide(2 * both, np.where(labelled > 0, labelled + predicted, 0))


def micro_f1(labels: Array, outputs: Array, weights: Array | None = None) -> Array:
    """Returns F1 over the decisions of all classes, shape (...); NaN where nothing is labelled or predicted."""
    both, labelled, predicted = (count.sum(axis=-1) for count in _counts(labels, outputs, weights))
    return _divide(2 * both, labelled + predicted)


def macro_f1(labels: Array, outputs: Array, weights: Array | None = None) -> Array:
    """Returns the mean F1 of the classes that have a positive, shape (...)."""
    return macro(f1(labels, outputs, weights))


def macro(per_class: Array) -> Array:
    """Returns the mean over the last axis without NaN (classes that have no positive), NaN if all are."""
    present = ~np.isnan(per_class)
    return _divide(np.where(present, per_class, 0).sum(axis=-1), present.sum(axis=-1))


def auroc(labels: Array, probabilities: Array, weights: Array | None = None) -> Array:
    """Returns the area under the ROC curve of each class, shape (..., classes); NaN without positives or negatives."""
    return ranking(labels, probabilities, weights)[0]


def average_precision(labels: Array, probabilities: Array, weights: Array | None = None) -> Array:
    """Returns the average precision of each class, shape (..., classes): sum of precision times gain in recall."""
    return ranking(labels, probabilities, weights)[1]


def ranking(labels: Array, probabilities: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Returns AUROC and average precision of each class from one sort, two arrays of shape (..., classes).

    Records of equal probability form one step of the curves, as in scikit-learn.

    Args:
      labels: (records, classes) bool.
      probabilities: (records, classes) float, or any score that grows with belief.
      weights: see the module's docstring.
    """
    weights = _weights(labels, weights)
    columns = np.ascontiguousarray(weights.reshape(-1, len(labels)).T)  # (records, resamples): rows are gathered whole
    results = [_ranking_of_class(label, score, columns) for label, score in zip(labels.T, probabilities.T, strict=True)]
    shape = (*weights.shape[:-1], labels.shape[1])
    areas, precisions = (np.stack(values, axis=-1).reshape(shape) for values in zip(*results, strict=True))
    return areas, precisions


def _ranking_of_class(label: Array, score: Array, columns: Array) -> tuple[Array, Array]:
    order = np.argsort(-score, kind="stable")
    label, score = label[order], score[order]
    tie = np.concatenate([[0], np.cumsum(score[1:] != score[:-1])])  # records of equal score share a number
    ties = np.unique(tie[label])  # the curves need only those with a positive in them
    start, end = np.searchsorted(tie, ties, side="left"), np.searchsorted(tie, ties, side="right")
    weights = columns[order]
    above = _accumulate(weights)  # weight of the records before each position, of all and of the positive ones
    hits = _accumulate(weights[label])
    before = np.concatenate([[0], np.cumsum(label)])
    all_start, all_end, hits_start, hits_end = above[start], above[end], hits[before[start]], hits[before[end]]
    positives, negatives = hits[-1], above[-1] - hits[-1]
    gained = hits_end - hits_start
    # A positive is ranked above the negatives that follow its tie, and half above those within.
    passed = negatives - (all_start - hits_start + all_end - hits_end) / 2
    area = (gained * passed).sum(axis=0)
    precision = (gained * hits_end / np.where(all_end > 0, all_end, 1)).sum(axis=0)
    return _divide(area, positives * negatives), _divide(precision, positives)


def _accumulate(weights: Array) -> Array:
    """Returns sums of the rows before each position, (rows + 1, resamples)."""
    sums = np.zeros((len(weights) + 1, weights.shape[1]))
    np.cumsum(weights, axis=0, out=sums[1:])
    return sums


def _counts(labels: Array, outputs: Array, weights: Array | None) -> list[Array]:
    """Returns the weights of the records labelled and predicted, labelled, and predicted, each (..., classes)."""
    weights = _weights(labels, weights)
    masks = np.concatenate([labels & outputs, labels, outputs], axis=1)
    sums = (sparse.csr_array(masks.T, dtype=float) @ weights.T).T  # few decisions are positive
    return np.split(sums, 3, axis=-1)


def _weights(labels: Array, weights: Array | None) -> Array:
    if len(labels) == 0:
        raise ValueError("there is no record to score")
    return np.ones(len(labels)) if weights is None else np.asarray(weights, float)


def _divide(numerator: Array, denominator: Array) -> Array:
    """Returns numerator / denominator, NaN where the denominator is 0."""
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), np.nan)[()]  # 0-d: a scalar
