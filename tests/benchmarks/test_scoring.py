import json

import numpy as np
import pytest

from benchmarks import scoring as benchmark
from lrhnet_jax.scoring import challenge2020


def test_smoke(tmp_path, capsys):
    path = tmp_path / "results" / "scoring.json"
    benchmark.main(["--smoke", f"--output={path}"])
    result = json.loads(path.read_text())
    assert result["records"] == 100
    assert result["metric"]["largest_disagreement"] < 1e-9
    assert result["thresholds"]["evaluations"]["fit"] > result["thresholds"]["evaluations"]["plain"] > 0
    fitted = result["thresholds"]["challenge_metric"]
    assert fitted["fitted"] >= fitted["thresholds of 0.5"]
    printed = capsys.readouterr().out
    assert "100 records, 24 classes" in printed
    assert "(extrapolated)" in printed


def test_what_is_compared_computes_the_same():
    labels, probabilities = benchmark.simulate(60)
    outputs = probabilities >= 0.3
    expected = pytest.approx(challenge2020.challenge_metric(labels, outputs), abs=1e-12)
    assert benchmark.plain_metric(labels, outputs) == expected
    assert benchmark.plain_metric_of_lists(labels.tolist(), outputs.tolist()) == expected


def test_tasks_take_turns():
    order = []
    seconds = benchmark.interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=3)
    assert order == ["a", "b"] * 3
    assert len(seconds["a"]["all"]) == 3
    assert seconds["b"]["min"] <= seconds["b"]["median"]


def test_simulated_answers_have_the_prevalence_of_the_challenge():
    labels, probabilities = benchmark.simulate(4000)
    assert labels.any(axis=0).all()
    assert 1 < labels.sum(axis=1).mean() < 3.5
    assert np.isfinite(probabilities).all()
