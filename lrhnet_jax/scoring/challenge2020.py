"""The metric of the PhysioNet/CinC Challenge 2020, which gives partial credit for clinically similar diagnoses.

For each record, every pair of a labelled class j and a predicted class k adds weight[j, k], divided by the number of
classes that are labelled or predicted. The sum over the records is scaled so that 1 is the perfect answer and 0 the
inactive one that calls every record normal sinus rhythm.
"""

import csv
from importlib import resources

import numpy as np

from lrhnet_jax.scoring.metrics import check_bool
from lrhnet_jax.tasks import physionet2020


def _load_weights() -> np.ndarray:
    text = resources.files(__package__).joinpath("challenge2020_weights.csv").read_text()
    header, *rows = csv.reader(text.splitlines())
    if tuple(header[1:]) != physionet2020.CLASSES or tuple(row[0] for row in rows) != physionet2020.CLASSES:
        raise ValueError("challenge2020_weights.csv does not list the classes in the order of physionet2020.CLASSES")
    return np.array([row[1:] for row in rows], float)


WEIGHTS = _load_weights()  # (labelled class, predicted class)
UNITS = 80  # every weight is a multiple of 1/80: in these units, sums of credits are exact, even in float32
NORMAL = physionet2020.CLASSES.index(physionet2020.NORMAL_CLASS)
_CREDITS = np.rint(WEIGHTS * UNITS).astype(np.float32)
_BLOCK = 256  # records


def challenge_metric(labels: np.ndarray, outputs: np.ndarray) -> float:
    """Returns the Challenge metric: 1 is perfect, 0 calls every record normal, and it may be negative.

    Args:
      labels: (records, 24) bool, classes in the order of `physionet2020.CLASSES`.
      outputs: (records, 24) bool, the decisions.

    Returns:
      The metric, or 0 if the inactive answer is as good as the perfect one (as for no records at all).

    Raises:
      ValueError: for another type or shape.
    """
    return float(normalise(*contributions(labels, outputs).sum(axis=1)))


def contributions(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Returns what each record adds to the observed, the perfect and the inactive score, shape (3, records)."""
    labels = check_bool("labels", labels)
    outputs = check_bool("outputs", outputs)
    if labels.shape != outputs.shape or labels.shape[1] != len(WEIGHTS):
        raise ValueError(
            f"labels {labels.shape} and outputs {outputs.shape} must both be (records, {len(WEIGHTS)}): "
            "one column for each scored class"
        )
    truth, decided = labels.astype(np.float32), outputs.astype(np.float32)
    credit = _credit(truth)
    either = np.einsum("nc->n", (labels | outputs).astype(np.float32))  # several times faster than sum() here
    labelled = np.einsum("nc->n", truth)
    observed = np.einsum("nc,nc->n", credit, decided) / _divisor(either)
    correct = np.einsum("nc,nc->n", credit, truth) / _divisor(labelled)
    inactive = credit[:, NORMAL] / _divisor(labelled + ~labels[:, NORMAL])
    return np.stack([observed, correct, inactive])


def _credit(truth: np.ndarray) -> np.ndarray:
    """Returns the credit, in units, for predicting each class, (records, 24) float32.

    In blocks that are too small for BLAS to start threads, which on a busy machine wait longer than they work.
    """
    credit = np.empty_like(truth)
    for first in range(0, len(truth), _BLOCK):
        np.matmul(truth[first : first + _BLOCK], _CREDITS, out=credit[first : first + _BLOCK])
    return credit


def _divisor(classes: np.ndarray) -> np.ndarray:
    return UNITS * np.maximum(classes.astype(float), 1)


def normalise(observed: np.ndarray, correct: np.ndarray, inactive: np.ndarray) -> np.ndarray:
    """Returns (observed - inactive) / (correct - inactive), 0 where the denominator is 0; arrays of one shape."""
    span = np.asarray(correct - inactive)
    return np.where(span != 0, (observed - inactive) / np.where(span != 0, span, 1), 0.0)
