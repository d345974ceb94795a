"""How fast an accelerator trains, beside PyTorch on it and beside what its arithmetic and memory allow.

    python -m benchmarks.accelerator [--output=FILE.json] [--rows=lrhnet:64,lrhnet:1024,seresnet:64]
        [--dtypes=float32,bfloat16] [--window=4096] [--steps=20] [--repeats=5] [--workers=4] [--no_torch] [--smoke]

A row is a network and a batch, in each dtype; by default all four networks with 64, 256, 1024 and 4096. Whatever has to
be compiled is compiled before the first measurement, in parallel, and the file is written anew after each row: a run
that is killed keeps the rows that it finished. Every network of PyTorch stays on the device until its row: few rows
need less memory.

Networks are those of benchmarks.cases: LRH-Net and SE-ResNet alone on 12 leads, and p-MLKD's student on two leads
with its teachers in the step, or their logits precomputed. They take the project's real step, with data on the device
and, but on CPUs, all steps of a turn in one dispatch. Data is noise.

PyTorch trains on the same device, in turns with ours, with teachers in the step; its columns are empty for precomputed
logits, and where it is not installed or has no such device. Each of its loops is a process of its own, which measures
itself. "reference" is eager and float32, with windows that a DataLoader cuts and sends, and a loss fetched in every
step; its turns are of about 8,192 windows at most, but of two steps at least. "best" has its data on the device,
torch.compile (with mode="reduce-overhead", thus CUDA graphs, on a GPU for batches up to 256), a fused Adam, and
autocast where ours computes in bfloat16. A ratio is our samples/s over theirs, the median over turns.

The roofline: operations are two a multiplication, three forward passes a trained and one a teaching network; bytes are
what XLA's cost analysis counts in the compiled step. Their times at the measured ceilings (a large matrix product in
the same dtype, a pass over a large array) bound a step from below; "share" is the longer one over the measured time.
XLA counts bytes of buffers, also where caches serve them, and nothing inside a vendor's library: a share is a guide.

The paper's job is p-MLKD: two SE-ResNets and the student, 90 epochs of 35,000 records each, extrapolated from the
samples/s of training; scoring, loading and compiling are not in it. The paper gives 1 h 40 min for the student, on a
P100.
"""

import argparse
import contextlib
import importlib.util
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import jax

from benchmarks import cases, ceilings, measure, torch_worker
from lrhnet_jax.runtime import environment, host
from lrhnet_jax.runtime.devices import one_device

BATCHES = (64, 256, 1024, 4096)
DTYPES = ("float32", "bfloat16")
MEMORY = {"XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION"}  # a user's own choice
EPOCHS, RECORDS = 90, 35_000
PAPER_STUDENT_MINUTES = 100  # on a P100


class Plan(NamedTuple):
    """A row to measure: a network, a dtype, a batch, and PyTorch's loops."""

    network: str
    dtype: str
    batch: int
    theirs: Mapping[str, torch_worker.Task]

    def __str__(self) -> str:
        return f"{self.network} {self.dtype} {self.batch}"


def make_plan(network: str, dtype: str, batch: int, device: str | None, options: argparse.Namespace) -> Plan:
    """Returns a row, without PyTorch's loops where there is no `device` for them."""
    case = cases.CASES[network]
    if device is None or case.precomputed:
        return Plan(network, dtype, batch, {})
    best = torch_worker.Task(
        "best",
        (case.model, case.leads),
        case.teachers,
        batch,
        options.steps,
        options.window,
        max(cases.SAMPLES, options.window),
        device,
        bfloat16=dtype == "bfloat16",
        compiled=not options.smoke,
    )
    return Plan(network, dtype, batch, {"reference": torch_worker.reference(best, options.workers), "best": best})


class Program(NamedTuple):
    """Our steps of a row, being compiled.

    Attributes:
      turn: what a dispatch runs. XLA counts a loop's body once: the cost of a dispatch is that of a step.
      arguments: the state before the first step, and inputs.
    """

    turn: Future[Any]
    arguments: tuple[Any, Any]


