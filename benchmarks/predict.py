"""How long answers take: of one file, of a folder, of a day; beside wfdb, SciPy and PyTorch as a user would write it.

    python -m benchmarks.predict [--output=FILE.json] [--files=300] [--hours=24] [--repeats=3] [--smoke]

Each turn is a command of its own. "first answer": from the command until the table of one 10 s file is printed (its
page is drawn after that). "folder": 10 s records of 12 leads, answered by dx24-2 without pages; files a second, of the
whole command, and of what it takes beyond one file. "day": a recording of two leads at 250 Hz, sinus rhythm and atrial
fibrillation in turns, answered along time; with the most memory that the process had. Recordings are made of those in
examples/. Beside the clock stands the processor's time, which a busy machine changes less.
"""

import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import wfdb

from benchmarks import measure
from lrhnet_jax.ecg import readers
from lrhnet_jax.runtime import environment

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
MODEL, LEADS, RATE = "dx24-2", ("I", "II"), 250
SPELL = 1800.0  # s of one rhythm


# Runs a module; what the system tells a parent of its child's memory is not less than the parent's own.
_TELLS_ITS_MEMORY = """
import atexit, runpy, sys
place = sys.argv[1]
def tell():
    with open("/proc/self/status") as status, open(place, "w") as file:
        file.write(next(line for line in status if line.startswith("VmHWM")))
atexit.register(tell)
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def run(command: Sequence[Any]) -> dict[str, float]:
    """Runs a module with arguments; returns seconds until its first line, and in all, its processor's, and its MB."""
    started = time.perf_counter()
    with tempfile.NamedTemporaryFile("r") as memory:
        words = [sys.executable, "-c", _TELLS_ITS_MEMORY, memory.name, *map(str, command)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout
            process.stdout.readline()
            first = time.perf_counter() - started
            process.stdout.read()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))} failed ({process.returncode})")
        megabytes = int(memory.read().split()[1]) / 1024
    return {"first": first, "seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "megabytes": megabytes}


def write_folder(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """Writes that many copies of a 10 s record of 12 leads."""
    for number in range(count):
        (folder / f"{number:04d}").mkdir(parents=True)
        for suffix in ("hea", "mat"):
            shutil.copy(EXAMPLES / f"HR00001.{suffix}", folder / f"{number:04d}")
    return sorted(folder.glob("*/*.hea"))


def write_day(folder: pathlib.Path, hours: float) -> pathlib.Path:
    """Writes a long record of two leads: 10 s of each rhythm over and over, with noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    spells = []
    for name in ("HR00001.hea", "HR09289.edf"):
        signal = readers.select(readers.read(EXAMPLES / name), LEADS).signal[::2]  # 500 Hz
        length = round(min(SPELL, hours * 1800) * RATE)
        spells.append(np.resize(signal - signal.mean(0), (length, len(LEADS))))
    signal = np.concatenate(spells * max(round(hours * 3600 * RATE / sum(map(len, spells))), 1))
    noisy = np.round(1000 * signal + rng.normal(0, 10, signal.shape)).astype(np.int16)
    options = {"fmt": ["16"] * 2, "adc_gain": [1000.0] * 2, "baseline": [0] * 2, "write_dir": str(folder)}
    wfdb.wrsamp("day", fs=RATE, units=["mV"] * 2, sig_name=list(LEADS), d_signal=noisy, **options)
    return folder / "day.hea"


def tasks(folder: pathlib.Path, records: Sequence[pathlib.Path], day: pathlib.Path) -> dict[str, list[Any]]:
    """Returns the commands by name."""
    ours = ["lrhnet_jax.cli", "predict", f"--model={MODEL}", f"--output={folder / 'answers'}"]
    theirs = ["benchmarks.torch_predict", folder / "answers.csv"]
    return {
        "first answer": [*ours, records[0]],
        "folder": [*ours, "--no_pages", folder / "records"],
        "day": [*ours, "--no_pages", day],
        "first answer, PyTorch": [*theirs, records[0]],
        "folder, PyTorch": [*theirs, *records],
        "day, PyTorch": [*theirs, day],
    }


def measured(options: Any) -> dict[str, Any]:
    """Returns what --output is to hold."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        records = write_folder(folder / "records", options.files)
        commands = tasks(folder, records, write_day(folder / "long", options.hours))
        told = environment.describe("torch", "wfdb")
        turns: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
        for _ in range(options.repeats):
            for name, command in commands.items():
                shutil.rmtree(folder / "answers", ignore_errors=True)
                turns[name].append(run(command))
    medians = {
        name: {key: statistics.median(turn[key] for turn in found) for key in found[0]} for name, found in turns.items()
    }
    for name in ("", ", PyTorch"):
        whole, one = medians[f"folder{name}"], medians[f"first answer{name}"]["first"]
        whole["files_per_second"] = options.files / whole["seconds"]
        whole["files_per_second_after_start"] = (options.files - 1) / max(whole["seconds"] - one, 1e-3)
    sizes = {"files": options.files, "hours": options.hours, "model": MODEL}
    return {"schema": 1, **told, **sizes, "medians": medians, "turns": turns}


def report(result: dict[str, Any]) -> str:
    """Returns the table for the terminal."""
    rows: list[list[Any]] = [["task", "s to the table", "s in all", "processor s", "MB", "files/s", "after start"]]
    for name, found in result["medians"].items():
        first = None if "PyTorch" in name else found["first"]
        rates = [found.get(key) for key in ("files_per_second", "files_per_second_after_start")]
        rows.append([name, first, found["seconds"], found["cpu"], found["megabytes"], *rates])
    head = f"{measure.machine(result)}: {result['files']} files, {result['hours']:g} h, {result['model']}"
    return f"{head}\n{measure.table(rows)}"


def main(arguments: Sequence[str] | None = None) -> None:
    flags = measure.parser(__doc__)
    flags.set_defaults(repeats=3)
    flags.add_argument("--files", type=int, default=300, help="in the folder")
    flags.add_argument("--hours", type=float, default=24.0, help="of the long recording")
    options = flags.parse_args(arguments)
    if options.smoke:
        options.files, options.hours, options.repeats = 3, 0.2, 1
    result = measured(options)
    measure.write(result, options.output)
    print(report(result))


if __name__ == "__main__":
    main()
