"""Exported networks: what they answer, what is said of them, and that evaluation and a port see the same."""

import hashlib
import json
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from lrhnet_jax import evaluate, export, models
from lrhnet_jax.deploy import exported
from lrhnet_jax.ecg.wfdb import read_header, read_signal
from lrhnet_jax.errors import CheckpointError, ConfigError, UserError
from lrhnet_jax.training import checkpoint
from tests.helpers import fakes
from tests.helpers.wfdb_files import write_noise

ROOT = pathlib.Path(__file__).parents[2]
WINDOW = 512
LEADS = ("I", "V5")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return fakes.network(tmp_path_factory.mktemp("run") / "student", "physionet2020", LEADS, WINDOW)


@pytest.fixture(scope="module")
def student(network):
    """The exported network's folder."""
    pytest.importorskip("jax2onnx")
    folder = network.with_name("exported")
    export.export(network, folder)
    return folder


def answers(folder, signal, demographics):
    meta, variables = checkpoint.load_model(folder)
    model = models.create(meta["model"], meta["leads"], num_classes=len(meta["classes"]), **meta["options"])
    return model.apply(variables, signal, demographics, train=False).logits


def inputs(batch):
    rng = np.random.default_rng(batch)
    return rng.normal(size=(batch, WINDOW, len(LEADS))).astype("f4"), rng.random((batch, 5)).astype("f4")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.stablehlo", "model.onnx"])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_program_answers_as_the_network(network, student, name, batch):
    expected = jax.nn.sigmoid(answers(network, *inputs(batch)))
    np.testing.assert_allclose(exported.load(student / name).run(*inputs(batch)), expected, atol=1e-5)


@pytest.mark.slow
def test_what_is_said_of_it(network, student):
    meta = json.loads((student / "model.json").read_text())
    own, _ = checkpoint.load_model(network)
    assert meta["thresholds"] == own["thresholds"] and meta["leads"] == list(LEADS) and meta["rate"] == 257
    assert meta["preprocess_options"] == {"resample": "polyphase", "bandpass": "none", "rate": 257.0}
    assert meta["inputs"]["signal"] == {"shape": ["batch", WINDOW, 2], "dtype": "float32", "leads": list(LEADS)}
    assert meta["class_names"][own["classes"].index("164889003")] == "atrial fibrillation"
    assert meta["decision"] == "every class at or above its threshold" and meta["synthetic"] is False
    assert meta["files"]["model.onnx"]["bytes"] == (student / "model.onnx").stat().st_size
    with np.load(student / "example.npz") as example:
        expected = jax.nn.sigmoid(answers(network, example["signal"], example["demographics"]))
        np.testing.assert_allclose(example["probabilities"], expected, atol=1e-6)
    assert {path.name for path in student.iterdir()} == {*meta["files"], "model.json", "example.npz"}


def test_the_other_programs_platforms(student):
    program = jax.export.deserialize(bytearray((student / "model.stablehlo").read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.stablehlo", "model.onnx"])
def test_it_is_evaluated_as_the_checkpoint_is(network, student, name, tmp_path):
    raw = tmp_path / "raw"
    write_noise(raw, "short", "164889003", seconds=1.2, seed=1)
    write_noise(raw, "long", "426783006", seconds=5, seed=2)  # of several windows
    expected = evaluate.evaluate(network, raw, tmp_path / "expected")
    found = evaluate.evaluate(student / name, raw, tmp_path / "found", batch_size=2)
    rows = [(tmp_path / folder / "predictions.csv").read_text().splitlines() for folder in ("expected", "found")]
    for one, other in zip(*rows, strict=True):
        for value, again in zip(one.split(","), other.split(","), strict=True):
            assert value == again or float(value) == pytest.approx(float(again), abs=1e-5)
    assert found["thresholds"] == expected["thresholds"] and found["network"] == expected["network"]
    assert found["score"]["headline"]["macro_f1"] == pytest.approx(expected["score"]["headline"]["macro_f1"])


def test_the_documented_port_answers_as_evaluation(student, tmp_path, monkeypatch):
    pages = (ROOT / "docs" / "deploy.md").read_text()
    code = next(block for block in re.findall(r"```python\n(.*?)```", pages, re.DOTALL) if "onnxruntime" in block)
    monkeypatch.chdir(student.parent)
    code = code.replace('"student/', f'"{student.name}/')
    for seconds in (1.2, 5):
        header = read_header(write_noise(tmp_path / f"{seconds}", "ecg", seconds=seconds, seed=3))
        names = {"signal": read_signal(header, LEADS), "rate": header.rate}
        exec(code, names)
        header.path.write_text(re.sub("(?m)^#.*\n", "", header.path.read_text()))  # nobody's age and sex
        evaluate.evaluate(student / "model.onnx", tmp_path / f"{seconds}", tmp_path / "out")
        header_row, row = (line.split(",") for line in (tmp_path / "out" / "predictions.csv").read_text().splitlines())
        found = [float(v) for name, v in zip(header_row, row, strict=True) if name.startswith("probability")]
        np.testing.assert_allclose(names["probabilities"], found, atol=1e-5)
        decided = [v == "1" for name, v in zip(header_row, row, strict=True) if name.startswith("decision")]
        assert len(names["present"]) == sum(decided) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "dataset", "options"),
    [
        ("seresnet", "physionet2020", {}),
        ("cnn1d", "physionet2020", {}),
        ("xresnet1d", "ptbxl", {"depth": 18, "width": 8}),
        ("resnet34", "physionet2017", {"width": 4}),
    ],
)
def test_every_network_can_be_exported(model, dataset, options, tmp_path):
    pytest.importorskip("jax2onnx")
    window = 2146 if model == "cnn1d" else WINDOW
    leads = ("I",) if dataset == "physionet2017" else ("I", "II")
    folder = fakes.network(tmp_path / "run", dataset, leads, window, model, options)
    meta = export.export(folder, tmp_path / "out", ["onnx"])  # compares
    assert meta["files"].keys() == {"model.onnx"}
    with np.load(tmp_path / "out" / "example.npz") as example:
        sums = example["probabilities"].sum(1)
    exclusive = dataset == "physionet2017"
    assert np.allclose(sums, 1) == exclusive == (meta["thresholds"] is None)
    assert meta["decision"].startswith("the most probable" if exclusive else "every class")