def lower(plan: Plan, submit: Callable[[str, Any], Future[Any]], options: argparse.Namespace) -> Program:
    """Traces a row's program, and has it compiled; an error is that of the program."""
    case, parallel, dispatch = cases.CASES[plan.network], one_device(), cases.per_dispatch(options.steps)
    try:
        lowered, state, inputs = cases.lower_steps(case, parallel, plan.batch, options.window, plan.dtype, dispatch)
    except RuntimeError as error:  # for one, of a device without enough memory
        failed: Future[Any] = Future()
        failed.set_exception(error)
        return Program(failed, (None, None))
    return Program(submit(str(plan), lowered), (state, inputs))


def prepare(
    plans: Sequence[Plan],
    workers: Mapping[torch_worker.Task, torch_worker.Worker],
    say: Callable[[str], None],
    options: argparse.Namespace,
) -> list[Program]:
    """Returns our programs, all compiled, when PyTorch's children are ready too."""
    cores = 1 if jax.default_backend() == "cpu" else host.cores()
    with ThreadPoolExecutor(max(1, len(workers))) as waiting, ThreadPoolExecutor(cores) as pool:

        def await_ready(task: torch_worker.Task, worker: torch_worker.Worker) -> None:
            say(f"PyTorch's {task}: {worker.ready() or 'ready'}")

        def compiled(name: str, lowered: Any) -> Any:
            try:
                program = lowered.compile()
            except RuntimeError:  # perhaps for want of memory, which the children need less of when they are ready
                wait(children)
                program = lowered.compile()
            say(f"{name}: compiled")
            return program

        children = [waiting.submit(await_ready, task, worker) for task, worker in workers.items()]
        programs = [lower(plan, lambda *given: pool.submit(compiled, *given), options) for plan in plans]
        say("all programs are lowered")
    return programs


