import numpy as np
import pytest

from lrhnet_jax.scoring import challenge2020, metrics, thresholds
from lrhnet_jax.tasks import physionet2020

CLASSES = len(physionet2020.CLASSES)
HALF = np.full(CLASSES, 0.5)


def simulate(seed=0, records=300, absent=()):
    """Labels and probabilities that are informative but far from calibrated at 0.5."""
    rng = np.random.default_rng(seed)
    labels = rng.random((records, CLASSES)) < 0.08
    labels[:, list(absent)] = False
    logits = rng.normal(size=labels.shape) + 2.5 * labels - 3
    return labels, (1 / (1 + np.exp(-logits))).astype(np.float32)


def value(labels, probabilities, chosen):
    return challenge2020.challenge_metric(labels, thresholds.decide(probabilities, chosen))


def test_objective_equals_the_challenge_metric():
    labels, probabilities = simulate(absent=[3, 20])
    candidates = np.random.default_rng(1).random((CLASSES, 19))  # not a whole number of blocks
    found = thresholds.objective(labels, probabilities)(candidates)
    for chosen, metric in zip(candidates.T, found, strict=True):
        assert metric == pytest.approx(value(labels, probabilities, chosen), abs=1e-12)


@pytest.mark.parametrize("shrinkage", [0, thresholds.SHRINKAGE])
def test_fit_improves_on_a_half_and_generalises(shrinkage):
    labels, probabilities = simulate()
    chosen = thresholds.fit(labels, probabilities, shrinkage=shrinkage)
    assert chosen.shape == (CLASSES,)
    assert chosen.dtype == np.float64
    assert value(labels, probabilities, chosen) > value(labels, probabilities, HALF) + 0.1
    labels, probabilities = simulate(seed=1, records=1000)
    assert value(labels, probabilities, chosen) > value(labels, probabilities, HALF) + 0.1


def test_fit_finds_thresholds_that_differ_from_class_to_class():
    """A threshold between 0.3 and 0.4 separates half of the classes without an error, one of 0.6 to 0.7 the others."""
    labels, noise = simulate(records=200)
    low = np.arange(CLASSES) % 2 == 0
    probabilities = np.where(labels, 0.1, 0) + np.where(low, 0.3, 0.6) + 0.03 * (noise - 0.5)
    chosen = thresholds.fit(labels, probabilities, shrinkage=0)
    assert value(labels, probabilities, chosen) > 0.95
    alone = thresholds.fit(labels, probabilities, shrinkage=1e6)
    assert value(labels, probabilities, alone) < 0.7


def test_shrinkage_draws_the_classes_together():
    labels, probabilities = simulate(records=150)
    spreads = [np.ptp(thresholds.fit(labels, probabilities, shrinkage=s, maxiter=30)) for s in (0, 10, 1e6)]
    assert spreads[0] > spreads[1] > spreads[2]
    assert spreads[2] < 0.001


def test_fit_is_never_worse_than_a_half():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        labels, probabilities = rng.random((8, CLASSES)) < 0.1, rng.random((8, CLASSES))
        chosen = thresholds.fit(labels, probabilities, maxiter=1, seed=seed)
        assert value(labels, probabilities, chosen) >= value(labels, probabilities, HALF)


def test_fit_is_a_function_of_the_seed():
    labels, probabilities = simulate(records=100)
    first = thresholds.fit(labels, probabilities, seed=3)
    np.testing.assert_array_equal(first, thresholds.fit(labels, probabilities, seed=3))
    assert not np.array_equal(first, thresholds.fit(labels, probabilities, seed=4))


def test_absent_classes_get_the_threshold_that_serves_all():
    labels, probabilities = simulate(absent=[0, 5])
    for shrinkage in (0, 5):
        chosen = thresholds.fit(labels, probabilities, shrinkage=shrinkage)
        alone = [value(labels, probabilities, np.full(CLASSES, percent / 100)) for percent in range(1, 100)]
        assert chosen[0] == chosen[5]
        assert value(labels, probabilities, np.full(CLASSES, chosen[0])) == pytest.approx(max(alone), abs=1e-12)


def test_without_any_label_every_threshold_is_a_half():
    labels, probabilities = simulate(records=5)
    np.testing.assert_array_equal(thresholds.fit(np.zeros_like(labels), probabilities), HALF)


