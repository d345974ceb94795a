import numpy as np
import pytest

from lrhnet_jax.scoring import challenge2020
from lrhnet_jax.tasks import physionet2020

CLASSES = len(physionet2020.CLASSES)


def plain_metric(labels, outputs):
    """The official definition, transcribed with loops over records, labelled classes and predicted classes."""

    def total(labels, outputs):
        confusion = np.zeros((CLASSES, CLASSES))
        for i in range(len(labels)):
            normalization = max(1.0, float(np.sum(np.logical_or(labels[i], outputs[i]))))
            for j in range(CLASSES):
                if labels[i, j]:
                    for k in range(CLASSES):
                        if outputs[i, k]:
                            confusion[j, k] += 1.0 / normalization
        return np.nansum(challenge2020.WEIGHTS * confusion)

    inactive = np.zeros_like(labels)
    inactive[:, physionet2020.CLASSES.index("426783006")] = True
    observed, correct, none = total(labels, outputs), total(labels, labels), total(labels, inactive)
    return (observed - none) / (correct - none) if correct != none else 0.0


def random_case(seed, records=300, density=0.1):
    rng = np.random.default_rng(seed)
    return rng.random((records, CLASSES)) < density, rng.random((records, CLASSES)) < density * 1.5


@pytest.mark.parametrize(("seed", "density"), [(0, 0.02), (1, 0.1), (2, 0.5), (3, 0.98)])
def test_equals_the_definition_on_random_decisions(seed, density):
    labels, outputs = random_case(seed, density=density)
    assert challenge2020.challenge_metric(labels, outputs) == pytest.approx(plain_metric(labels, outputs), abs=1e-12)


def edge(kind):
    labels, outputs = random_case(7, 40)
    if kind == "no label":
        labels[:] = False
    elif kind == "all labels":
        labels[:] = True
    elif kind == "no output":
        outputs[:] = False
    elif kind == "all outputs":
        outputs[:] = True
    elif kind == "some records without either":
        labels[::3], outputs[::3] = False, False
    elif kind == "only normal":
        labels[:] = False
        labels[:, challenge2020.NORMAL] = True
    elif kind == "no record":
        labels, outputs = labels[:0], outputs[:0]
    elif kind == "more records than a block":
        labels, outputs = random_case(8, 1000)
    elif kind == "not contiguous":
        labels, outputs = np.asfortranarray(labels)[::2], outputs[::2]
    return labels, outputs


@pytest.mark.parametrize(
    "kind",
    [
        "no label",
        "all labels",
        "no output",
        "all outputs",
        "some records without either",
        "only normal",
        "no record",
        "more records than a block",
        "not contiguous",
    ],
)
def test_equals_the_definition_on_edge_cases(kind):
    labels, outputs = edge(kind)
    assert challenge2020.challenge_metric(labels, outputs) == pytest.approx(plain_metric(labels, outputs), abs=1e-12)


def test_perfect_is_one_and_all_normal_is_zero():
    labels, _ = random_case(4)
    normal = np.zeros_like(labels)
    normal[:, challenge2020.NORMAL] = True
    assert challenge2020.challenge_metric(labels, labels) == 1.0
    assert challenge2020.challenge_metric(labels, normal) == 0.0


def test_no_labels_give_zero():
    _, outputs = random_case(5)
    assert challenge2020.challenge_metric(np.zeros_like(outputs), outputs) == 0.0


def test_a_similar_diagnosis_earns_part_of_the_credit():
    labels, outputs = np.zeros((1, CLASSES), bool), np.zeros((1, CLASSES), bool)
    fibrillation, flutter = physionet2020.CLASSES.index("164889003"), physionet2020.CLASSES.index("164890007")
    labels[0, fibrillation] = outputs[0, flutter] = True
    # By hand: the answer earns .5 over two classes, the normal one .25 over two, the perfect one 1 over one.
    assert challenge2020.challenge_metric(labels, outputs) == pytest.approx((0.5 / 2 - 0.25 / 2) / (1 - 0.25 / 2))


def test_weights_are_those_of_the_challenge():
    weights = challenge2020.WEIGHTS
    assert weights.shape == (24, 24)
    np.testing.assert_array_equal(weights, weights.T)
    np.testing.assert_array_equal(np.diag(weights), 1)
    assert weights.min() == 0.15
    np.testing.assert_array_equal(
        weights * challenge2020.UNITS, np.rint(weights * challenge2020.UNITS)
    )  # what exactness needs
    for kept, merged in [("10370003", "427084000"), ("39732003", "445118002"), ("270492004", "164947007")]:
        assert weights[physionet2020.CLASSES.index(kept), physionet2020.CLASSES.index(merged)] == 0.5


def test_contributions_add_up_over_any_part():
    labels, outputs = random_case(6)
    rows = np.arange(0, 300, 7)
    expected = challenge2020.normalise(*challenge2020.contributions(labels, outputs)[:, rows].sum(axis=1))
    assert challenge2020.challenge_metric(labels[rows], outputs[rows]) == pytest.approx(float(expected), abs=1e-12)


def test_wrong_input_is_named():
    labels, outputs = random_case(9, 10)
    with pytest.raises(ValueError, match="outputs must be bool, not float64"):
        challenge2020.challenge_metric(labels, outputs.astype(float))
    with pytest.raises(ValueError, match="labels must have shape"):
        challenge2020.challenge_metric(labels[0], outputs[0])
    with pytest.raises(ValueError, match=r"\(10, 24\) and outputs \(9, 24\)"):
        challenge2020.challenge_metric(labels, outputs[1:])
    with pytest.raises(ValueError, match="one column for each scored class"):
        challenge2020.challenge_metric(labels[:, :5], outputs[:, :5])
