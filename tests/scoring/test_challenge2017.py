import numpy as np
import pytest

from lrhnet_jax.scoring import challenge2017
from lrhnet_jax.tasks.physionet2017 import CLASSES


def one_hot(text):
    return np.array([[name == letter for name in CLASSES] for letter in text], bool).reshape(-1, 4)


LABELS = one_hot("NNNNNAAAOOO~")
OUTPUTS = one_hot("NNNOANAAON~~")
# By hand, labelled + decided:  N 5 + 5, 3 correct;  A 3 + 3, 2;  O 3 + 2, 1;  ~ 1 + 2, 1
F1 = [6 / 10, 4 / 6, 2 / 5, 2 / 3]


def test_confusion_counts_by_hand():
    expected = [[3, 1, 1, 0], [1, 2, 0, 0], [1, 0, 1, 1], [0, 0, 0, 1]]
    np.testing.assert_array_equal(challenge2017.confusion(LABELS, OUTPUTS), expected)


def test_scores_by_hand():
    np.testing.assert_allclose(challenge2017.class_f1(challenge2017.confusion(LABELS, OUTPUTS)), F1)
    assert challenge2017.challenge_f1(LABELS, OUTPUTS) == pytest.approx(sum(F1[:3]) / 3)
    assert challenge2017.macro_f1(LABELS, OUTPUTS) == pytest.approx(sum(F1) / 4)


def test_noise_counts_in_the_score_by_what_it_takes_from_the_others():
    labels, outputs = one_hot("NNAO"), one_hot("NNAO")
    assert challenge2017.challenge_f1(labels, outputs) == 1
    # A normal record that is called noisy: F1 of N falls to 2 / 3. A noisy one that is called normal: to 4 / 5.
    assert challenge2017.challenge_f1(labels, one_hot("N~AO")) == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert challenge2017.challenge_f1(one_hot("NNAO~"), one_hot("NNAON")) == pytest.approx((4 / 5 + 1 + 1) / 3)
    # A noisy one that is taken for what it is changes nothing.
    assert challenge2017.challenge_f1(one_hot("NNAO~"), one_hot("NNAO~")) == 1


def test_a_class_that_is_only_decided_has_zero_and_an_absent_one_has_none():
    labels, outputs = one_hot("NNAA"), one_hot("NNOA")
    f1 = challenge2017.class_f1(challenge2017.confusion(labels, outputs))
    np.testing.assert_allclose(f1, [1, 2 / 3, 0, np.nan])
    assert challenge2017.challenge_f1(labels, outputs) == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert np.isnan(challenge2017.macro_f1(labels, outputs))
    assert np.isnan(challenge2017.challenge_f1(one_hot("NNA"), one_hot("NNA")))
    assert np.isnan(challenge2017.challenge_f1(one_hot(""), one_hot("")))


def test_weights_are_repeated_records():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(LABELS), (5, 40))
    weights = np.stack([np.bincount(row, minlength=len(LABELS)) for row in rows])
    together = challenge2017.challenge_f1(LABELS, OUTPUTS, weights)
    assert together.shape == (5,)
    np.testing.assert_allclose(together, [challenge2017.challenge_f1(LABELS[row], OUTPUTS[row]) for row in rows])
    assert challenge2017.confusion(LABELS, OUTPUTS, weights).shape == (5, 4, 4)


def test_equals_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    labels, outputs = np.eye(4, dtype=bool)[np.random.default_rng(0).integers(0, 4, (2, 200))]
    expected = metrics.f1_score(labels, outputs, average=None)
    np.testing.assert_allclose(challenge2017.class_f1(challenge2017.confusion(labels, outputs)), expected)


@pytest.mark.parametrize(
    ("labels", "outputs", "message"),
    [
        (LABELS.astype(int), OUTPUTS, "labels must be bool, not int64"),
        (LABELS[:, :3], OUTPUTS, "labels must have a column for each of N, A, O, ~, not 3"),
        (LABELS[0], OUTPUTS, "labels must have shape"),
        (LABELS, OUTPUTS[1:], r"\(12, 4\) and outputs \(11, 4\)"),
        (LABELS, np.zeros_like(OUTPUTS), "outputs must have exactly one class a record; record 0 has 0"),
        (LABELS | one_hot("NNNNNANAOOO~"), OUTPUTS, "labels must have exactly one class a record; record 6 has 2"),
    ],
)
def test_wrong_input_is_named(labels, outputs, message):
    with pytest.raises(ValueError, match=message):
        challenge2017.challenge_f1(labels, outputs)


def test_wrong_weights_and_counts_are_named():
    with pytest.raises(ValueError, match=r"weights \(3,\) must end with the number of records, 12"):
        challenge2017.challenge_f1(LABELS, OUTPUTS, np.ones(3))
    with pytest.raises(ValueError, match=r"counts must have shape .* not \(4,\)"):
        challenge2017.class_f1(np.ones(4))
