"""Trained networks on a microcontroller: do the answers survive, and what do they cost?

    python -m benchmarks.mcu CHECKPOINT [CHECKPOINT ...] --data_dir=DATA [--output=FILE.json] [--windows=1000]
        [--window=SAMPLES] [--arena=BYTES] [--boards=netduino2,mps2-an386] [--repeats=9] [--smoke]

Each checkpoint, WORKDIR/networks/NAME or the name of a shipped model, is exported as C and as ONNX with int8, and
compared with the network on records of its set that neither trained it nor calibrated. Then

- the C, compiled by gcc -O2, answers --windows windows of the set, and NumPy's integers answer them too: every bit is
  compared, and again for a tenth of them under the address and undefined behaviour sanitizers;
- a window is timed on one core of this computer, in turns: C, ONNX Runtime (float32 and int8), XLA and PyTorch, where
  they are installed;
- boards are emulated by QEMU: the examples bit for bit, bytes of flash and RAM, instructions, and all of this again
  with sparse weights where most are zero. An emulator has no cycles and no energy: none are given;
- arenas of several sizes are planned: in less memory more is computed twice;
- a made-up recording of half an hour goes through the C sample by sample, and its windows through the network:
  benchmarks.holter.
"""

import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import holter, measure
from benchmarks.mcu_subject import Subject, bits, memory, on_boards
from benchmarks.mcu_timing import on_one_core
from lrhnet_jax.runtime import environment

BOARDS = ("netduino2", "mps2-an386")


def measure_one(subject: Subject, count: int, boards: Sequence[str], repeats: int, seconds: float) -> dict[str, Any]:
    """Returns everything about one network."""
    weights, kept = subject.weights
    return {
        "name": subject.meta["name"],
        "model": subject.meta["model"],
        "options": subject.meta["options"],
        "leads": subject.meta["leads"],
        "window": subject.meta["window"],
        "rate": subject.options.rate,
        "task": subject.task.name,
        "multiplications": sum(subject.program.multiplications(step) for step in subject.program.steps),
        "weights": weights,
        "weights_not_zero": kept,
        "forms": subject.forms.reports,
        "bits": bits(subject, count),
        "host": on_one_core(subject, repeats),
        "memory": memory(subject),
        "boards": on_boards(subject, boards),
        "holter": {
            "seconds": seconds,
            **holter.compare(subject, holter.answer(subject, holter.record(subject.meta["leads"], seconds))),
        },
    }


def table(result: Mapping[str, Any]) -> str:
    """Returns the result for the terminal."""
    rows: list[Sequence[Any]] = [
        ("network", "M MAC", "board", "flash", "RAM", "M instr.", "AP float", "AP int8", "decisions equal %", "ms: C")
    ]
    timed = [
        name for name in ("xla", "onnx", "onnx_int8", "torch") if any(name in one["host"] for one in result["networks"])
    ]
    rows[0] = (*rows[0], *timed)
    for one in result["networks"]:
        report = one["forms"]["c"]
        precision = report["metrics"]["macro_average_precision"]
        for board, found in (one["boards"] or {"-": None}).items():
            cost = (
                (found["flash_bytes"], found["ram_bytes"], found["instructions"] / 1e6) if found else (None, None, None)
            )
            rows.append(
                (
                    one["name"],
                    one["multiplications"] / 1e6,
                    board,
                    *cost,
                    precision["network"]["value"],
                    precision["form"]["value"],
                    100 * report["decisions_equal"],
                    one["host"]["c"]["median_ms"],
                    *(one["host"].get(name, {}).get("median_ms") for name in timed),
                )
            )
    return f"{measure.machine(result)}, one core, batch 1\n{measure.table(rows)}"


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = measure.parser(__doc__)
    parser.add_argument("checkpoints", nargs="+", type=pathlib.Path, help="WORKDIR/networks/NAME, or a model")
    parser.add_argument("--data_dir", default="data", help="where the sets are that they were trained on")
    parser.add_argument("--windows", type=int, default=1000, help="that are compared bit for bit")
    parser.add_argument("--window", type=int, help="samples, instead of the network's own")
    parser.add_argument("--arena", type=int, help="bytes at most")
    parser.add_argument("--boards", type=measure.several(BOARDS), default=list(BOARDS))
    options = parser.parse_args(arguments)
    if missing := [tool for tool in ("gcc", "make") if shutil.which(tool) is None]:
        parser.error(f"{' and '.join(missing)} must be installed")
    if not all(shutil.which(tool) for tool in ("arm-none-eabi-gcc", "qemu-system-arm")):
        print("without the boards: gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm are not installed")
        options.boards = []
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # before JAX makes its threads
    seconds, repeats = (60.0, 1) if options.smoke else (holter.SECONDS, options.repeats)
    result: dict[str, Any] = {"benchmark": "mcu", **environment.describe("torch", "onnxruntime"), "networks": []}
    try:
        for path in options.checkpoints:
            with tempfile.TemporaryDirectory() as scratch:
                subject = Subject(path, options.data_dir, pathlib.Path(scratch), options.window, options.arena)
                count = 10 if options.smoke else options.windows
                result["networks"].append(measure_one(subject, count, options.boards, repeats, seconds))
            measure.write(result, options.output)
    finally:
        os.sched_setaffinity(0, cores)
    print(table(result))
    return result


if __name__ == "__main__":
    main()
