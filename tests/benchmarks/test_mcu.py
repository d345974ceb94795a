import json
import shutil

import pytest

from benchmarks import mcu as benchmark
from lrhnet_jax import export
from tests.helpers import fakes

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to compile what is written")


@pytest.mark.slow
def test_smoke(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnx")
    monkeypatch.setattr(export, "GENERATED", 60)
    folder = fakes.network(tmp_path / "student", "physionet2020", ("I", "II"), 512, model="lrhnet_wide")
    output = tmp_path / "mcu.json"
    benchmark.main([str(folder), f"--data_dir={tmp_path / 'data'}", "--smoke", f"--output={output}"])
    (found,) = json.loads(output.read_text())["networks"]
    assert found["bits"]["check"] == {"windows": 10, "equal": 10}
    assert found["bits"]["check-sanitized"] == {"windows": 1, "equal": 1}
    assert found["holter"]["windows"] == found["holter"]["equal_to_integers"] == 31  # of 512 samples, in a minute
    assert found["holter"]["largest_difference"] < 0.05
    assert {"c", "xla", "onnx_int8"} <= set(found["host"])
    for board in found["boards"].values():
        assert board["values_that_differ"] == 0 and board["ram_bytes"] > board["arena_bytes"] > 2048
        assert sum(board["stages"].values()) <= board["instructions"]
    assert found["memory"][0]["multiplications"] >= found["memory"][-1]["multiplications"] == found["multiplications"]
    assert found["weights_not_zero"] < found["weights"]
    assert "decisions equal %" in capsys.readouterr().out


def test_tools_are_named(monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    with pytest.raises(SystemExit):
        benchmark.main(["nowhere"])
    assert "gcc and make must be installed" in capsys.readouterr().err