def compare(
    plan: Plan,
    program: Program,
    workers: Mapping[torch_worker.Task, torch_worker.Worker],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Returns one network's training speed, PyTorch's, and ratios; what fails, as for want of memory, is named."""
    case, left_out = cases.CASES[plan.network], dict[str, str]()
    row: dict[str, Any] = {"network": plan.network, "dtype": plan.dtype, "batch": plan.batch, "left_out": left_out}
    dispatches = options.steps // cases.per_dispatch(options.steps)
    samples = {"jax": plan.batch * options.steps}
    try:
        cost = program.turn.result().cost_analysis() or {}  # empty where the backend counts nothing
        row |= {"xla_operations": cost.get("flops"), "xla_bytes": cost.get("bytes accessed")}
        tasks: dict[str, measure.Task] = {
            "jax": cases.runner(one_device(), (program.turn.result(), *program.arguments), dispatches)
        }
        tasks["jax"]()
        for loop, task in plan.theirs.items():
            try:
                workers[task].run()
            except torch_worker.Failed as error:
                left_out[loop] = str(error)
            else:
                tasks[loop], samples[loop] = workers[task].run, task.batch * task.steps
        timings = measure.interleave(tasks, options.repeats, warmup=1)
    except RuntimeError as error:
        return row | {"error": torch_worker.reason(error)}
    each = {task: {"seconds": [s / samples[task] for s in timing["seconds"]]} for task, timing in timings.items()}
    speeds = {task: 1 / measure.median(timing) for task, timing in each.items()}
    row |= {"operations": plan.batch * cases.operations(case, options.window), "samples_per_second": speeds["jax"]}
    for loop in ("reference", "best"):
        row[loop] = None
        if loop in each:
            row[loop] = {"samples_per_second": speeds[loop], "ratio": measure.ratio(each["jax"], each[loop])}
    return row | {"samples": samples, "seconds": {task: timing["seconds"] for task, timing in timings.items()}}


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
        loops = [row[loop] or {} for loop in ("reference", "best")]
        others = [loop.get(key) for loop in loops for key in ("samples_per_second", "ratio")]
        notes += [f"{' '.join(map(str, head))}: no {loop}: {why}" for loop, why in row["left_out"].items()]
        limit = row["roofline"]
        rows.append((*head, row["samples_per_second"], *others, limit["bound"], 100 * limit["share"]))
    limits = result["ceilings"]
    parts = [
        f"{measure.machine(result)}, window {result['window']}; matrix product "
        + ", ".join(f"{value / 1e12:.3g} TFLOP/s in {dtype}" for dtype, value in limits["matmul"].items())
        + f"; memory {limits['bandwidth'] / 1e9:.3g} GB/s",
        measure.table(rows),
    ]
    if result["jobs"]:
        titles = ("the paper's job, minutes", "batch", "teachers", "student", "all")
        fields = ("dtype", "batch", "teachers_minutes", "student_minutes", "minutes")
        job = measure.table([titles, *([row[field] for field in fields] for row in result["jobs"])])
        parts.append(job + f"\nthe paper, on a P100: {PAPER_STUDENT_MINUTES} minutes for the student")
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def _rows(text: str) -> list[tuple[str, int]]:
    found = []
    for pair in text.split(","):
        name, _, batch = pair.partition(":")
        if name not in cases.CASES:
            raise argparse.ArgumentTypeError(f"unknown network {name!r}; choose of {', '.join(cases.CASES)}")
        if not batch.isdecimal() or int(batch) < 1:
            raise argparse.ArgumentTypeError(f"{pair!r} is not NETWORK:BATCH, such as lrhnet:64")
        found.append((name, int(batch)))
    return found


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = measure.parser(__doc__)
    parser.set_defaults(repeats=5)
    parser.add_argument("--rows", type=_rows, help="network:batch, with commas between")
    parser.add_argument("--dtypes", type=measure.several(DTYPES), default=",".join(DTYPES))
    parser.add_argument("--window", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=20, help="of a turn")
    parser.add_argument("--workers", type=int, default=4, help="of the reference loop's DataLoader")
    parser.add_argument("--no_torch", action="store_true")
    options = parser.parse_args(arguments)
    if options.smoke:
        options.window, options.steps, options.repeats, options.workers = 128, 2, 2, 0
    batches = (4,) if options.smoke else BATCHES
    options.rows = options.rows or [(name, batch) for name in cases.CASES for batch in batches]
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", file=sys.stderr, flush=True)

    options = _arguments(arguments)
    if not options.no_torch and importlib.util.find_spec("torch") and not MEMORY & os.environ.keys():
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # PyTorch needs some of the memory
    device, left_out = (None, "not asked for") if options.no_torch else torch_worker.device(jax.default_backend())
    result: dict[str, Any] = {"benchmark": "accelerator", **environment.describe("torch"), "window": options.window}
    result |= {"steps": options.steps, "torch_device": device, "torch_left_out": left_out}
    plans = [make_plan(name, dtype, batch, device, options) for name, batch in options.rows for dtype in options.dtypes]
    last = {task: plan for plan in plans for task in plan.theirs.values()}
    with tempfile.TemporaryDirectory(prefix="lrhnet-accelerator-") as scratch, contextlib.ExitStack() as stack:
        workers = {}
        for number, task in enumerate(last):
            workers[task] = torch_worker.Worker(task, pathlib.Path(scratch, str(number)))
            stack.callback(workers[task].end)
        programs = prepare(plans, workers, say, options)
        size = 128 if options.smoke else 2048 if jax.default_backend() == "cpu" else 16384
        limits: dict[str, Any] = {
            "matmul": {dtype: ceilings.matmul(size, options.repeats, dtype) for dtype in options.dtypes},
            "bandwidth": ceilings.bandwidth(4 * size**2, options.repeats),
        }
        result |= {"ceilings": limits, "rows": [], "jobs": []}
        for plan in plans:
            row = compare(plan, programs.pop(0), workers, options)  # popped: its memory is the next one's
            if "error" not in row:
                row["roofline"] = ceilings.roofline(row, limits["matmul"][plan.dtype], limits["bandwidth"])
            result["rows"].append(row)
            result["jobs"] = jobs(result["rows"])
            measure.write(result, options.output)
            say(f"{plan}: {row.get('error', 'measured')}")
            for task in plan.theirs.values():
                if last[task] is plan:
                    workers[task].end()
    print(table(result))


if __name__ == "__main__":
    main()
