import contextlib
import json
import time
import types
from concurrent.futures import Future

import jax.numpy as jnp
import pytest

from benchmarks import accelerator as benchmark
from benchmarks import cases, ceilings, measure, torch_worker
from lrhnet_jax import models
from tests.helpers import fakes

TASK = torch_worker.Task("best", ("lrhnet", 12), (), 2, 2, window=128, samples=150, device="cpu")


def options(*flags):
    return benchmark._arguments(["--smoke", *flags])


def compiled():
    program: Future = Future()
    program.set_result(types.SimpleNamespace(cost_analysis=lambda: None))
    return benchmark.Program(program, (None, None))


@pytest.mark.slow
def test_smoke_without_torch(tmp_path, capsys, monkeypatch):
    def initial(model, leads, window, seed):  # not compiled
        return fakes.variables(models.create(model, leads), jnp.zeros((1, window, leads)), jnp.zeros((1, 5)), seed=seed)

    monkeypatch.setattr(cases, "initial", initial)
    path = tmp_path / "results" / "accelerator.json"
    flags = ["--smoke", "--no_torch", "--rows=pmlkd_precomputed:4", "--dtypes=float32", f"--output={path}"]
    benchmark.main(flags)
    result = json.loads(path.read_text())
    assert result["torch_left_out"] == "not asked for" and result["jobs"] == []
    (row,) = result["rows"]
    assert len(row["seconds"]["jax"]) == 2 and row["reference"] is row["best"] is None
    assert row["operations"] == 4 * 3 * 2 * models.multiply_accumulates("lrhnet", 2, 128)
    assert row["xla_bytes"] > 4 * 83_000
    limit = row["roofline"]
    assert limit["share"] == pytest.approx(row["samples_per_second"] / limit["bound_samples_per_second"])
    assert row["samples"] == {"jax": 8}
    printed = capsys.readouterr()
    assert "PyTorch: not asked for" in printed.out and "pmlkd_precomputed  float32" in printed.out
    assert "s  pmlkd_precomputed float32 4: compiled" in printed.err


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--rows=lrhnet:64,resnet:64", "argument --rows: unknown network 'resnet'; choose of lrhnet, seresnet"),
        ("--rows=lrhnet", "argument --rows: 'lrhnet' is not NETWORK:BATCH, such as lrhnet:64"),
        ("--rows=lrhnet:0", "'lrhnet:0' is not NETWORK:BATCH"),
        ("--dtypes=float16", "argument --dtypes: unknown float16; choose of float32, bfloat16"),
    ],
)
def test_a_wrong_flag_is_an_error_that_shows_the_right_ones(flag, message, capsys):
    with pytest.raises(SystemExit):
        benchmark.main([flag])
    assert message in capsys.readouterr().err


def test_rows_are_networks_and_batches():
    assert options("--rows=lrhnet:64,pmlkd:1024").rows == [("lrhnet", 64), ("pmlkd", 1024)]
    assert len(benchmark._arguments([]).rows) == 16


def test_the_file_grows_row_by_row(tmp_path, monkeypatch):
    path = tmp_path / "accelerator.json"

    def compare(plan, *_):
        if plan.batch == 8:  # a time limit, as it were
            raise KeyboardInterrupt
        return {"network": plan.network, "dtype": plan.dtype, "batch": plan.batch, "error": "full"}

    monkeypatch.setattr(benchmark, "prepare", lambda plans, *_: [None for _ in plans])
    monkeypatch.setattr(benchmark, "compare", compare)
    with pytest.raises(KeyboardInterrupt):
        benchmark.main(["--smoke", "--no_torch", "--rows=lrhnet:2,lrhnet:8", f"--output={path}"])
    result = json.loads(path.read_text())
    assert [(row["dtype"], row["batch"]) for row in result["rows"]] == [("float32", 2), ("bfloat16", 2)]
    assert result["jobs"] == [] and result["ceilings"]["bandwidth"] > 0


def test_teachers_are_counted_once_and_the_student_three_times():
    case = cases.CASES["pmlkd"]._replace(teachers=(("lrhnet", 12), ("lrhnet", 1)))
    student, large, small = (2 * models.multiply_accumulates("lrhnet", leads, 64) for leads in (2, 12, 1))
    assert cases.operations(case, 64) == 3 * student + large + small
    assert cases.operations(case._replace(precomputed=True), 64) == 3 * student


