import json

import numpy as np
import pytest

from lrhnet_jax import tasks
from lrhnet_jax.scoring import challenge2017, challenge2020, metrics, thresholds
from lrhnet_jax.scoring.score import epoch_score, paired_difference, score
from lrhnet_jax.tasks import physionet2020

HALF = np.full(24, 0.5)


def simulate(seed=0, records=240, skill=2.0):
    rng = np.random.default_rng(seed)
    labels = rng.random((records, 24)) < 0.15
    labels[:, 5] = False
    logits = np.random.default_rng(seed + 100).normal(size=labels.shape) + skill * labels - 1
    patients = [f"p{i}" for i in rng.integers(records // 2, size=records)]
    return labels, 1 / (1 + np.exp(-logits)), patients


def test_values_are_those_of_the_metrics():
    labels, probabilities, patients = simulate()
    result = score(labels, probabilities, HALF, patients, resamples=20)
    outputs, top1 = (thresholds.decide(probabilities, HALF, top1) for top1 in (False, True))
    area, precision = metrics.ranking(labels, probabilities)
    expected = {
        "challenge_metric": challenge2020.challenge_metric(labels, outputs),
        "micro_f1": metrics.micro_f1(labels, outputs),
        "macro_f1": metrics.macro_f1(labels, outputs),
        "macro_auroc": metrics.macro(area),
        "macro_average_precision": metrics.macro(precision),
    }
    assert {name: row["value"] for name, row in result["headline"].items()} == pytest.approx(expected)
    assert result["headline_top1"]["micro_f1"]["value"] == pytest.approx(float(metrics.micro_f1(labels, top1)))
    assert result["headline_top1"].keys() == {"challenge_metric", "micro_f1", "macro_f1"}
    assert result["records"] == 240
    assert result["patients"] == len(set(patients))
    row = result["per_class"]["164889003"]
    c = physionet2020.CLASSES.index("164889003")
    assert row["abbreviation"] == "AF"
    assert row["positives"] == labels[:, c].sum()
    assert row["auroc"] == pytest.approx(area[c])
    assert row["average_precision"] == pytest.approx(precision[c])


def test_a_class_without_positives_is_named_and_has_no_numbers():
    labels, probabilities, patients = simulate()
    result = score(labels, probabilities, HALF, patients, resamples=5)
    assert result["classes_without_positives"] == [physionet2020.CLASSES[5]]
    row = result["per_class"][physionet2020.CLASSES[5]]
    assert (row["positives"], row["f1"], row["auroc"], row["average_precision"]) == (0, None, None, None)
    json.dumps(result, allow_nan=False)


def test_intervals_hold_the_value_and_shrink_with_more_records():
    wide, narrow = (score(*simulate(records=records)[:2], HALF, resamples=100)["headline"] for records in (60, 2000))
    for name in tasks.PHYSIONET2020.metrics:
        assert narrow[name]["low"] < narrow[name]["value"] < narrow[name]["high"]
        assert narrow[name]["high"] - narrow[name]["low"] < wide[name]["high"] - wide[name]["low"]


def test_intervals_equal_a_plain_bootstrap():
    """Records are copied, and the metrics computed anew, for each resample."""
    labels, probabilities, patients = simulate(records=60)
    result = score(labels, probabilities, HALF, patients, resamples=30, seed=5)["headline"]
    names = list(dict.fromkeys(patients))
    rng = np.random.default_rng(5)
    challenges, areas = [], []
    for drawn in rng.integers(len(names), size=(30, len(names))):
        rows = [i for patient in drawn for i in range(60) if patients[i] == names[patient]]
        challenges.append(challenge2020.challenge_metric(labels[rows], probabilities[rows] >= HALF))
        areas.append(metrics.macro(metrics.auroc(labels[rows], probabilities[rows])))
    for name, values in (("challenge_metric", challenges), ("macro_auroc", areas)):
        low, high = np.percentile(values, [2.5, 97.5])
        assert (result[name]["low"], result[name]["high"]) == pytest.approx((low, high))


def test_the_seed_fixes_the_intervals():
    labels, probabilities, patients = simulate()
    first, again, other = (
        score(labels, probabilities, HALF, patients, resamples=20, seed=seed)["headline"] for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_records_of_one_patient_are_drawn_together():
    labels, probabilities, _ = simulate(records=40)
    one = score(labels, probabilities, HALF, ["same"] * 40, resamples=10)["headline"]["challenge_metric"]
    assert one["low"] == one["high"] == pytest.approx(one["value"])
    unknown = score(labels, probabilities, HALF, [""] * 40, resamples=10)
    assert unknown == score(labels, probabilities, HALF, None, resamples=10)
    assert unknown["patients"] == 40


def test_paired_difference():
    labels, good, patients = simulate(skill=3.0)
    _, poor, _ = simulate(skill=1.0)
    result = paired_difference(labels, good, HALF, poor, HALF, patients, resamples=199)
    values = [score(labels, p, HALF, patients, resamples=1)["headline"] for p in (good, poor)]
    for name in tasks.PHYSIONET2020.metrics:
        expected = values[0][name]["value"] - values[1][name]["value"]
        assert result[name]["difference"] == pytest.approx(expected)
        assert result[name]["low"] > 0
        assert result[name]["p"] == pytest.approx(0.01)  # 2 / (199 + 1), the least that 199 resamples can show
    back = paired_difference(labels, poor, HALF, good, HALF, patients, resamples=199)
    assert back["micro_f1"]["low"] == pytest.approx(-result["micro_f1"]["high"])


def test_a_network_does_not_differ_from_itself():
    labels, probabilities, patients = simulate()
    result = paired_difference(labels, probabilities, HALF, probabilities, HALF, patients, resamples=20)
    for row in result.values():
        assert row == {"difference": 0, "low": 0, "high": 0, "p": 1}


def test_wrong_input_is_named():
    labels, probabilities, patients = simulate(records=10)
    with pytest.raises(ValueError, match="no record to score"):
        score(labels[:0], probabilities[:0], HALF)
    with pytest.raises(ValueError, match="10 patients for 9 records"):
        score(labels[:9], probabilities[:9], HALF, patients)
    with pytest.raises(ValueError, match="at least one resample, not 0"):
        score(labels, probabilities, HALF, resamples=0)
    with pytest.raises(ValueError, match="thresholds for probabilities"):
        score(labels, probabilities, [0.5])
    probabilities[0, 0] = np.inf
    with pytest.raises(ValueError, match="NaN or infinite"):
        paired_difference(labels, probabilities, HALF, probabilities, HALF)


def exclusive(seed=0, records=200, skill=2.0):
    rng = np.random.default_rng(seed)
    labels = np.eye(4, dtype=bool)[rng.choice(4, records, p=[0.5, 0.1, 0.3, 0.1])]
    logits = np.random.default_rng(seed + 100).normal(size=labels.shape) + skill * labels
    odds = np.exp(logits)
    return labels, odds / odds.sum(axis=1, keepdims=True)


def test_classes_that_exclude_each_other_are_decided_by_the_most_probable_one():
    labels, probabilities = exclusive()
    result = score(labels, probabilities, None, task=tasks.PHYSIONET2017, resamples=20)
    outputs = thresholds.decide(probabilities, None)
    expected = {
        "challenge_f1": challenge2017.challenge_f1(labels, outputs),
        "challenge_f1_with_noise": challenge2017.macro_f1(labels, outputs),
        "macro_auroc": metrics.macro(metrics.auroc(labels, probabilities)),
        "macro_average_precision": metrics.macro(metrics.average_precision(labels, probabilities)),
    }
    assert list(result["headline"]) == list(expected)
    assert {name: row["value"] for name, row in result["headline"].items()} == pytest.approx(expected)
    for row in result["headline"].values():
        assert row["low"] < row["value"] < row["high"]
    assert result["headline_top1"] == {}
    np.testing.assert_array_equal(result["confusion"], challenge2017.confusion(labels, outputs))
    assert result["per_class"]["~"]["threshold"] is None and result["per_class"]["A"]["abbreviation"] == "A"
    json.dumps(result, allow_nan=False)


def test_paired_difference_of_exclusive_tasks():
    labels, good = exclusive(skill=3.0)
    _, poor = exclusive(skill=0.5)
    result = paired_difference(labels, good, None, poor, None, task=tasks.PHYSIONET2017, resamples=99)
    of_good, of_poor = (challenge2017.challenge_f1(labels, thresholds.decide(p, None)) for p in (good, poor))
    assert result["challenge_f1"]["difference"] == pytest.approx(of_good - of_poor)
    assert result["challenge_f1"]["low"] > 0 and list(result) == list(tasks.PHYSIONET2017.metrics)


@pytest.mark.parametrize("task", [tasks.PTBXL, tasks.CPSC2018])
def test_other_tasks_are_scored_by_their_own_classes_and_metrics(task):
    count = len(task.classes)
    labels, probabilities, patients = (array if isinstance(array, list) else array[:, :count] for array in simulate())
    limits = np.full(count, 0.4)
    result = score(labels, probabilities, limits, patients, task=task, resamples=10)
    assert list(result["headline"]) == list(task.metrics) and list(result["per_class"]) == list(task.classes)
    value = metrics.macro_f1(labels, thresholds.decide(probabilities, limits))
    assert result["headline"]["macro_f1"]["value"] == pytest.approx(float(value))
    assert result["headline_top1"].keys() == {"macro_f1", "micro_f1"} and "confusion" not in result


def test_the_epoch_is_scored_without_thresholds():
    labels, probabilities = exclusive()
    expected = challenge2017.challenge_f1(labels, thresholds.decide(probabilities, None))
    assert epoch_score(tasks.PHYSIONET2017, labels, probabilities) == pytest.approx(expected)
    area, precision = (metrics.macro(values) for values in metrics.ranking(labels, probabilities))
    assert epoch_score(tasks.PTBXL, labels, probabilities) == area
    assert epoch_score(tasks.PHYSIONET2020, labels, probabilities) == precision


def test_thresholds_and_classes_that_do_not_belong_to_the_task_are_named():
    labels, probabilities = exclusive()
    with pytest.raises(ValueError, match="physionet2017 is decided without thresholds"):
        score(labels, probabilities, np.full(4, 0.5), task=tasks.PHYSIONET2017)
    with pytest.raises(ValueError, match="labels have 4 classes; ptbxl has 5"):
        score(labels, probabilities, np.full(4, 0.5), task=tasks.PTBXL)
    labels, probabilities, _ = simulate()
    with pytest.raises(ValueError, match="physionet2020 is decided by thresholds"):
        score(labels, probabilities, None)
