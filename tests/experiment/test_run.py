"""The main run end to end, in processes of its own, on a small synthetic set."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import common
from lrhnet_jax.data import splits
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.errors import CheckpointError, ConfigError, DataError, UserError
from lrhnet_jax.experiment import assess
from lrhnet_jax.experiment import teachers as teaching
from lrhnet_jax.experiment.run import run
from lrhnet_jax.training import checkpoint, loop
from tests.helpers import fakes

# LRH-Nets stand in for the teachers: an SE-ResNet takes long to compile, and other tests cover it.
SMALL = (
    "--config.networks.teacher12.model=lrhnet",
    "--config.networks.teacher2.model=lrhnet",
    "--config.window=256",
    "--config.train.batch_size=16",
    "--config.networks.teacher12.train.epochs=2",
    "--config.networks.teacher2.train.epochs=2",
    "--config.networks.student.train.epochs=3",
    "--config.evaluation.resamples=20",
)


def command(data_dir, workdir, cache, *flags, config="configs/pmlkd.py:preset=demo,data=synthetic"):
    return [
        sys.executable,
        "-m",
        "lrhnet_jax.main",
        f"--config={config}",
        f"--workdir={workdir}",
        f"--config.data_dir={data_dir}",
        f"--config.compilation_cache={cache}",
        *SMALL,
        *flags,
    ]


def launch(arguments) -> subprocess.Popen:
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    root = pathlib.Path(__file__).parents[2]
    return subprocess.Popen(
        arguments, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(arguments) -> str:
    process = launch(arguments)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-3000:]
    return output


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory, compilation_cache) -> tuple[pathlib.Path, str]:
    """The folder and the output of an uninterrupted run."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, finish(command(data_dir, workdir, compilation_cache))


def comparable(value):
    """Results without what may differ between two equal runs: how fast they went, when, and where the data lay."""
    free = ("samples_per_second", "inference", "created", "command", "input")
    if isinstance(value, dict):
        return {k: comparable(v) for k, v in value.items() if k not in free}
    return [comparable(item) for item in value] if isinstance(value, list) else value


@pytest.mark.slow
def test_the_main_job_leaves_results_a_report_and_networks(finished):
    workdir, output = finished
    results = json.loads((workdir / "results.json").read_text())
    assert list(results["networks"]) == ["teacher12", "teacher2", "student"]
    assert results["networks"]["student"]["parameters"] == 83_236
    assert results["networks"]["teacher12"]["parameters"] == 84_516
    assert results["networks"]["student"]["teachers"] == {"teacher12": 0.6, "teacher2": 0.4}
    sizes = results["folds"]["0"]["records"]
    assert sum(sizes.values()) == results["dataset"]["records"]
    for row in results["folds"]["0"]["networks"].values():
        assert row["test"]["records"] == sizes["test"] and len(row["thresholds"]) == 24
        for metric in row["test"]["headline"].values():
            assert -1 < metric["low"] <= metric["high"] <= 1 and -1 < metric["value"] <= 1
    assert {(c["a"], c["b"]) for c in results["folds"]["0"]["comparisons"]} == {
        ("teacher12", "student"),
        ("teacher2", "student"),
    }
    report = (workdir / "report.md").read_text()
    for loud in (output, report, json.dumps(results["dataset"])):
        assert "SYNTHETIC" in loud.upper()
    assert str(workdir / "report.md") in output and list((workdir / "figures").glob("*.png"))
    meta, _ = checkpoint.load_model(workdir / "networks/student")
    assert meta["leads"] == ["I", "II"] and meta["synthetic"] and len(meta["thresholds"]) == 24


