"""Exports in integers: converted on records, compared on others, and refused before anything is written."""

import dataclasses
import json
import shutil
import subprocess

import numpy as np
import pytest

from lrhnet_jax import export, tasks
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.deploy import agreement, exported, integer_forms
from lrhnet_jax.deploy.int8 import convert, program
from lrhnet_jax.errors import ConfigError, DataError, UserError
from lrhnet_jax.training import checkpoint
from lrhnet_jax.training.description import create_model
from tests.helpers import fakes

WINDOW, LEADS = 512, ("I", "II")
LOOSE = 1.0  # random variables rank records by chance


@pytest.fixture(scope="module")
def records():
    return fakes.of_task("physionet2020", 90)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "student"
    return fakes.network(folder, "physionet2020", LEADS, WINDOW, model="lrhnet_wide")


@pytest.fixture(scope="module")
def student(network, records):
    folder = network.with_name("exported")
    pytest.importorskip("onnx")
    export.export(network, folder, ("c", "onnx_int8"), records, tolerance=LOOSE)
    return folder


def logits_of(folder):
    meta, variables = checkpoint.load_model(folder)
    model = create_model(meta)
    return lambda *inputs: model.apply(variables, *inputs, train=False).logits


@pytest.mark.slow
def test_every_file_is_described(student):
    meta = json.loads((student / "model.json").read_text())
    written = {path.relative_to(student).as_posix() for path in student.rglob("*") if path.is_file()}
    assert written == {*meta["files"], "model.json", "example.npz"}
    assert {"c/model.c", "c/model.h", "c/README.md", "c/Makefile", "model_int8.onnx"} <= written
    for name, report in meta["integers"].items():
        assert report["records"] == 24, name
        assert report["windows"]["calibrate"] >= 42 and report["windows"]["choose"] >= 24
        assert report["range"] == min(report["logit_errors"], key=report["logit_errors"].get)
        assert report["decisions_equal"] > 0.98 and report["largest_difference"] < 0.05
        metric = report["metrics"]["macro_average_precision"]
        assert metric["difference"] == pytest.approx(metric["form"]["value"] - metric["network"]["value"])
        assert set(report["classes"]) == set(tasks.PHYSIONET2020.classes)
    described = json.loads((student / "c" / "model.json").read_text())
    assert described["agreement"] == meta["integers"]["c"]
    assert f"#define MODEL_ARENA_BYTES {described['arena_bytes']} " in (student / "c" / "model.h").read_text()
    text = (student / "c" / "README.md").read_text()
    assert "@" not in text and "| macro_average_precision |" in text and "windows of physionet2020; compared" in text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to compile what is written")
