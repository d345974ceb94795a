"""The paper's tables end to end on a small synthetic set, with LRH-Nets in place of the SE-ResNets."""

import shutil

import pytest

from configs import tables
from lrhnet_jax import assess, checkpoint, experiment, train
from tests import fakes

STUDENTS = ["alone2_0", "pmlkd2_0", "vanilla2_0"]


@pytest.mark.slow
def test_every_cell_is_measured_compared_and_kept(tmp_path, monkeypatch):
    fakes.build(fakes.of_task("synthetic", 96), tmp_path / "data", "paper")

    def run():
        keys = "methods=alone+vanilla+pmlkd,sets=2,seeds=1,teacher_epochs=1,student_epochs=1"
        config = tables.get_config(f"preset=demo,data=synthetic,{keys}")
        config.data_dir, config.compilation_cache, config.devices = str(tmp_path / "data"), "", 1
        config.window, config.train.batch_size, config.windows_per_record = 256, 16, 2
        config.evaluation.resamples, config.evaluation.validation_parts = 10, 4
        for name in ("teacher12", "teacher2"):
            config.networks[name].model = "lrhnet"
        output = experiment.run(config, tmp_path / "run")
        return output, checkpoint.read_json(tmp_path / "run/results.json")

    output, results = run()
    rows = results["folds"]["0"]["networks"]
    assert sorted(rows) == [*STUDENTS[:2], "teacher12", "teacher2", STUDENTS[2]]
    # 83,236 parameters, and mean and variance of the six BatchNorms of 16, 32 and 64 channels.
    assert results["networks"]["alone2_0"]["bytes"] == 4 * (83_236 + 2 * 2 * (16 + 32 + 64))
    validation = results["folds"]["0"]["records"]["validation"]
    assert all(row["inference"]["records"] == validation and row["inference"]["seconds"] > 0 for row in rows.values())
    pairs = {(pair["a"], pair["b"]) for pair in results["folds"]["0"]["comparisons"]}
    assert pairs == {
        ("vanilla2_0", "alone2_0"),
        ("pmlkd2_0", "alone2_0"),
        ("teacher12", "vanilla2_0"),
        ("teacher12", "pmlkd2_0"),
        ("teacher2", "pmlkd2_0"),
    }
    report = (tmp_path / "run/report.md").read_text()
    assert "## Recipes over seeds and folds" in report and "SYNTHETIC" in report
    assert all(name in output for name in rows)

    # A cell that is missing is made again, from the same bits to the same bits; no other is touched.
    trained = []
    with monkeypatch.context() as patch:
        patch.setattr(train, "run", lambda job, real=train.run: trained.append(job.name) or real(job))
        shutil.rmtree(tmp_path / "run/networks/vanilla2_0")
        again = run()[1]["folds"]["0"]
    assert trained == ["vanilla2_0"]
    for name, row in again["networks"].items():
        assert row["test"] == rows[name]["test"]
        assert (row["inference"] == rows[name]["inference"]) == (name != "vanilla2_0")
    assert again["comparisons"] == results["folds"]["0"]["comparisons"]

    def fail(*arguments):
        raise AssertionError("a finished table computes nothing")

    with monkeypatch.context() as patch:
        patch.setattr(train, "run", fail)
        patch.setattr(assess.Assessor, "probabilities", fail)
        assert run()[1]["folds"]["0"] == again