def test_a_single_class_with_saturated_probabilities():
    labels, probabilities = simulate(records=30, absent=range(1, CLASSES))
    labels[:3, 0] = True
    probabilities[:, 0] = labels[:, 0]  # exactly 0 or 1
    assert value(labels, probabilities, thresholds.fit(labels, probabilities)) > 0.9


def test_decide():
    probabilities = np.array([[0.5, 0.2, 0.1], [0.1, 0.3, 0.3]], np.float32)
    limits = np.array([0.5, 0.5, 0.5])
    expected = [[True, False, False], [False, False, False]]
    np.testing.assert_array_equal(thresholds.decide(probabilities, limits), expected)
    expected = [[True, False, False], [False, True, False]]  # the first of equals
    np.testing.assert_array_equal(thresholds.decide(probabilities, limits, top1=True), expected)
    with pytest.raises(ValueError, match=r"\(2,\) thresholds for probabilities of shape \(2, 3\)"):
        thresholds.decide(probabilities, limits[:2])


def test_classes_that_exclude_each_other_need_no_threshold():
    probabilities = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]])
    expected = [[False, True, False], [True, False, False]]
    np.testing.assert_array_equal(thresholds.decide(probabilities, None), expected)


def test_f1_objective_equals_macro_f1():
    labels, probabilities = (array[:, :7] for array in simulate(absent=[3]))
    candidates = np.random.default_rng(1).random((7, 11))
    found = thresholds.f1_objective(labels, probabilities)(candidates)
    expected = [metrics.macro_f1(labels, thresholds.decide(probabilities, chosen)) for chosen in candidates.T]
    np.testing.assert_allclose(found, expected)


def test_thresholds_for_f1_are_the_best_of_all_and_generalise():
    labels, probabilities = (array[:, :5] for array in simulate(absent=[3]))
    chosen = thresholds.fit(labels, probabilities, metric="macro_f1", shrinkage=0)
    found = metrics.f1(labels, thresholds.decide(probabilities, chosen))
    for c in (0, 1, 2, 4):
        tried = [metrics.f1(labels, probabilities >= limit)[c] for limit in np.unique(probabilities[:, c])]
        assert found[c] == pytest.approx(max(tried))
    half = np.full(5, 0.5)
    shrunk = thresholds.fit(labels, probabilities, metric="macro_f1")
    labels, probabilities = (array[:, :5] for array in simulate(seed=1, records=1000, absent=[3]))
    values = [metrics.macro_f1(labels, thresholds.decide(probabilities, limits)) for limits in (half, chosen, shrunk)]
    assert min(values[1:]) > values[0] + 0.1


def test_a_class_without_positives_gets_the_threshold_that_serves_f1_of_all():
    labels, probabilities = (array[:, :5] for array in simulate(absent=[3]))
    chosen = thresholds.fit(labels, probabilities, metric="macro_f1")
    alone = [metrics.macro_f1(labels, thresholds.decide(probabilities, np.full(5, p / 100))) for p in range(1, 100)]
    common = metrics.macro_f1(labels, thresholds.decide(probabilities, np.full(5, chosen[3])))
    assert common == pytest.approx(max(alone))
    np.testing.assert_array_equal(thresholds.fit(np.zeros_like(labels), probabilities, metric="macro_f1"), [0.5] * 5)


def test_thresholds_for_f1_of_saturated_probabilities():
    labels = np.eye(3, dtype=bool)[[0, 0, 1, 2]]
    chosen = thresholds.fit(labels, labels.astype(np.float32), metric="macro_f1", shrinkage=0)
    np.testing.assert_array_equal(thresholds.decide(labels.astype(np.float32), chosen), labels)


def test_wrong_input_is_named():
    labels, probabilities = simulate(records=10)
    with pytest.raises(ValueError, match="shrinkage must be 0 or more"):
        thresholds.fit(labels, probabilities, shrinkage=-1)
    with pytest.raises(ValueError, match="no record"):
        thresholds.fit(labels[:0], probabilities[:0])
    with pytest.raises(ValueError, match="5 classes"):
        thresholds.fit(labels[:, :5], probabilities[:, :5])
    with pytest.raises(ValueError, match="cannot maximise 'accuracy'; choose challenge_metric or macro_f1"):
        thresholds.fit(labels, probabilities, metric="accuracy")
    probabilities[3, 3] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        thresholds.fit(labels, probabilities)
