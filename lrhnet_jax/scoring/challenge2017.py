"""The metric of the PhysioNet/CinC Challenge 2017: one of four classes for each short single-lead ECG.

From the confusion counts, a class has F1 = 2 correct / (labelled + decided). The Challenge's score is the mean of
normal, AF and other; noise counts through the records that it gains from them or loses to them (Clifford et al. 2017).
"""

import numpy as np

from lrhnet_jax.scoring.metrics import check_bool
from lrhnet_jax.tasks.physionet2017 import CLASSES

SCORED = 3  # the first classes, which the Challenge's score is the mean of


def confusion(labels: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Counts the records of every pair of classes.

    Args:
      labels: (records, 4) bool, one class each.
      outputs: (records, 4) bool, one class each: the decisions.
      weights: None counts each record once; (records,) weighs them; (resamples, records) gives one answer per row.

    Returns:
      (..., 4, 4) float64, labelled class by decided class.

    Raises:
      ValueError: for another type or shape, or a record with no class or several.
    """
    labels, outputs = _check_one("labels", labels), _check_one("outputs", outputs)
    if labels.shape != outputs.shape:
        raise ValueError(f"labels {labels.shape} and outputs {outputs.shape} must have the same number of records")
    count = len(CLASSES)
    pairs = np.eye(count * count)[labels.argmax(axis=1) * count + outputs.argmax(axis=1)]
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, float)
    if weights.shape[-1:] != (len(labels),):
        raise ValueError(f"weights {weights.shape} must end with the number of records, {len(labels)}")
    return (weights @ pairs).reshape(*weights.shape[:-1], count, count)


def class_f1(counts: np.ndarray) -> np.ndarray:
    """Returns the F1 of each class, (..., 4), of `confusion`'s counts; NaN if it is neither labelled nor decided."""
    counts = np.asarray(counts, float)
    if counts.shape[-2:] != (len(CLASSES), len(CLASSES)):
        raise ValueError(f"counts must have shape (..., {len(CLASSES)}, {len(CLASSES)}), not {counts.shape}")
    correct = np.diagonal(counts, axis1=-2, axis2=-1)
    total = counts.sum(axis=-1) + counts.sum(axis=-2)
    return np.where(total > 0, 2 * correct / np.where(total > 0, total, 1), np.nan)


def challenge_f1(labels: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Returns the Challenge's score, shape (...): the mean F1 of normal, AF and other; NaN if one of them has none."""
    return class_f1(confusion(labels, outputs, weights))[..., :SCORED].mean(axis=-1)


def macro_f1(labels: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Returns the mean F1 of all four classes, noise included, shape (...); NaN if one of them has none."""
    return class_f1(confusion(labels, outputs, weights)).mean(axis=-1)


def _check_one(name: str, array: np.ndarray) -> np.ndarray:
    array = check_bool(name, array)
    if array.shape[1] != len(CLASSES):
        raise ValueError(f"{name} must have a column for each of {', '.join(CLASSES)}, not {array.shape[1]}")
    wrong = np.flatnonzero(array.sum(axis=1) != 1)
    if len(wrong):
        raise ValueError(f"{name} must have exactly one class a record; record {wrong[0]} has {array[wrong[0]].sum()}")
    return array