def test_a_program_that_answers_otherwise_is_no_export(network, tmp_path, monkeypatch):
    write_stablehlo = export.WRITERS["stablehlo"]
    wrong = lambda answer, *sizes: write_stablehlo(lambda *given: 0.9 * answer(*given), *sizes)  # noqa: E731
    monkeypatch.setitem(export.WRITERS, "stablehlo", wrong)
    with pytest.raises(UserError, match=r"model\.stablehlo: its answers differ from the network's by up to 0\.0"):
        export.export(network, tmp_path / "out", ["stablehlo"])
    assert not (tmp_path / "out" / "model.json").exists()


def test_bad_input_is_named(network, student, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"formats: unknown \['tflite'\]; choose among model, stablehlo, onnx"):
        export.export(network, tmp_path / "out", ["tflite"])
    with pytest.raises(CheckpointError, match="no such folder"):
        export.export(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"output '.*file' cannot be written"):
        export.export(network, tmp_path / "file", ["stablehlo"])
    with pytest.raises(CheckpointError, match=r"model\.json: cannot be read"):
        exported.load(network / "model.onnx")
    for name in ("model.onnx", "model.stablehlo"):
        (tmp_path / "model.json").write_bytes((student / "model.json").read_bytes())
        with pytest.raises(CheckpointError, match=r"no such file; python -m lrhnet_jax\.export writes one"):
            exported.load(tmp_path / name)
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(CheckpointError, match=r"not the file that model\.json beside it describes; export"):
            exported.load(tmp_path / name)
        files = {name: {"bytes": 7, "sha256": hashlib.sha256(b"nothing").hexdigest()}}
        described = json.loads((student / "model.json").read_text())
        (tmp_path / "model.json").write_text(json.dumps({**described, "files": files}))
        with pytest.raises(CheckpointError, match="not an exported network, or of another version"):
            exported.load(tmp_path / name)
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match=r"onnx needs jax2onnx: pip install"):
        patch.setitem(sys.modules, "jax2onnx", None)
        export.export(network, tmp_path / "out", ["onnx"])

    def serialize(self):
        raise ImportError("No module named 'flatbuffers'")

    with monkeypatch.context() as patch, pytest.raises(ConfigError, match="stablehlo needs flatbuffers: pip install"):
        patch.setattr(jax.export.Exported, "serialize", serialize)
        export.export(network, tmp_path / "out", ["stablehlo"])


@pytest.mark.slow
def test_the_command_line(network, tmp_path):
    def run(*flags):
        command = [sys.executable, "-m", "lrhnet_jax.export", f"--output={tmp_path / 'out'}", *flags]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)

    result = run(f"--checkpoint={network}", "--formats=stablehlo")
    assert result.returncode == 0, result.stderr
    assert re.search(r"model\.stablehlo: [\d,]+ bytes, answers as the network does", result.stdout)
    assert exported.load(tmp_path / "out" / "model.stablehlo").meta["leads"] == list(LEADS)
    result = run("--checkpoint=/nowhere")
    assert result.returncode == 1 and "error: /nowhere: no such folder" in result.stderr
    assert "Traceback" not in result.stderr
