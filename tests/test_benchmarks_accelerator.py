import json

import jax.numpy as jnp
import pytest

from benchmarks import accelerator as benchmark
from benchmarks import scaling
from lrhnet_jax import models
from tests import fakes


def test_smoke_without_torch(tmp_path, capsys, monkeypatch):
    def initial(model, leads, window, seed):  # not compiled
        return fakes.variables(models.create(model, leads), jnp.zeros((1, window, leads)), jnp.zeros((1, 5)), seed=seed)

    monkeypatch.setattr(scaling, "initial", initial)
    path = tmp_path / "results" / "accelerator.json"
    flags = ["--smoke", "--no_torch", "--networks=pmlkd_precomputed", "--dtypes=float32", f"--output={path}"]
    benchmark.main(flags)
    result = json.loads(path.read_text())
    assert result["torch_left_out"] == "not asked for" and result["jobs"] == []
    (row,) = result["rows"]
    assert len(row["seconds"]["jax"]) == 2 and row["reference"] is row["best"] is None
    assert row["operations"] == 4 * 3 * 2 * models.multiply_accumulates("lrhnet", 2, 128)
    assert row["xla_bytes"] > 4 * 83_000
    limit = row["roofline"]
    assert limit["share"] == pytest.approx(row["samples_per_second"] / limit["bound_samples_per_second"])
    printed = capsys.readouterr().out
    assert "PyTorch: not asked for" in printed and "pmlkd_precomputed  float32" in printed


def test_teachers_are_counted_once_and_the_student_three_times():
    case = scaling.CASES["pmlkd"]._replace(teachers=(("lrhnet", 12), ("lrhnet", 1)))
    student, large, small = (2 * models.multiply_accumulates("lrhnet", leads, 64) for leads in (2, 12, 1))
    assert benchmark.operations(case, 64) == 3 * student + large + small
    assert benchmark.operations(case._replace(precomputed=True), 64) == 3 * student


def test_the_longer_time_bounds():
    row = {"operations": 8e9, "xla_bytes": 3e9, "batch": 10, "samples_per_second": 2.0}
    limit = benchmark.roofline(row, ceiling=4e9, bandwidth=1e9)
    assert limit["bound"] == "bytes" and limit["bound_samples_per_second"] == pytest.approx(10 / 3)
    assert (limit["share"], limit["operations_share"]) == (pytest.approx(0.6), pytest.approx(0.4))
    assert benchmark.roofline(row | {"xla_bytes": None}, 4e9, 1e9)["bound"] == "operations"


def test_the_papers_job_is_two_teachers_and_a_student():
    def row(network, speed):
        return {"network": network, "dtype": "float32", "batch": 64, "samples_per_second": speed}

    (job,) = benchmark.jobs([row("seresnet", 1000.0), row("pmlkd", 3000.0), row("lrhnet", 9000.0)])
    assert job["teachers_minutes"] == pytest.approx(2 * 90 * 35_000 / 1000 / 60)
    assert job["minutes"] == pytest.approx(job["teachers_minutes"] + 90 * 35_000 / 3000 / 60)
    assert benchmark.jobs([row("pmlkd", 3000.0)]) == []


def test_what_does_not_fit_is_left_out(monkeypatch):
    def full(*_):
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nmore")

    monkeypatch.setattr(scaling, "make_run", full)
    row = benchmark.compare("lrhnet", "float32", 64, None, benchmark.argparse.Namespace(window=64, steps=1, repeats=1))
    assert row["error"] == "RuntimeError: RESOURCE_EXHAUSTED: out of memory" and benchmark.jobs([row]) == []


def test_torch_loops_learn(tmp_path):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # its threads spin
    options = benchmark.argparse.Namespace(window=128, steps=2, workers=0, smoke=True)
    case = scaling.CASES["pmlkd"]._replace(teachers=(("lrhnet", 12), ("lrhnet", 2)))
    for dtype in ("float32", "bfloat16"):
        for make in benchmark.torch_tasks(case, tmp_path, "cpu", 4, dtype, options).values():
            task = make()
            first = task()
            for _ in range(5):
                last = task()
            assert last < first
