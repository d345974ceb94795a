"""Small experiments on the other tasks, end to end: trained, killed and resumed, scored, reported."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import common
from lrhnet_jax import tasks
from lrhnet_jax.errors import CheckpointError, ConfigError, DataError
from lrhnet_jax.experiment import assess, graph, provenance
from lrhnet_jax.experiment import teachers as teaching
from lrhnet_jax.experiment.run import run
from lrhnet_jax.report import page, schema
from lrhnet_jax.runtime.files import read_json
from lrhnet_jax.training import checkpoint
from lrhnet_jax.training.state import init_variables
from tests.helpers import fakes
from tests.helpers.typed import mismatches


def config_of(dataset, data_dir, arg="preset=demo", **changes):
    """An LRH-Net on the fake set `dataset`; where classes exclude each other, also one that teaches it."""
    options = common.parse(f"{arg},data={dataset}", "1", ("physionet2017", "ptbxl", "cpsc2018"))
    leads = ("I",) if "2017" in dataset else ("I", "II")
    networks = {"student": common.network("lrhnet", leads, epochs=3)}
    if "2017" in dataset:
        networks["student"].teachers = ConfigDict({"teacher": 1.0})
        networks["teacher"] = common.network("lrhnet", leads, epochs=1)
    config = common.experiment("test", options, networks)
    config.data_dir, config.compilation_cache = str(data_dir), ""
    config.window, config.train.batch_size, config.windows_per_record = 256, 16, 2
    config.evaluation.resamples, config.evaluation.validation_parts = 10, 4
    for field, value in changes.items():
        config[field] = value
    return config


def made(name, data_dir, n=90):
    fakes.build(fakes.of_task(name, n), data_dir, tasks.choose("auto", [tasks.of(name).name]).preprocess[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["synthetic_physionet2017", "cpsc2018"])
def test_an_experiment_trains_scores_reports_and_resumes(name, tmp_path, monkeypatch):
    task = tasks.of(name)
    made(name, tmp_path / "data")
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    output = run(config_of(name, tmp_path / "data"), whole)

    # The same run, that ends without notice in the second epoch of the student.
    calls = []

    def dies(self, lead_network, variables):
        calls.append(lead_network)
        if len(calls) == 2 + task.exclusive:
            raise KeyboardInterrupt
        return scored(self, lead_network, variables)

    scored = assess.Assessor.epoch_score
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(assess.Assessor, "epoch_score", dies)
        run(config_of(name, tmp_path / "data"), resumed)
    assert checkpoint.is_finished(resumed / "networks/teacher") == task.exclusive
    assert list((resumed / "networks/student/progress").glob("[0-9]*")) and not (resumed / "results.json").exists()
    run(config_of(name, tmp_path / "data"), resumed)

    results = [read_json(folder / "results.json") for folder in (whole, resumed)]
    assert mismatches(results[0], schema.Results) == []
    first, second = (r["folds"]["0"]["networks"]["student"]["test"] for r in results)
    assert first == second
    with (
        np.load(whole / "networks/student/predictions.npz") as a,
        np.load(resumed / "networks/student/predictions.npz") as b,
    ):
        np.testing.assert_array_equal(a["test"], b["test"])
        sums = a["test"].sum(axis=1)
    assert list(first["headline"]) == list(task.metrics) and list(first["per_class"]) == list(task.classes)
    history = results[0]["folds"]["0"]["networks"]["student"]["history"]
    assert all(0 <= row[f"validation_{task.epoch_metric}"] <= 1 for row in history)
    assert history[-1]["loss"] < history[0]["loss"]
    for comparison in results[0]["folds"]["0"]["comparisons"]:
        assert task.exclusive and list(comparison["differences"]) == list(task.metrics)
    assert list(results[0]["summary"]["student"]) == list(task.metrics)

    meta, variables = checkpoint.load_model(whole / "networks/student")
    assert (meta["task"], meta["rate"], meta["classes"]) == (task.name, task.rate, list(task.classes))
    assert meta["preprocess_options"]["rate"] == task.rate and meta["synthetic"] == name.startswith("synthetic")
    assert variables["params"]["fc2"]["bias"].shape == (len(task.classes),)
    if task.exclusive:
        np.testing.assert_allclose(sums, 1, atol=1e-5)
        assert np.sum(first["confusion"]) == first["records"] and meta["thresholds"] is None
        assert not (whole / "networks/student/thresholds.json").exists()
    else:
        assert np.abs(sums - 1).max() > 0.1 and len(meta["thresholds"]) == len(task.classes)

    text = (whole / "report.md").read_text()
    assert tasks.METRICS[task.metrics[0]] in text and f"256 samples ({256 / task.rate:.1f} s" in text
    assert ("SYNTHETIC" in text) == ("SYNTHETIC" in output) == name.startswith("synthetic")
    assert page.table(results[0]) in output
    with pytest.raises(CheckpointError, match=r"differs in config\.evaluation\.decision"):
        changed = config_of(name, tmp_path / "data")
        changed.evaluation.decision = "threshold_or_top1"
        run(changed, whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocess": "paper"}, "config.preprocess: unknown value 'paper'; choose 300hz, 200hz, 257hz"),
        (
            {"data": "synthetic"},
            "config.data: unknown value 'synthetic'; choose auto, physionet2017, synthetic_physionet",
        ),
        ({"datasets": ("mitbih",)}, r"config.datasets: unknown data set \['mitbih'\]"),
    ],
)
def test_what_does_not_belong_to_the_data_set_is_named(changes, message, tmp_path):
    with pytest.raises((ConfigError, DataError), match=message):
        run(config_of("physionet2017", tmp_path, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_validation_part_without_a_class_is_named_before_anything_is_trained(tmp_path):
    records = fakes.of_task("physionet2017", 60)
    records.labels[:] = np.eye(4, dtype=bool)[np.where(np.arange(60) < 2, 1, np.arange(60) % 2 * 2)]
    fakes.build(records, tmp_path / "data", "300hz")
    message = r"no epoch can be chosen by Challenge F1, for the \d+ validation records have none of class A, ~; build a"
    with pytest.raises(DataError, match=message):
        run(config_of("physionet2017", tmp_path / "data"), tmp_path / "run")
    assert not (tmp_path / "run/networks").exists()


@pytest.mark.slow
def test_a_teacher_of_other_classes_is_named(tmp_path):
    lead_network = fakes.lead_network("lrhnet", (0,))
    variables = init_variables(lead_network.model, jax.random.key(0), 1, 256)
    network = graph.Network("t", "lrhnet", ("I",), checkpoint=str(tmp_path))
    config = config_of("ptbxl", tmp_path)
    meta = provenance.describe_model(config, network, fakes.records(4), variables)
    checkpoint.save_model(tmp_path, variables, meta)
    assert teaching.load(network, lead_network, "paper", 256, tasks.PHYSIONET2020.classes)
    with pytest.raises(CheckpointError, match=r"config\.networks\.t: .* has classes \['10370003'.* not \['NORM', 'MI'"):
        teaching.load(network, lead_network, "paper", 256, tasks.PTBXL.classes)


def test_the_default_preprocessing_is_the_data_sets(tmp_path):
    assert config_of("physionet2017", tmp_path).preprocess == "300hz"
    assert config_of("ptbxl", tmp_path).preprocess == "paper"
    assert config_of("cpsc2018", tmp_path, "preset=reference").preprocess == "reference"
    assert config_of("physionet2017", tmp_path, "preset=reference").preprocess == "300hz"
    with pytest.raises(ConfigError, match="unknown data 'physionet2020'; choose auto, ptbxl, synthetic_ptbxl"):
        common.parse("data=physionet2020", dataset="ptbxl")
