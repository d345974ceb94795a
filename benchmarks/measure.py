"""What the benchmarks share: tasks that take turns, medians and ratios, the JSON file, the table, the flags."""

import argparse
import pathlib
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lrhnet_jax.report import formats

REST = 0.02  # seconds between measurements: PyTorch's threads spin for a while after their work

Task = Callable[[], Any]
Timing = dict[str, list[float]]  # "seconds" and "cpu_seconds" (of this process) of every turn


class Seconds(float):
    """What a task returns that times itself, as in another process: the seconds of the turn."""


def interleave(tasks: Mapping[str, Task], repeats: int, warmup: int = 2, rest: float = REST) -> dict[str, Timing]:
    """Returns the times of each task; tasks take turns, so that a slow spell of the machine meets all alike.

    Args:
      warmup: calls before the first turn, which compile and allocate.
      rest: seconds of sleep before each turn.
    """
    for task in tasks.values():
        for _ in range(warmup):
            task()
    timings: dict[str, Timing] = {name: {"seconds": [], "cpu_seconds": []} for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            time.sleep(rest)
            start, cpu_start = time.perf_counter(), time.process_time()
            answer = task()
            timings[name]["cpu_seconds"].append(time.process_time() - cpu_start)
            seconds = time.perf_counter() - start
            timings[name]["seconds"].append(float(answer) if isinstance(answer, Seconds) else seconds)
    return timings


def median(timing: Timing, clock: str = "seconds") -> float:
    """Returns the median turn of a task."""
    return statistics.median(timing[clock])


def percentile(timing: Timing, percent: float, clock: str = "seconds") -> float:
    """Returns the time that so many percent of a task's turns stay below, between turns on a straight line."""
    return float(np.percentile(timing[clock], percent))


def ratio(ours: Timing, theirs: Timing, clock: str = "seconds") -> float:
    """Returns how many times faster we are: the median over turns, so that a slow spell does not fall on one side."""
    return statistics.median(b / a for a, b in zip(ours[clock], theirs[clock], strict=True))


def parser(description: str | None) -> argparse.ArgumentParser:
    """Returns the flags of every benchmark, --output, --repeats and --smoke; a benchmark adds its own.

    Args:
      description: the benchmark's docstring.
    """
    flags = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--output", type=pathlib.Path, help="JSON file to write")
    flags.add_argument("--repeats", type=int, default=9, help="turns of each task")
    flags.add_argument("--smoke", action="store_true", help="tiny sizes: shows that it runs, measures nothing")
    return flags


def several(valid: Iterable[str]) -> Callable[[str], list[str]]:
    """Returns the type of a flag that takes some of the valid names, with commas between."""
    names = list(valid)

    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in names]:
            raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}; choose of {', '.join(names)}")
        return chosen

    return parse


def numbers(text: str) -> list[int]:
    """The type of a flag that takes positive whole numbers, with commas between."""
    chosen = text.split(",")
    if not all(number.isdecimal() and int(number) for number in chosen):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of positive whole numbers, such as 1,64")
    return [int(number) for number in chosen]


def machine(result: Mapping[str, Any]) -> str:
    """Returns what a result of `environment.describe` and more was measured on, for the head of its table."""
    return f"{result['device']} ({result['processor']}, {result['cores']} cores, load {result['load']:.1f})"


def write(result: Mapping[str, Any], output: pathlib.Path | None, text: str = "") -> None:
    """Writes a result as JSON, where an output file was asked for. A run that is killed leaves a whole file.

    Args:
      text: Markdown, which goes beside it, as .md.
    """
    from lrhnet_jax.runtime.files import write_json, write_text  # late: PyTorch's processes do without

    if output:
        write_json(output, result)
        if text:
            write_text(output.with_suffix(".md"), text + "\n")


def table(rows: Sequence[Sequence[Any]]) -> str:
    """Returns rows for the terminal, in columns; the first row heads them, text is flush left and numbers right."""
    return "\n".join(formats.columns(rows, rule=False))
