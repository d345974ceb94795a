"""How fast an accelerator trains, beside PyTorch on it and beside what its arithmetic and memory allow.

    python -m benchmarks.accelerator [--output=FILE.json] [--networks=lrhnet,seresnet,pmlkd,pmlkd_precomputed]
        [--dtypes=float32,bfloat16] [--batches=64,256,1024,4096] [--window=4096] [--steps=20] [--repeats=5]
        [--workers=4] [--no_torch] [--smoke]

Networks are those of benchmarks.scaling: LRH-Net and SE-ResNet alone on 12 leads, and p-MLKD's student on two leads
with its teachers in the step, or their logits precomputed. They take the project's real step, with data on the device
and, but on CPUs, all steps of a turn in one dispatch. Data is noise.

PyTorch trains on the same device, in turns with ours, with teachers in the step; its columns are empty for precomputed
logits, and where it is not installed or has no such device. "reference" is eager and float32, with windows that a
DataLoader cuts and sends, and a loss fetched in every step. "best" has its data on the device, torch.compile, a fused
Adam, and autocast where ours computes in bfloat16.

The roofline: operations are two a multiplication, three forward passes a trained and one a teaching network; bytes are
what XLA's cost analysis counts in the compiled step. Their times at the measured ceilings (a large matrix product in
the same dtype, a pass over a large array) bound a step from below; "share" is the longer one over the measured time.
XLA counts bytes of buffers, also where caches serve them, and sees nothing inside a vendor's library: a share is a
guide.

The paper's job is p-MLKD: two SE-ResNets and the student, 90 epochs of 35,000 records each, extrapolated from the
samples/s of training; scoring, loading and compiling are not in it. The paper gives 1 h 40 min for the student, on a
P100.
"""

import argparse
import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import ceilings, environment, measure, scaling
from lrhnet_jax import ecg, models, sharding

EPOCHS, RECORDS = 90, 35_000
PAPER_STUDENT_MINUTES = 100  # on a P100


def operations(case: scaling.Case, window: int) -> float:
    """Returns the operations of a training step on one window."""

    def forward(model: str, leads: int) -> float:
        return 2.0 * models.multiply_accumulates(model, leads, window)

    taught = 0 if case.precomputed else sum(forward(*teacher) for teacher in case.teachers)
    return 3 * forward(case.model, case.leads) + taught


def step_cost(case: scaling.Case, parallel: sharding.Parallel, batch: int, window: int, dtype: str) -> dict[str, Any]:
    """Returns what XLA counts in one compiled step: operations and bytes; None where its backend counts nothing."""
    compiled, *_ = scaling.compile_steps(case, parallel, batch, window, dtype, 1)
    cost = compiled.cost_analysis() or {}
    return {"xla_operations": cost.get("flops"), "xla_bytes": cost.get("bytes accessed")}


def roofline(row: dict[str, Any], ceiling: float, bandwidth: float) -> dict[str, Any]:
    """Returns the least seconds of a step by operations and by bytes, and the share of the longer in the measured."""
    times = {"operations": row["operations"] / ceiling}
    if row["xla_bytes"]:
        times["bytes"] = row["xla_bytes"] / bandwidth
    bound = max(times, key=lambda name: times[name])
    return {
        "least_seconds": times,
        "bound": bound,
        "bound_samples_per_second": row["batch"] / times[bound],
        "share": times[bound] * row["samples_per_second"] / row["batch"],
        "operations_share": times["operations"] * row["samples_per_second"] / row["batch"],
    }


def torch_device() -> tuple[str | None, str]:
    """Returns PyTorch's name for the device that JAX computes on, or None, and why."""
    try:
        import torch
    except ImportError:
        return None, "PyTorch is not installed"
    backend = jax.default_backend()
    if backend == "cpu":
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        return "cpu", ""
    if backend == "gpu" and torch.cuda.is_available():
        return "cuda", ""
    return None, f"PyTorch {torch.__version__} has no {backend}"


