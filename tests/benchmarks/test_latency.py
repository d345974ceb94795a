import importlib.util
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import latency as benchmark  # noqa: E402


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
    path = tmp_path / "results" / "latency.json"
    benchmark.main(["--smoke", "--models=lrhnet", "--leads=2", f"--output={path}"])
    (row,) = json.loads(path.read_text())["networks"]
    assert (row["model"], row["leads"], row["batch"]) == ("lrhnet", 2, 1)
    exported = ["onnx"] if importlib.util.find_spec("jax2onnx") else []
    assert list(row["forms"]) == ["jit", "aot", "constants", "folded", "no_norm", *exported, "eager", "fused"]
    for form, found in row["forms"].items():
        assert len(found["seconds"]) == benchmark.TURNS_OF_ONE
        assert found["p95_ms"] >= found["median_ms"] > 0
        assert found["samples_per_second"] == pytest.approx(1e3 / found["median_ms"])
        assert ("ratio" in found) == (form not in ("eager", "fused"))
    assert row["left_out"]["compiled"] == "not asked for" and ("onnx" in row["left_out"]) != bool(exported)
    printed = capsys.readouterr().out
    assert "no_norm" in printed and "lrhnet: no compiled: not asked for" in printed


def test_another_answer_is_not_timed(monkeypatch):
    forms = {"jit": lambda: np.zeros((1, 24)), "no_norm": lambda: np.ones((1, 24))}
    monkeypatch.setattr(benchmark, "jax_forms", lambda *_: forms)
    with pytest.raises(ArithmeticError, match="lrhnet: the form jit gives other logits"):
        benchmark.compare("lrhnet", 2, 1, 64, 1, compiled=False)


def test_what_does_not_compile_is_left_out(monkeypatch):
    def fail(_):
        def run(*_):
            raise RuntimeError("no compiler found")

        return run

    monkeypatch.setattr(torch, "compile", fail)
    signal, person, _ = benchmark.make_batch(2, 1, 64)
    tasks, left_out = benchmark.torch_forms(benchmark.TORCH_MODELS["lrhnet"](2).eval(), signal, person, compiled=True)
    assert list(tasks) == ["eager", "fused"] and left_out == {"compiled": "RuntimeError: no compiler found"}
