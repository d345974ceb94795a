import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import student_search
from lrhnet_jax import models
from lrhnet_jax.models import layers
from tests.helpers import fakes


def test_the_search_ends_at_the_network_that_is_in_the_registry():
    sizes = []
    for model in (models.create("lrhnet_wide", 2), student_search.Shape()):
        variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 600, 2)), jnp.zeros((1, 5)))
        sizes.append(jax.tree.map(jnp.shape, variables))
    assert sizes[0] == sizes[1]


@pytest.mark.slow
def test_candidates_differ_and_filtered_records_train_alone(tmp_path, monkeypatch):
    records = fakes.records(190)
    filtered = np.arange(190) >= 150
    records = dataclasses.replace(records, sources=np.where(filtered, student_search.FILTERED, "ptb-xl"))
    folds = np.where(filtered, 0, np.where(np.arange(190) % 6 == 0, 8, 1 + np.arange(190) % 7))
    seen = []

    def load(data_dir, preprocess, database):
        seen.append((data_dir, preprocess, database))
        return records, folds

    small = {
        name: dataclasses.replace(student_search.CANDIDATES[name], window=512)
        for name in ("lrhnet_wide", "lrhnet_wide, filtered records, augmented")
    }
    monkeypatch.setattr(student_search, "load", load)
    monkeypatch.setattr(student_search, "CANDIDATES", small)
    output = tmp_path / "search.json"
    arguments = ["--data_dir=d", "--ptbxl_database=c", f"--workdir={tmp_path}", "--epochs=1", "--seeds=2"]
    found = student_search.main([*arguments, f"--output={output}"])
    assert seen == [("d", "paper", "c"), ("d", "monitor", "c")]
    plain, more = (found["candidates"][name] for name in small)
    assert [run["train_records"] for run in plain["runs"]] == [125, 125]
    assert [run["train_records"] for run in more["runs"]] == [165, 165]
    entropies = {run["cross_entropy"] for row in (plain, more) for run in row["runs"]}
    assert len(entropies) == 4 and all(0 < value < 3 for value in entropies)
    assert plain["mean"]["cross_entropy"] == pytest.approx(np.mean([run["cross_entropy"] for run in plain["runs"]]))
    assert json.loads(output.read_text()) == json.loads(json.dumps(found))


def test_validation_scores():
    labels = np.array([[True, False], [False, True], [True, True], [False, False]])
    sure = student_search.validation_scores(labels, labels * 0.8 + 0.1)
    assert sure["macro_average_precision"] == sure["macro_auroc"] == sure["micro_average_precision"] == 1
    assert sure["cross_entropy"] == pytest.approx(-np.log(0.9))
    wrong = student_search.validation_scores(labels, 0.9 - labels * 0.8)
    assert wrong["macro_auroc"] == 0 and wrong["cross_entropy"] == pytest.approx(-np.log(0.1))


@pytest.mark.parametrize("name", student_search.CANDIDATES)
def test_every_candidate_is_a_network(name):
    model = student_search.Shape(**student_search.CANDIDATES[name].shape)
    output = jax.eval_shape(
        lambda *inputs: model.init_with_output(jax.random.key(0), *inputs)[0], jnp.zeros((2, 600, 2)), jnp.zeros((2, 5))
    )
    assert isinstance(output, layers.Output) and output.logits.shape == (2, 24)
