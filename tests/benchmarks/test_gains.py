"""Gains, against a recount by hand and scikit-learn."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from benchmarks import gains
from lrhnet_jax import tasks
from lrhnet_jax.errors import DataError
from lrhnet_jax.experiment import datasets
from tests.helpers import fakes

SEEDS = 4


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """A run's folder, and its records: networks alone, and taught ones whose answers are better by as much."""
    records = fakes.records(40)
    monkeypatch.setattr(datasets, "resolve", lambda *arguments: records)

    def write(better=0.2):
        rng, networks = np.random.default_rng(0), {}
        for seed in range(SEEDS):
            noise = rng.random(records.labels.shape)
            for recipe, share in (("alone", 0.0), ("taught", better)):
                name = f"{recipe}2_{seed}"
                networks[name] = {"model": "lrhnet", "leads": ["I", "II"], "recipe": recipe, "seed": seed, "train": {}}
                folder = tmp_path / "networks" / name
                folder.mkdir(parents=True, exist_ok=True)
                found = (1 - share) * noise + share * records.labels
                np.savez(folder / "predictions.npz", test=found, test_records=records.record_ids)
                (folder / "thresholds.json").write_text(json.dumps({"thresholds": [0.5] * 24}))
                (folder / "evaluation.json").write_text("{}")
        config = dict(data="auto", preprocess="paper", synthetic_records=1, datasets=["physionet2020"], fold="0")
        config |= {"experiment": "test", "train": {"epochs": 9}, "networks": networks}
        (tmp_path / "run.json").write_text(json.dumps({"config": config}))
        return records

    return tmp_path, write


def test_a_recipe_that_answers_better_gains_in_every_metric_beyond_its_interval(scored, capsys):
    workdir, write = scored
    records = write()
    output = workdir / "gains.json"
    found = gains.main([str(workdir), "--data_dir=DATA", "--resamples=50", f"--output={output}"])
    recipes = found["runs"][0]["recipes"]
    assert recipes["alone2"]["gains"] == {} and recipes["taught2"]["epochs"] == 9
    values = []
    for name in ("alone2_1", "taught2_1"):
        with np.load(workdir / "networks" / name / "predictions.npz") as arrays:
            values.append(average_precision_score(records.labels, arrays["test"], average="micro"))
    micro = recipes["taught2"]["gains"]["micro_average_precision"]
    assert micro["values"][1] == pytest.approx(values[1] - values[0])
    assert recipes["alone2"]["metrics"]["micro_average_precision"]["values"][1] == pytest.approx(values[0])
    for row in recipes["taught2"]["gains"].values():
        assert 0 < row["low"] < row["high"] and row["p"] < 0.01
        assert row["mean"] == pytest.approx(np.mean(row["values"]))
    text = output.with_suffix(".md").read_text()
    assert text in capsys.readouterr().out and "| taught2 | lrhnet | 2 | 4 | 9 |" in text
    assert json.loads(output.read_text()) == json.loads(json.dumps(found))


def test_what_is_as_good_gains_nothing_and_networks_not_scored_yet_are_left_out(scored):
    workdir, write = scored
    write(better=0.0)
    (workdir / "networks/taught2_3/evaluation.json").unlink()
    found = gains.main([str(workdir), "--data_dir=DATA", "--resamples=20"])["runs"][0]["recipes"]["taught2"]
    assert found["seeds"] == [0, 1, 2]
    assert all((row["low"], row["mean"], row["high"]) == (0, 0, 0) for row in found["gains"].values())


def test_seeds_and_patients_both_widen_the_interval():
    rng = np.random.default_rng(1)
    seeds, patients = 2 * rng.normal(size=(6, 1)), rng.normal(size=(1, 2001))
    zeros = np.zeros((6, 2001))

    def width(taught):
        row = gains.gain(taught, zeros)
        return row["high"] - row["low"]

    both = width(seeds + patients)
    assert both > 1.1 * width(seeds + zeros) and both > 1.1 * width(patients + zeros)


def test_a_patients_records_are_drawn_together_and_the_first_draw_is_all_records():
    weights = gains.draw(np.array(["b", "a", "b", "c"]), 200)
    np.testing.assert_array_equal(weights[0], 1)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all() and len(np.unique(weights[:, 1])) > 2


def test_weights_count_records_as_often_as_they_are_drawn():
    records = fakes.records(20)
    found = np.random.default_rng(2).random(records.labels.shape)
    drawn = np.random.default_rng(3).integers(0, 20, 20)
    weights = np.bincount(drawn, minlength=20)[None].astype(float)
    limits = np.full(24, 0.5)
    weighted = gains.score(tasks.PHYSIONET2020, records.labels, found, limits, weights)
    repeated = gains.score(tasks.PHYSIONET2020, records.labels[drawn], found[drawn], limits, np.ones((1, 20)))
    assert set(weighted) >= {"challenge_metric", "micro_f1", "macro_auroc", "log_likelihood"}
    for name, value in weighted.items():
        assert value == pytest.approx(repeated[name]), name


def test_records_of_another_set_are_named(scored):
    workdir, write = scored
    records = write()
    records.record_ids[7] = "other"
    with pytest.raises(DataError, match=r"alone2_0: .*has no record R0007; give the --data_dir"):
        gains.main([str(workdir), "--data_dir=DATA"])


def test_runs_that_differ_in_their_networks_alone_are_one(scored, tmp_path):
    workdir, write = scored
    write()
    config = json.loads((workdir / "run.json").read_text())["config"]
    more, other = tmp_path / "more", tmp_path / "other"
    for folder, changes in (
        (more, {"experiment": "more"}),
        (other, {"fold": "1"}),
        (tmp_path / "all", {"fold": "all"}),
    ):
        networks = {name: fields for name, fields in config["networks"].items() if fields["seed"] == 0}
        networks = {name: {**fields, "seed": 9} for name, fields in networks.items()}
        for name in networks:
            (folder / "networks").mkdir(parents=True, exist_ok=True)
            (folder / "networks" / name).symlink_to(workdir / "networks" / name)
        (folder / "run.json").write_text(json.dumps({"config": {**config, **changes, "networks": networks}}))
    runs = gains.main([str(workdir), str(more), str(other), "--data_dir=DATA", "--resamples=20"])["runs"]
    assert [run["recipes"]["taught2"]["seeds"] for run in runs] == [[0, 1, 2, 3, 9], [9]]
    with pytest.raises(DataError, match="has all folds; give a run on one"):
        gains.read([tmp_path / "all"])