@pytest.mark.slow
def test_killed_in_every_phase_the_run_ends_with_the_same_bits(finished, data_dir, tmp_path, compilation_cache):
    whole, _ = finished
    arguments = command(data_dir, tmp_path, compilation_cache, "--config.input=stream")  # the same bits, too
    phases = (
        "networks/teacher12/metrics.jsonl",  # a teacher, between two epochs
        "teacher_logits/teacher12.npy",  # teachers precompute
        "networks/teacher12/predictions.npz",  # scoring
    )
    for phase in phases:
        process = launch(arguments)
        deadline = time.monotonic() + 300
        while not (tmp_path / phase).exists():
            assert process.poll() is None, f"ended before {phase}: {process.communicate()[0][-3000:]}"
            assert time.monotonic() < deadline, f"{phase} never appeared"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "results.json").exists()
    finish(arguments)
    for name in ("teacher12", "teacher2", "student"):
        _, expected = checkpoint.load_model(whole / "networks" / name)
        _, found = checkpoint.load_model(tmp_path / "networks" / name)
        jax.tree.map(np.testing.assert_array_equal, expected, found)
    results = [comparable(json.loads((folder / "results.json").read_text())) for folder in (whole, tmp_path)]
    assert results[0] == results[1]


@pytest.mark.slow
def test_sigterm_saves_and_exits_with_zero(data_dir, tmp_path, compilation_cache):
    process = launch(command(data_dir, tmp_path, compilation_cache, "--config.networks.teacher12.train.epochs=500"))
    deadline = time.monotonic() + 300
    while not (tmp_path / "networks/teacher12/metrics.jsonl").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "run the same command to resume" in output
    assert list((tmp_path / "networks/teacher12/progress").glob("[0-9]*"))


