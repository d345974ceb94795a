"""What readers of files make of broken and hostile ones: seeded mutations of good files, and what became of each.

    python -m benchmarks.fuzz [--mutations=10000] [--target=records] [--seed=0] [--output=FILE.json]

Right is: rejected, naming the file, or read as a library that knows the format reads it. Wrong is anything else:
another exception, other values, a dead process, a file opened outside of the case's folder, more than 5 s or 500 MB.

A target is a module that is listed in `TARGETS` and has `write_bases(folder)`, good files in a folder each;
`mutate(rng, base, case)`, which copies a base and spoils it; `attempt(case)`, what is tried; `judge(results, base)`,
the outcome; and `RIGHT`, those that are allowed.
"""

import argparse
import collections
import dataclasses
import importlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from lrhnet_jax.runtime import environment

TARGETS = {"records": "benchmarks.fuzz_records", "models": "benchmarks.fuzz_models"}
MOST_SECONDS = 5.0
MOST_MEMORY = 500 * 2**20  # bytes
HUNG = 60.0  # seconds without an answer from the process that tries the cases


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a case: its number, what was done to it, the outcome, whether that is right, and what it took."""

    number: int
    done: str
    outcome: str
    right: bool
    detail: str = ""
    seconds: float = 0.0
    memory: int = 0


class Watch:
    """Notes the files that this process opens outside of a folder. There can be one in a process, and it stays."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.outside: list[str] = []
        self._allowed = tuple({os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, os.getcwd())})
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None or event != "open" or not isinstance(arguments[0], (str, bytes)):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if not path.startswith((self.folder, *self._allowed)):
            self.outside.append(path)


def attempt(target: Any, watch: Watch, folder: pathlib.Path, number: int, seed: int) -> Outcome:
    """Makes a case and tries it. `folder` holds the bases, below "bases", and gets the case."""
    rng = np.random.default_rng([seed, number])
    bases = sorted((folder / "bases").iterdir())
    base = bases[int(rng.integers(len(bases)))]
    with tempfile.TemporaryDirectory(dir=folder, prefix="case-") as name:
        case = pathlib.Path(name, "case")
        done = f"{base.name}: {target.mutate(rng, base, case)}"
        peak, before = _peak(), _resident()
        watch.folder, watch.outside = str(case), []
        start = time.perf_counter()
        try:
            results = target.attempt(case)
        except BaseException:
            return Outcome(number, done, "another exception", False, traceback.format_exc(limit=-3))
        finally:
            watch.folder = None
        seconds = time.perf_counter() - start
        memory = _peak() - before if _peak() > peak else 0
        if watch.outside:
            return Outcome(number, done, "opened outside", False, ", ".join(watch.outside[:3]))
        if seconds > MOST_SECONDS:
            return Outcome(number, done, "slow", False, f"{seconds:.1f} s", seconds, memory)
        if memory > MOST_MEMORY:
            return Outcome(number, done, "memory", False, f"{memory / 2**20:.0f} MB", seconds, memory)
        outcome, detail = target.judge(results, base)
        return Outcome(number, done, outcome, outcome in target.RIGHT, detail, seconds, memory)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _resident() -> int:
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def run_here(name: str, folder: pathlib.Path, numbers: range, seed: int, log: Any = None) -> list[Outcome]:
    """Tries cases in this process."""
    target = importlib.import_module(TARGETS[name])
    if not (folder / "bases").exists():
        target.write_bases(folder / "bases")
    watch, outcomes = _watch(), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in numbers:
            outcomes.append(attempt(target, watch, folder, number, seed))
            if log is not None:
                print(json.dumps(dataclasses.asdict(outcomes[-1])), file=log, flush=True)
    return outcomes


_watches: list[Watch] = []


def _watch() -> Watch:
    if not _watches:
        _watches.append(Watch())
    return _watches[0]


COMMAND = (sys.executable, "-m", "benchmarks.fuzz")


def run(name: str, mutations: int, seed: int, command: Sequence[str] = COMMAND) -> list[Outcome]:
    """Tries cases in a process of its own, which is followed by another if it dies or hangs."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="lrhnet-fuzz-") as scratch:
        log, errors = pathlib.Path(scratch, "log"), pathlib.Path(scratch, "errors")
        while len(outcomes) < mutations:
            flags = [f"--target={name}", f"--seed={seed}", f"--mutations={mutations}"]
            flags += [f"--folder={scratch}", f"--start={len(outcomes)}"]
            with log.open("w") as file, errors.open("w") as error_file:
                process = subprocess.Popen([*command, *flags], stdout=file, stderr=error_file)
                last, size = time.monotonic(), 0
                while process.poll() is None:
                    time.sleep(0.2)
                    if log.stat().st_size != size:
                        last, size = time.monotonic(), log.stat().st_size
                    elif time.monotonic() - last > HUNG:
                        process.kill()
                        process.wait()
            lines = log.read_text().splitlines()
            outcomes += [Outcome(**json.loads(line)) for line in lines]
            if process.returncode:
                detail = errors.read_text(errors="replace")[-2000:]
                outcome = "hung" if time.monotonic() - last > HUNG else f"ended the process ({process.returncode})"
                outcomes.append(Outcome(len(outcomes), "", outcome, False, detail))
    return outcomes


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Returns counts of outcomes, the slowest and the largest case, and every fault."""
    return {
        "mutations": len(outcomes),
        "outcomes": dict(collections.Counter(outcome.outcome for outcome in outcomes).most_common()),
        "faults": [dataclasses.asdict(outcome) for outcome in outcomes if not outcome.right],
        "most_seconds": max(outcome.seconds for outcome in outcomes),
        "most_megabytes": max(outcome.memory for outcome in outcomes) / 2**20,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--target", choices=sorted(TARGETS), default="records")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)  # of the process that tries the cases
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.folder is not None:
        run_here(options.target, options.folder, range(options.start, options.mutations), options.seed, sys.stdout)
        return 0
    outcomes = run(options.target, options.mutations, options.seed)
    result = {"benchmark": "fuzz", "target": options.target, "seed": options.seed, **environment.describe()}
    result |= summary(outcomes)
    if options.output is not None:
        options.output.write_text(json.dumps(result, indent=1) + "\n")
    print("\n".join(f"{count:7,} {outcome}" for outcome, count in result["outcomes"].items()))
    print(f"slowest {result['most_seconds']:.2f} s, largest {result['most_megabytes']:.0f} MB")
    for fault in result["faults"][:20]:
        print(f"FAULT {fault['number']}: {fault['outcome']}: {fault['done']}\n  {fault['detail']}")
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