def torch_tasks(
    case: scaling.Case, folder: pathlib.Path, device: str, batch: int, dtype: str, options: argparse.Namespace
) -> dict[str, Callable[[], measure.Task]]:
    """Returns what makes each of PyTorch's two loops, over as many windows as ours."""
    from benchmarks import torch_training

    rng = np.random.default_rng(0)
    length = max(scaling.SAMPLES, options.window)
    signals = rng.normal(size=(batch, length, len(ecg.LEADS))).astype(np.float16)
    persons = rng.random((batch, len(ecg.DEMOGRAPHICS)), dtype=np.float32)
    labels = (rng.random((batch, len(ecg.CLASSES))) < 0.1).astype(np.float32)
    windows = torch_training.write_windows(folder, signals, persons, labels, options.window, batch * options.steps)
    student = (case.model, case.leads)
    arrays = (np.ascontiguousarray(signals.transpose(0, 2, 1)), persons, labels)
    return {
        "reference": lambda: torch_training.reference_loop(
            student, case.teachers, windows, batch, device, options.workers
        ),
        "best": lambda: torch_training.best_loop(
            student,
            case.teachers,
            arrays,
            batch,
            options.window,
            options.steps,
            device,
            bfloat16=dtype == "bfloat16",
            compiled=not options.smoke,
        ),
    }


def compare(name: str, dtype: str, batch: int, device: str | None, options: argparse.Namespace) -> dict[str, Any]:
    """Returns one network's training speed, PyTorch's, and ratios; what fails, as for want of memory, is named."""
    case, parallel = scaling.CASES[name], sharding.one()
    row: dict[str, Any] = {"network": name, "dtype": dtype, "batch": batch, "left_out": {}}
    with tempfile.TemporaryDirectory(prefix="lrhnet-accelerator-") as folder:
        try:
            tasks = {"jax": scaling.make_run(case, parallel, batch, options.window, dtype, options.steps)}
            tasks["jax"]()
            row |= step_cost(case, parallel, batch, options.window, dtype)
        except RuntimeError as error:  # for one, of a device without enough memory
            return row | {"error": _reason(error)}
        if device and not case.precomputed:
            theirs = torch_tasks(case, pathlib.Path(folder), device, batch, dtype, options)
            for loop, make in theirs.items():
                try:
                    task = make()
                    task()
                    tasks[loop] = task
                except RuntimeError as error:
                    row["left_out"][loop] = _reason(error)
        timings = measure.interleave(tasks, options.repeats, warmup=1)
    samples = batch * options.steps
    speeds = {task: samples / measure.median(timing) for task, timing in timings.items()}
    row |= {"operations": batch * operations(case, options.window), "samples_per_second": speeds["jax"]}
    for loop in ("reference", "best"):
        row[loop] = None
        if loop in timings:
            row[loop] = {"samples_per_second": speeds[loop], "ratio": measure.ratio(timings["jax"], timings[loop])}
    return row | {"seconds": {task: timing["seconds"] for task, timing in timings.items()}}


def _reason(error: RuntimeError) -> str:
    return f"{type(error).__name__}: {str(error).strip()[:200]}".splitlines()[0]


