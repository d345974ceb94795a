"""From probabilities to decisions: one threshold a class, chosen to maximise the Challenge metric or the mean F1.

For the Challenge metric, the paper fits the thresholds by differential evolution. The metric's value for many candidate
thresholds at once is a few integer passes over the records, so that a fit takes seconds. F1 of a class depends on its
own threshold alone, and the best is found by trying every one.

A class with few positive records lends itself to overfitting. Its threshold is therefore drawn towards the one
threshold that serves all classes best together: by half for a class with `SHRINKAGE` positives, less for more.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import differential_evolution

from lrhnet_jax.scoring import metrics
from lrhnet_jax.scoring.challenge2020 import UNITS, WEIGHTS, contributions, normalise
from lrhnet_jax.scoring.metrics import check_bool, check_probabilities

SHRINKAGE = 5.0  # helps where few records are positive, and hardly harms where the classes differ in calibration

_SHIFT = 16
_BLOCK = 8  # candidates that are evaluated together: their sums stay in the processor's cache
_GRID = np.array(sorted(range(1, 100), key=lambda percent: abs(percent - 50))) / 100  # among equals, nearest to 0.5


def decide(
    probabilities: np.ndarray, thresholds: np.ndarray | Sequence[float] | None, top1: bool = False
) -> np.ndarray:
    """Returns the decisions, (records, classes) bool: probability >= threshold.

    Args:
      probabilities: (records, classes) float.
      thresholds: (classes,) float; None for classes that exclude each other: the most probable one alone is positive.
      top1: also call the most probable class of each record positive (the first of equals), as the reference does.
    """
    limits = np.full(probabilities.shape[1], np.inf) if thresholds is None else np.asarray(thresholds, float)
    if limits.shape != probabilities.shape[1:]:
        raise ValueError(f"{limits.shape} thresholds for probabilities of shape {probabilities.shape}")
    outputs = probabilities >= limits
    if top1 or thresholds is None:
        outputs[np.arange(len(outputs)), probabilities.argmax(axis=1)] = True
    return outputs


def fit(
    labels: np.ndarray,
    probabilities: np.ndarray,
    *,
    metric: str = "challenge_metric",
    seed: int = 0,
    shrinkage: float = SHRINKAGE,
    maxiter: int = 200,
    popsize: int = 5,
) -> np.ndarray:
    """Returns one threshold a class, (classes,) float64, that makes a metric of `decide` high.

    The answer is a function of the arguments, and on these records at least as good as thresholds of 0.5. A class
    without a positive record gets the threshold that serves all classes best together.

    Args:
      labels: (records, classes) bool.
      probabilities: (records, classes) float in 0 to 1.
      metric: "challenge_metric", of its 24 classes, or "macro_f1", of any.
      seed: of the evolution.
      shrinkage: the number of positives at which a class's threshold lies halfway between its own and the common one;
        0 is the paper's plain differential evolution.
      maxiter: generations of the evolution.
      popsize: candidates of a generation per fitted class.

    Raises:
      ValueError: for no records, another metric, or input of another type, shape or range.
    """
    labels = check_bool("labels", labels)
    probabilities = check_probabilities(probabilities, labels.shape)
    if metric not in ("challenge_metric", "macro_f1"):
        raise ValueError(f"thresholds cannot maximise {metric!r}; choose challenge_metric or macro_f1")
    of_challenge = metric == "challenge_metric"
    if of_challenge and labels.shape[1] != len(WEIGHTS):
        raise ValueError(f"labels have {labels.shape[1]} classes; the Challenge metric has {len(WEIGHTS)}")
    if len(labels) == 0:
        raise ValueError("there is no record to fit thresholds on")
    if shrinkage < 0:
        raise ValueError(f"shrinkage must be 0 or more, not {shrinkage}")
    evaluate = (objective if of_challenge else f1_objective)(labels, probabilities)
    classes = labels.shape[1]
    common = np.full(classes, _GRID[evaluate(np.tile(_GRID, (classes, 1))).argmax()])
    positives = labels.sum(axis=0)
    present = positives > 0
    if not present.any():
        return common
    if of_challenge:
        own = _evolve(evaluate, common, present, np.random.default_rng(seed), maxiter, popsize)
    else:
        own = _best_f1(labels, probabilities, common)
    share = np.where(present, positives / np.maximum(positives + shrinkage, 1), 0)
    own = share * own + (1 - share) * common
    better = evaluate(own[:, None]) >= evaluate(np.full_like(own, 0.5)[:, None])
    return own if better else common  # which is at least as good as 0.5: the grid holds that


def objective(labels: np.ndarray, probabilities: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function that maps candidates, (24, candidates), to their Challenge metrics, (candidates,)."""
    # A record's score is credit / number of classes labelled or predicted. What a positive decision adds to both fits
    # into one int32: the number above bit 16, the credit in units below (at most 24 * 24 units of 80, less than 2**16).
    credit = np.rint(labels @ (WEIGHTS * UNITS)).astype(np.int32)
    gains = np.ascontiguousarray((((~labels).astype(np.int32) << _SHIFT) + credit).T)
    base = labels.sum(axis=1, dtype=np.int32) << _SHIFT
    columns = np.ascontiguousarray(probabilities.T.astype(float))
    _, correct, inactive = contributions(labels, labels).sum(axis=1)

    def evaluate(candidates: np.ndarray) -> np.ndarray:
        scores = np.empty(candidates.shape[1])
        for first in range(0, len(scores), _BLOCK):
            block = candidates[:, first : first + _BLOCK, None]
            total = np.repeat(base[None], block.shape[1], axis=0)
            for threshold, column, gain in zip(block, columns, gains, strict=True):
                total += (column >= threshold) * gain
            classes = np.maximum(total >> _SHIFT, 1)
            scores[first : first + _BLOCK] = ((total & (2**_SHIFT - 1)) / (UNITS * classes)).sum(axis=1)
        return normalise(scores, correct, inactive)

    return evaluate