def test_the_written_c_passes_its_own_test(student, tmp_path):
    folder = shutil.copytree(student / "c", tmp_path / "c")
    done = subprocess.run(["make", "-C", folder, "test"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("values that differ: 0") == 2


def test_onnx_answers_as_the_network_does(network, student, records):
    windows = convert.cut(records, LEADS, WINDOW)
    expected = convert.answers(logits_of(network), windows)
    found = exported.load(student / "model_int8.onnx").run(windows.signal, windows.demographics)
    assert np.abs(found - 1 / (1 + np.exp(-expected))).max() < 0.02
    one = exported.load(student / "model_int8.onnx").run(windows.signal[:1], windows.demographics[:1])
    np.testing.assert_allclose(one, found[:1], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["lrhnet", "resnet34", "lrhnet_wide"])
def test_onnx_of_other_networks(model, tmp_path):
    """Squeeze-excite, BatchNorm behind ReLU, pooled shortcuts, exclusive classes, no demographics, odd windows."""
    pytest.importorskip("onnx")
    task = "physionet2017" if model == "resnet34" else "physionet2020"
    options = {"resnet34": {"width": 4}, "lrhnet_wide": {"squeeze_excite": True}}.get(model, {})
    leads = ("I",) if model == "resnet34" else LEADS
    folder = fakes.network(tmp_path / "one", task, leads, 515, model=model, options=options)
    made = fakes.of_task(task, 60)
    export.export(folder, tmp_path / "out", ("onnx_int8",), made, tolerance=LOOSE)
    windows = convert.cut(made, leads, 515)
    found = exported.load(tmp_path / "out" / "model_int8.onnx").run(windows.signal, windows.demographics)
    logits = convert.answers(logits_of(folder), windows)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    expected = powers / powers.sum(1, keepdims=True) if task == "physionet2017" else 1 / (1 + np.exp(-logits))
    assert np.abs(found - expected).max() < 0.02


def test_a_form_that_loses_too_much_is_not_written(network, records, tmp_path):
    with pytest.raises(UserError, match=r"the form c of student: on 24 records .* nothing was written"):
        export.export(network, tmp_path / "out", ("c",), records, tolerance=-1.0)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_cannot_be_exported_is_refused_before_anything_is_written(network, records, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="need records to calibrate with"):
        export.export(network, out, ("c",))
    with pytest.raises(ConfigError, match="an arena of 1,000 bytes is too small"):
        export.export(network, out, ("c",), records, arena=1000, tolerance=LOOSE)
    with pytest.raises(DataError, match="2 records of the set physionet2020 are too few"):
        export.export(network, out, ("c",), records.select(np.arange(2)))
    with pytest.raises(ConfigError, match="choose among model, stablehlo, onnx, c, onnx_int8"):
        export.export(network, out, ("tflite",))
    strange = fakes.network(tmp_path / "x", "physionet2020", LEADS, WINDOW, "xresnet1d", {"depth": 18, "width": 4})
    with pytest.raises(ConfigError, match="layer layer2_0: its operation 'add'"):
        export.export(strange, out, ("c",), records)
    empty = fakes.of_task("physionet2020", 90)
    empty = Dataset.from_arrays([np.zeros((400, 12), np.float16)] * 90, folds=empty.folds, name="physionet2020")
    with pytest.raises(DataError, match="no record carries a label"):
        export.export(network, out, ("c",), empty)
    broken = records.select(np.arange(len(records)))
    broken.signals[7] = np.nan
    with pytest.raises(DataError, match="NaN"):
        export.export(network, out, ("c",), broken)
    assert not out.exists()


@pytest.mark.slow
def test_command_line_takes_generated_records_where_the_set_is_not_built(network, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "GENERATED", 60)
    arguments = [f"--checkpoint={network}", f"--output={tmp_path / 'out'}", f"--data_dir={tmp_path / 'data'}"]
    assert export.main([*arguments, "--formats=c", "--tolerance=1"]) == 0
    assert "records of synthetic (generated ECGs)" in capsys.readouterr().out
    assert (tmp_path / "out" / "c" / "model.c").exists()
    assert export.main([*arguments, "--formats=c", "--arena=1000"]) == 1
    assert "arena of 1,000 bytes is too small" in capsys.readouterr().err


def test_differences_are_counted_class_by_class():
    task = tasks.PHYSIONET2017
    labels = np.eye(4, dtype=bool)[np.arange(8) % 4]
    own = np.where(labels, 0.7, 0.1).astype(np.float32)
    other = own.copy()
    other[0] = [0.2, 0.5, 0.2, 0.1]
    patients = np.array([""] * 8)
    report = agreement.compare(task, labels, patients, None, own, other, resamples=20)
    assert report["decisions_equal"] == pytest.approx(1 - 2 / 32)
    assert [row["decisions_changed"] for row in report["classes"].values()] == [1, 1, 0, 0]
    assert report["classes"]["N"]["largest_difference"] == pytest.approx(0.5)
    assert report["classes"]["N"]["average_precision"][0] == 1
    assert report["metrics"]["challenge_f1"]["difference"] < 0
    same = agreement.compare(task, labels, patients, None, own, own, resamples=20)
    assert same["decisions_equal"] == 1 and same["metrics"]["macro_average_precision"]["difference"] == 0
    agreement.check(same, "it")
    assert agreement.summary(same, task).count("\n| ") == 4 + 4 + 2


def test_answers_are_compared_on_records_that_the_network_has_not_seen(records):
    places = np.arange(len(records))
    sources = np.where(places % 3 == 0, "filtered", "ptb-xl")
    records = dataclasses.replace(records, sources=sources, folds=places % 5)
    meta = {"trained_on": records.name}
    assert set(convert.parts(records, convert.held_out(meta, records))[2].folds) == {0}
    meta["held_out"] = {"protocol": "leak_free", "fold": 3, "train_only": ["filtered"]}
    calibrating, choosing, comparing = convert.parts(records, convert.held_out(meta, records))
    assert set(comparing.folds) == {3} and set(choosing.folds) == {4}
    assert set(records.sources[records.folds == 3]) - set(comparing.sources) == {"filtered"}
    assert len(calibrating) + len(choosing) + len(comparing) == len(records)
    other = {**meta, "trained_on": "ptbxl"}
    assert convert.held_out(other, records) is convert.HELD_OUT
    published = dataclasses.replace(records, published_folds=places % 10 + 1)
    meta["held_out"] = {"protocol": "published", "fold": 4, "train_only": []}
    np.testing.assert_array_equal(convert.parts(published, meta["held_out"])[2].record_ids, records.record_ids[9::10])


def test_windows_are_spread_over_the_records(records):
    windows = convert.cut(records, LEADS, 128, most=50)
    assert windows.signal.shape == (50, 128, 2) and windows.record.min() == 0 and windows.record.max() == 89
    signal, _ = program.quantize_inputs(windows.signal, windows.demographics)
    assert signal.dtype == np.int16
    assert set(integer_forms.FORMATS) == {"c", "onnx_int8"}