def jobs(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the minutes of the paper's job, for each dtype and batch with which all its networks were measured."""
    speeds = {(row["dtype"], row["batch"], row["network"]): row.get("samples_per_second") for row in rows}
    found = []
    for dtype, batch in dict.fromkeys((row["dtype"], row["batch"]) for row in rows):
        teacher, student = speeds.get((dtype, batch, "seresnet")), speeds.get((dtype, batch, "pmlkd"))
        if teacher and student:
            teachers, own = (EPOCHS * RECORDS / speed / 60 for speed in (teacher / 2, student))
            minutes = {"teachers_minutes": teachers, "student_minutes": own, "minutes": teachers + own}
            found.append({"dtype": dtype, "batch": batch, **minutes})
    return found


def table(result: dict[str, Any]) -> str:
    """Returns the result for the terminal."""
    rows: list[Sequence[Any]] = [
        ("network", "dtype", "batch", "samples/s", "reference", "ratio", "best", "ratio", "bound by", "share, %")
    ]
    notes = [f"PyTorch: {result['torch_left_out']}"] if result["torch_left_out"] else []
    for row in result["rows"]:
        head = (row["network"], row["dtype"], row["batch"])
        if "error" in row:
            notes.append(f"{' '.join(map(str, head))}: {row['error']}")
            rows.append((*head, None, None, None, None, None, "-", None))
            continue
        others = [
            (row[loop] or {}).get(key) for loop in ("reference", "best") for key in ("samples_per_second", "ratio")
        ]
        notes += [f"{' '.join(map(str, head))}: no {loop}: {why}" for loop, why in row["left_out"].items()]
        limit = row["roofline"]
        rows.append((*head, row["samples_per_second"], *others, limit["bound"], 100 * limit["share"]))
    limits = result["ceilings"]
    parts = [
        f"{result['device']} ({result['processor']}, {result['cores']} cores, load {result['load']:.1f}), window "
        f"{result['window']}; matrix product "
        + ", ".join(f"{value / 1e12:.3g} TFLOP/s in {dtype}" for dtype, value in limits["matmul"].items())
        + f"; memory {limits['bandwidth'] / 1e9:.3g} GB/s",
        measure.table(rows),
    ]
    if result["jobs"]:
        job: list[Sequence[Any]] = [("the paper's job, minutes", "batch", "teachers", "student", "all")]
        job += [
            (row["dtype"], row["batch"], row["teachers_minutes"], row["student_minutes"], row["minutes"])
            for row in result["jobs"]
        ]
        parts.append(measure.table(job) + f"\nthe paper, on a P100: {PAPER_STUDENT_MINUTES} minutes for the student")
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.set_defaults(repeats=5)
    parser.add_argument("--networks", default=",".join(scaling.CASES))
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--batches", default="64,256,1024,4096")
    parser.add_argument("--window", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=20, help="of a turn")
    parser.add_argument("--workers", type=int, default=4, help="of the reference loop's DataLoader")
    parser.add_argument("--no_torch", action="store_true")
    options = parser.parse_args(arguments)
    names, dtypes = options.networks.split(","), options.dtypes.split(",")
    batches = [int(batch) for batch in options.batches.split(",")]
    if unknown := sorted(set(names) - set(scaling.CASES)):
        parser.error(f"--networks: unknown {', '.join(unknown)}; choose of {', '.join(scaling.CASES)}")
    if options.smoke:
        options.window, options.steps, options.repeats, options.workers, batches = 128, 2, 2, 0, [4]
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs some of the memory

    device, left_out = (None, "not asked for") if options.no_torch else torch_device()
    on_cpu = jax.default_backend() == "cpu"
    size = 128 if options.smoke else 2048 if on_cpu else 16384
    result: dict[str, Any] = {
        "benchmark": "accelerator",
        **environment.describe(),
        "window": options.window,
        "steps": options.steps,
        "torch_device": device,
        "torch_left_out": left_out,
        "ceilings": {
            "matmul": {dtype: ceilings.matmul(size, options.repeats, dtype) for dtype in dtypes},
            "bandwidth": ceilings.bandwidth(4 * size**2, options.repeats),
        },
        "rows": [
            compare(name, dtype, batch, device, options) for name in names for dtype in dtypes for batch in batches
        ],
    }
    limits = result["ceilings"]
    for row in result["rows"]:
        if "error" not in row:
            row["roofline"] = roofline(row, limits["matmul"][row["dtype"]], limits["bandwidth"])
    result["jobs"] = jobs(result["rows"])
    measure.write(result, options.output)
    print(table(result))


if __name__ == "__main__":
    main()
