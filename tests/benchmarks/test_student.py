import json

import pytest

torch = pytest.importorskip("torch")

from benchmarks import student as benchmark  # noqa: E402
from lrhnet_jax import models  # noqa: E402


def timing(*seconds):
    return {"seconds": list(seconds), "cpu_seconds": list(seconds)}


def test_ratios_are_those_of_the_student_to_the_others_and_to_its_twin():
    found = {
        "train": {
            "a jax": timing(1.0, 1.0, 8.0),
            "a torch": timing(3.0, 3.0, 24.0),
            "b jax": timing(4.0, 4.0, 32.0),
            "b torch": timing(6.0, 6.0, 48.0),
        }
    }
    rows = benchmark.summarize(found, ["a", "b"])["train"]
    for clock in ("wall", "processor"):
        ratios = {task: row[clock] for task, row in rows.items()}
        assert [ratios[task]["x a"] for task in ("a jax", "b jax", "b torch")] == [1, 4, 2]
        assert ratios["a jax"]["x PyTorch"] == {"torch": 3} and ratios["a torch"]["x PyTorch"] == {}
    assert rows["b jax"]["samples_per_second"] == 64 / 4 and rows["b jax"]["milliseconds"] == 4000


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
    path = tmp_path / "student.json"
    benchmark.main(["--smoke", "--models=lrhnet_wide", f"--output={path}"])
    result = json.loads(path.read_text())
    assert result["static"]["lrhnet_wide"]["parameters"] == 82_100
    assert result["static"]["lrhnet_wide"]["macs"] == models.multiply_accumulates("lrhnet_wide", 2, 1024)
    assert len(result["timings"]["answer_1"]["lrhnet_wide jax"]["seconds"]) == benchmark.TURNS_OF_ONE
    assert set(result["summary"]["answer_1"]["lrhnet_wide jax"]["wall"]["x PyTorch"]) == {"torch", "torch_fused"}
    assert "lrhnet_wide" in capsys.readouterr().out