@pytest.mark.slow
def test_every_fold_is_trained_scored_and_averaged(data_dir, tmp_path, caplog):
    networks = {"lrhnet": common.network("lrhnet", ("I", "II"), epochs=1, batch_size=16)}
    config = config_of(data_dir, networks, fold="all")
    config.evaluation.resamples = 20
    with caplog.at_level("INFO"):
        run(config, tmp_path)
    assert caplog.text.count("compiled 1 step(s) a dispatch") == 1  # though the folds are of several sizes
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["folds"]) == ["0", "1", "2", "3", "4"]
    scored = [fold["records"]["test"] for fold in results["folds"].values()]
    assert sum(scored) == results["dataset"]["records"]
    trained = [fold["records"]["train"] for fold in results["folds"].values()]
    steps = {fold["networks"]["lrhnet"]["history"][-1]["step"] for fold in results["folds"].values()}
    assert len(set(trained)) > 1 and steps == {min(trained) // 16}
    metric = results["summary"]["lrhnet"]["challenge_metric"]
    values = [
        f["networks"]["lrhnet"]["test"]["headline"]["challenge_metric"]["value"] for f in results["folds"].values()
    ]
    assert metric["values"] == values
    assert metric["mean"] == pytest.approx(np.mean(values)) and metric["std"] == pytest.approx(np.std(values, ddof=1))
    assert (tmp_path / "fold3/networks/lrhnet/network.json").exists()


@pytest.mark.slow
def test_the_papers_tables_measure_and_compare_every_cell_and_keep_it(
    finished, data_dir, tmp_path, compilation_cache, monkeypatch
):
    keys = "preset=demo,data=synthetic,methods=alone+pmlkd,sets=2,seeds=1,student_epochs=3"
    # Only p-MLKD's student is trained: the others are loaded from the run above, whose LRH-Nets stand in for teachers.
    networks = [
        flag
        for name, earlier in {"teacher12": "teacher12", "teacher2": "teacher2", "alone2_0": "teacher2"}.items()
        for flag in (
            f"--config.networks.{name}.model=lrhnet",
            f"--config.networks.{name}.checkpoint={finished[0]}/networks/{earlier}",
        )
    ]
    arguments = command(data_dir, tmp_path, compilation_cache, config=f"configs/tables.py:{keys}")
    output = finish([*(a for a in arguments if "networks." not in a), *networks])
    results = json.loads((tmp_path / "results.json").read_text())
    fold = results["folds"]["0"]
    rows, pairs = fold["networks"], [(pair["a"], pair["b"]) for pair in fold["comparisons"]]
    assert sorted(rows) == ["alone2_0", "pmlkd2_0", "teacher12", "teacher2"]
    assert sorted(pairs) == [("pmlkd2_0", "alone2_0"), ("teacher12", "pmlkd2_0"), ("teacher2", "pmlkd2_0")]
    earlier = json.loads((finished[0] / "results.json").read_text())["folds"]["0"]["networks"]
    assert all(rows[name]["test"] == earlier[name]["test"] for name in ("teacher12", "teacher2"))
    # 83,236 parameters, and mean and variance of LRH-Net's BatchNorms: two each of 16, 32 and 64 channels.
    assert results["networks"]["alone2_0"]["bytes"] == 4 * (83_236 + 2 * 2 * (16 + 32 + 64))
    for row in rows.values():
        assert row["inference"]["records"] == fold["records"]["validation"] and row["inference"]["seconds"] > 0
    assert "## Recipes over seeds and folds" in (tmp_path / "report.md").read_text()
    assert all(name in output for name in rows)

    def fail(*arguments, **options):
        raise AssertionError("what is finished is computed again")

    monkeypatch.setattr(loop, "train", fail)
    monkeypatch.setattr(assess.Assessor, "probabilities", fail)
    config = ConfigDict(results["config"])
    config.fold, config.compilation_cache = "0", ""
    run(config, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["folds"]["0"] == fold


def config_of(data_dir, networks=None, **changes):
    networks = networks or {"n": common.network("lrhnet", ("I",))}
    config = common.experiment("test", common.parse("preset=demo,data=synthetic"), networks)
    config.data_dir = str(data_dir)
    config.compilation_cache = ""
    config.window = 256
    for field, value in changes.items():
        config[field] = value
    return config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher_logits": "cached"}, "config.teacher_logits: unknown value 'cached'; choose precomputed, in_graph"),
        ({"dtype": "float8"}, "config.dtype: unknown value 'float8'; choose float32, bfloat16"),
        ({"preprocess": "raw"}, "config.preprocess: unknown value 'raw'; choose paper, reference, bandpass"),
        ({"input": "disk"}, "config.input: unknown value 'disk'; choose auto, device, stream"),
        ({"population": -1}, "config.population: -1 is not a number of networks; 0 trains one at a time"),
        ({"window": 10}, "config.window: 10 samples are less than a heartbeat"),
        ({"windows_per_record": 0}, "precomputed teacher logits need at least 1 fixed window"),
        ({"fold": "7"}, "config.fold: unknown value '7'; choose 0, 1, 2, 3, 4, all"),
        ({"data": "physionet2020"}, "Challenge 2020 is not built under"),
    ],
)
def test_what_a_config_gets_wrong_is_named_before_anything_is_trained(data_dir, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        run(config_of(data_dir, **changes), tmp_path)
    assert not (tmp_path / "networks").exists()


def test_a_networks_own_training_field_is_checked(data_dir, tmp_path):
    networks = {"n": common.network("lrhnet", ("I",), logit_kl="hinge")}
    message = r"config\.networks\.n\.train\.logit_kl: unknown value 'hinge'; choose softmax, sigmoid"
    with pytest.raises(ConfigError, match=message):
        run(config_of(data_dir, networks), tmp_path)


def test_a_network_option_that_does_not_exist_is_named(data_dir, tmp_path):
    networks = {"n": common.network("lrhnet", ("I",), options={"depth": 3})}
    with pytest.raises(ConfigError, match=r"config\.networks\.n: lrhnet has no option depth"):
        run(config_of(data_dir, networks), tmp_path)


@pytest.mark.slow
def test_a_folder_of_another_run_is_not_overwritten(finished, data_dir):
    workdir, _ = finished
    with pytest.raises(
        CheckpointError, match=r"holds a run that differs in .*config\.networks.* choose another --workdir"
    ):
        run(config_of(data_dir), workdir)


@pytest.mark.slow
def test_a_teacher_can_come_from_an_earlier_run_or_a_reference_file(finished, tmp_path):
    torch = pytest.importorskip("torch")
    from lrhnet_jax.experiment import graph
    from lrhnet_jax.models import torch_weights

    folder = finished[0] / "networks/teacher2"
    _, variables = checkpoint.load_model(folder)

    def load(path, leads=("I", "II"), model="lrhnet", preprocess="paper"):
        lead_network = fakes.lead_network(model, tuple(range(len(leads))))
        network = graph.Network("t", model, leads, checkpoint=str(path))
        return teaching.load(network, lead_network, preprocess, 256)

    jax.tree.map(np.testing.assert_array_equal, load(folder), variables)
    for changed, message in (
        ({"leads": ("I",)}, r"has leads \['I', 'II'\], not \['I'\]"),
        ({"model": "cnn1d"}, "has model lrhnet, not cnn1d"),
        ({"preprocess": "reference"}, "has preprocess paper, not reference"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load(folder, **changed)

    path = tmp_path / "teacher.pth"
    arrays = torch_weights.to_torch("lrhnet", variables)
    torch.save({key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}, path)
    jax.tree.map(np.testing.assert_array_equal, load(path), variables)
    lightning = {f"model.{key}": torch.from_numpy(np.array(value)) for key, value in arrays.items()}
    torch.save({"state_dict": lightning, "epoch": 3, "best": np.float64(0.6)}, tmp_path / "best.ckpt")
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path / "best.ckpt"), variables)
    with pytest.raises(CheckpointError, match=r"conv1.*has shape \(8, 2, 16\), where the network has \(8, 1, 16\)"):
        load(path, leads=("I",))
    with pytest.raises(CheckpointError, match=r"t\.checkpoint: .*missing\.pth"):
        load(tmp_path / "missing.pth")


def test_splits_share_no_patient_and_leave_no_record_out():
    records = fakes.records(200)
    records.folds[:] = np.arange(200) // 2 % 5  # two records a patient, in one fold
    for fold in range(5):
        split = splits.make(records, fold, "leak_free", 10)
        parts = [set(records.patients[rows]) for rows in (split.train, split.validation, split.test)]
        assert sum(split.sizes().values()) == 200
        assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
        assert (records.folds[split.test] == fold).all()
        assert 8 <= len(split.validation) <= 32
        reference = splits.make(records, fold, "reference", 10)
        np.testing.assert_array_equal(reference.validation, reference.test)
        assert len(reference.train) == 160
    with pytest.raises(DataError, match="leaves no record for"):
        splits.make(Dataset.from_arrays([np.zeros((5, len(LEADS)))] * 3), 0, "leak_free", 10)


@pytest.mark.parametrize("protocol", ["leak_free", "reference"])
def test_sources_that_only_train_do_so_in_every_fold_but_for_patients_who_are_scored(protocol):
    records = fakes.records(200)
    records.folds[:] = np.arange(200) // 2 % 5
    extra = np.arange(200) >= 150
    sources = np.where(extra, "filtered", "plain")
    records = dataclasses.replace(records, sources=sources)
    records.patients[199] = records.patients[0]  # of fold 0
    seen = 0
    for fold in range(5):
        split = splits.make(records, fold, protocol, 10, ("filtered",))
        plain = splits.make(records.select(~extra), fold, protocol, 10)
        for name in ("validation", "test"):
            np.testing.assert_array_equal(getattr(split, name), getattr(plain, name))
        others = np.concatenate([split.validation, split.test])
        assert not set(records.patients[split.train]) & set(records.patients[others])
        trained = set(split.train[split.train >= 150].tolist())
        assert trained >= set(range(150, 199))
        assert (199 in trained) == (0 in split.train)
        seen += 199 in trained
    assert 0 < seen < 5


def test_the_published_split_is_fold_4_of_ten_published_folds():
    signals = [np.zeros((5, len(LEADS)))] * 40
    records = Dataset.from_arrays(signals, published_folds=np.arange(40, dtype=np.int32) % 10 + 1)
    split = splits.make(records, 4, "published", 10)
    assert [set(records.published_folds[rows].tolist()) for rows in (split.train, split.validation, split.test)] == [
        {1, 2, 3, 4, 5, 6, 7, 8},
        {9},
        {10},
    ]
    assert sum(split.sizes().values()) == 40
    tests = np.concatenate([splits.make(records, fold, "published", 10).test for fold in range(5)])
    assert set(records.published_folds[tests].tolist()) == {2, 4, 6, 8, 10}
    part = records.select(records.published_folds <= 8)  # a part of PTB-XL without its last folds
    np.testing.assert_array_equal(splits.make(part, 3, "published", 10).test, np.flatnonzero(part.published_folds == 8))
    with pytest.raises(DataError, match="fold 4 leaves no record for validation, test"):
        splits.make(part, 4, "published", 10)
    with pytest.raises(DataError, match="records has no published folds: choose a protocol other than 'published'"):
        splits.make(Dataset.from_arrays(signals), 4, "published", 10)