def f1_objective(labels: np.ndarray, probabilities: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function that maps candidates, (classes, candidates), to their macro-F1, (candidates,).

    It is 0 where no class has a positive.
    """

    def evaluate(candidates: np.ndarray) -> np.ndarray:
        each = zip(candidates, labels.T, probabilities.T, strict=True)
        scores = metrics.macro(np.stack([_f1(limits, label, column) for limits, label, column in each], axis=-1))
        return np.nan_to_num(scores)

    return evaluate


def _f1(limits: np.ndarray, label: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Returns the F1 of one class at each of `limits`; NaN without a positive."""
    everything, positive = np.sort(column), np.sort(column[label])
    predicted = len(everything) - np.searchsorted(everything, limits)
    correct = len(positive) - np.searchsorted(positive, limits)
    return 2 * correct / (predicted + len(positive)) if len(positive) else np.full(len(limits), np.nan)


def _best_f1(labels: np.ndarray, probabilities: np.ndarray, common: np.ndarray) -> np.ndarray:
    """Returns the threshold of the highest F1 of each class, and `common` for those without a positive."""
    best = common.copy()
    for c in np.flatnonzero(labels.any(axis=0)):
        column = probabilities[:, c].astype(float)
        steps = np.unique(column)
        # The best threshold lets a positive through as its last: between its probability and the next lower one.
        last = np.unique(column[labels[:, c]])
        lower = np.concatenate([[0.0], steps])[np.searchsorted(steps, last)]
        limits = (last + lower) / 2
        best[c] = limits[_f1(limits, labels[:, c], column).argmax()]
    return best


def _evolve(
    evaluate: Callable[[np.ndarray], np.ndarray],
    common: np.ndarray,
    present: np.ndarray,
    rng: np.random.Generator,
    maxiter: int,
    popsize: int,
) -> np.ndarray:
    """Returns thresholds that are evolved for the classes in the mask `present`, and `common` for the others."""
    size = int(present.sum())
    population = rng.uniform(size=(max(popsize * size, 5), size))  # scipy wants five candidates
    population[0], population[1] = 0.5, common[present]  # the best survive: the answer cannot be worse than these

    def complete(candidates: np.ndarray) -> np.ndarray:
        full = np.repeat(common[:, None], candidates.shape[1], axis=1)
        full[present] = candidates
        return full

    result = differential_evolution(
        lambda candidates: -evaluate(complete(candidates)),
        [(0.0, 1.0)] * size,
        init=population,
        maxiter=maxiter,
        tol=1e-3,
        polish=False,  # gradients of a step function are zero
        vectorized=True,
        updating="deferred",
        rng=rng,
    )
    return complete(result.x[:, None])[:, 0]