def test_the_longer_time_bounds():
    row = {"operations": 8e9, "xla_bytes": 3e9, "batch": 10, "samples_per_second": 2.0}
    limit = ceilings.roofline(row, ceiling=4e9, bandwidth=1e9)
    assert limit["bound"] == "bytes" and limit["bound_samples_per_second"] == pytest.approx(10 / 3)
    assert (limit["share"], limit["operations_share"]) == (pytest.approx(0.6), pytest.approx(0.4))
    assert ceilings.roofline(row | {"xla_bytes": None}, 4e9, 1e9)["bound"] == "operations"


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

    monkeypatch.setattr(cases, "lower_steps", full)
    plan = benchmark.make_plan("lrhnet", "float32", 64, None, options())
    (program,) = benchmark.prepare([plan], {}, print, options())
    row = benchmark.compare(plan, program, {}, options())
    assert row["error"] == "RuntimeError: RESOURCE_EXHAUSTED: out of memory" and benchmark.jobs([row]) == []


def test_what_does_not_compile_has_a_second_try_when_pytorch_is_ready(monkeypatch):
    events = []

    def compile_():
        events.append("try")
        if len(events) == 1:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return "program"

    def ready():
        while not events:
            time.sleep(0.01)
        events.append("ready")
        return ""

    monkeypatch.setattr(cases, "lower_steps", lambda *_: (types.SimpleNamespace(compile=compile_), None, None))
    plan = benchmark.make_plan("lrhnet", "float32", 64, "cpu", options())
    workers = {plan.theirs["best"]: types.SimpleNamespace(ready=ready)}
    (program,) = benchmark.prepare([plan], workers, print, options())
    assert program.turn.result() == "program" and events == ["try", "ready", "try"]


def test_the_reference_loop_has_short_turns_and_serves_both_dtypes():
    steps = [torch_worker.reference(TASK._replace(batch=n, steps=20), 4).steps for n in (64, 1024, 4096, 16384)]
    assert steps == [20, 8, 2, 2] and torch_worker.reference(TASK._replace(steps=1), 4).steps == 1
    first, second = (benchmark.make_plan("lrhnet", dtype, 4, "cpu", options()).theirs for dtype in benchmark.DTYPES)
    assert first["reference"] == second["reference"] and first["best"] != second["best"]
    assert benchmark.make_plan("pmlkd_precomputed", "float32", 4, "cpu", options()).theirs == {}


def test_turns_of_different_length_are_compared_by_sample(monkeypatch):
    monkeypatch.setattr(cases, "runner", lambda *_: lambda: measure.Seconds(0.5))
    chosen = options("--rows=lrhnet:10")
    plan = benchmark.Plan(
        "lrhnet", "float32", 10, {"best": TASK, "reference": TASK._replace(loop="reference", steps=1)}
    )
    seconds = {"best": 3.0, "reference": 2.0}
    workers = {
        task: types.SimpleNamespace(run=lambda loop=loop: measure.Seconds(seconds[loop]))
        for loop, task in plan.theirs.items()
    }
    row = benchmark.compare(plan, compiled(), workers, chosen)
    assert row["seconds"] == {"jax": [0.5, 0.5], "best": [3.0, 3.0], "reference": [2.0, 2.0]}
    assert row["samples"] == {"jax": 20, "best": 4, "reference": 2} and row["samples_per_second"] == 40
    assert row["reference"] == {"samples_per_second": 1, "ratio": 40}
    assert row["best"]["ratio"] == pytest.approx(40 * 3 / 4)


@pytest.mark.slow
def test_torch_runs_in_processes_without_jax_that_say_why_they_fail(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    (tmp_path / "jax.py").write_text("raise RuntimeError('JAX is imported')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(cases, "runner", lambda *_: lambda: 1.0)
    plan = benchmark.Plan(
        "lrhnet",
        "float32",
        2,
        {"reference": torch_worker.reference(TASK, 0), "best": TASK._replace(student=("none", 12))},
    )
    with contextlib.ExitStack() as stack:
        workers = {task: torch_worker.Worker(task, tmp_path / task.loop) for task in plan.theirs.values()}
        for worker in workers.values():
            stack.callback(worker.end)
        reference, best = workers.values()
        assert reference.ready() == "" and best.ready() == "KeyError: 'none'"
        row = benchmark.compare(plan, compiled(), workers, options())
        assert row["left_out"] == {"best": "KeyError: 'none'"} and row["best"] is None
        assert len(row["seconds"]["reference"]) == 2 and 0 < min(row["seconds"]["reference"]) < 60
        reference._process.kill()
        with pytest.raises(torch_worker.Failed, match="the process ended with status -9"):
            reference.run()


@pytest.mark.slow
def test_torch_loops_learn(tmp_path):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # its threads spin
    task = TASK._replace(student=("lrhnet", 2), teachers=(("lrhnet", 12), ("lrhnet", 2)), batch=4)
    for chosen in (torch_worker.reference(task, 0), task, task._replace(bfloat16=True)):
        run = torch_worker.build(chosen, tmp_path)
        first = run()
        for _ in range(5):
            last = run()
        assert last < first
