import numpy as np
import pytest
from sklearn import metrics as reference

from lrhnet_jax.scoring import metrics


@pytest.fixture(params=["distinct", "ties", "constant"])
def case(request):
    rng = np.random.default_rng(3)
    labels = rng.random((400, 6)) < [0.5, 0.3, 0.1, 0.05, 0.9, 0.02]
    labels[0] = True  # every class has a positive
    probabilities = np.clip(rng.random((400, 6)) * 0.7 + 0.3 * labels, 0, 1).astype(np.float32)
    if request.param == "ties":
        probabilities = probabilities.round(1)
    elif request.param == "constant":
        probabilities[:] = 0.25
    return labels, probabilities


def test_f1_equals_scikit_learn(case):
    labels, probabilities = case
    outputs = probabilities >= 0.5
    per_class = reference.f1_score(labels, outputs, average=None, zero_division=0)
    np.testing.assert_allclose(metrics.f1(labels, outputs), per_class, atol=1e-12)
    assert metrics.macro_f1(labels, outputs) == pytest.approx(per_class.mean())
    micro = reference.f1_score(labels, outputs, average="micro", zero_division=0)
    assert metrics.micro_f1(labels, outputs) == pytest.approx(micro)


def test_ranking_equals_scikit_learn(case):
    labels, probabilities = case
    expected = reference.roc_auc_score(labels, probabilities, average=None)
    np.testing.assert_allclose(metrics.auroc(labels, probabilities), expected, atol=1e-12)
    expected = reference.average_precision_score(labels, probabilities, average=None)
    np.testing.assert_allclose(metrics.average_precision(labels, probabilities), expected, atol=1e-12)


def test_weights_equal_scikit_learn_and_repeated_records(case):
    labels, probabilities = case
    weights = np.random.default_rng(1).multinomial(400, np.full(400, 1 / 400), size=3)
    area, precision = metrics.ranking(labels, probabilities, weights)
    f1 = metrics.f1(labels, probabilities >= 0.5, weights)
    micro = metrics.micro_f1(labels, probabilities >= 0.5, weights)
    for row, weight in enumerate(weights):
        assert labels[weight > 0].any(axis=0).all()
        kwargs = {"average": None, "sample_weight": weight}
        np.testing.assert_allclose(area[row], reference.roc_auc_score(labels, probabilities, **kwargs), atol=1e-12)
        expected = reference.average_precision_score(labels, probabilities, **kwargs)
        np.testing.assert_allclose(precision[row], expected, atol=1e-12)
        repeated = np.repeat(np.arange(400), weight)
        outputs = probabilities[repeated] >= 0.5
        np.testing.assert_allclose(f1[row], metrics.f1(labels[repeated], outputs), atol=1e-12)
        assert micro[row] == pytest.approx(float(metrics.micro_f1(labels[repeated], outputs)))


def test_classes_without_positives_are_left_out_of_macro_figures():
    rng = np.random.default_rng(0)
    labels = rng.random((50, 4)) < 0.4
    labels[:, 2] = False
    probabilities = rng.random((50, 4))
    outputs = probabilities >= 0.5
    area, precision = metrics.ranking(labels, probabilities)
    for values in (metrics.f1(labels, outputs), area, precision):
        assert np.isnan(values).tolist() == [False, False, True, False]
    assert metrics.macro_f1(labels, outputs) == pytest.approx(metrics.f1(labels, outputs)[[0, 1, 3]].mean())
    assert metrics.macro(area) == pytest.approx(area[[0, 1, 3]].mean())
    assert np.isnan(metrics.macro(np.full(4, np.nan)))


def test_a_class_that_is_always_positive_has_no_auroc():
    labels = np.ones((5, 1), bool)
    area, precision = metrics.ranking(labels, np.linspace(0, 1, 5)[:, None])
    assert np.isnan(area).all()
    assert precision[0] == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_probabilities_are_an_error(bad):
    probabilities = np.full((4, 2), 0.5)
    probabilities[2, 1] = bad
    with pytest.raises(ValueError, match=r"1 of 4 records are NaN or infinite \(first: record 2\)"):
        metrics.check_probabilities(probabilities, (4, 2))


def test_other_wrong_input_is_named():
    with pytest.raises(ValueError, match="between 0 and 1; apply a sigmoid"):
        metrics.check_probabilities(np.full((4, 2), 3.0), (4, 2))
    with pytest.raises(ValueError, match=r"shape \(4, 2\), expected \(5, 2\)"):
        metrics.check_probabilities(np.full((4, 2), 0.5), (5, 2))
    with pytest.raises(ValueError, match="floating-point, not int64"):
        metrics.check_probabilities(np.ones((4, 2), np.int64), (4, 2))
    with pytest.raises(ValueError, match=r"labels has shape \(1, 2\), expected \(2, 2\)"):
        metrics.check_bool("labels", np.ones((1, 2), bool), (2, 2))
    with pytest.raises(ValueError, match="no record"):
        metrics.auroc(np.zeros((0, 2), bool), np.zeros((0, 2)))
