"""Draws what was measured: speeds beside PyTorch's, and what pruning kept, from the files under benchmarks/results/.

    python -m benchmarks.plot [--results=benchmarks/results]

writes speed.svg, of the files of benchmarks.accelerator, step and latency, and pruning.svg, of those of
benchmarks.pruning; a figure without a file is left out.
"""

import argparse
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.figure import Figure

from lrhnet_jax import tasks
from lrhnet_jax.report import figures
from lrhnet_jax.report import pruning as report_pruning
from lrhnet_jax.runtime.files import read_json

USUAL, BEST = "#9db4d6", "#1f4e8c"
WIDTH = 8.6  # inches


class Row(NamedTuple):
    """A measurement: what it is of, and how many times faster it is than PyTorch as usually run, and at its best."""

    label: str
    usual: float | None
    best: float | None


def _accelerator(found: dict[str, Any]) -> Iterator[Row]:
    device = found["device"].removeprefix("1 x NVIDIA ")
    for row in found["rows"]:
        if row.get("reference") or row.get("best"):
            usual, best = ((row[loop] or {}).get("ratio") for loop in ("reference", "best"))
            yield Row(f"{device}: {row['network']} trains, batch {row['batch']}, {row['dtype']}", usual, best)


def _step(found: dict[str, Any]) -> Iterator[Row]:
    for row in found["networks"]:
        for task, name in (("train", "trains"), ("inference", "infers")):
            label = f"CPU: {row['model']}, {row['leads']} leads, {name}, batch {found['batch']}"
            yield Row(label, row[task]["ratio"], None)


def _latency(found: dict[str, Any]) -> Iterator[Row]:
    for row in found["networks"]:
        if row["batch"] == 1 and (ratios := row["forms"]["jit"].get("ratio")):
            best = min((value for name, value in ratios.items() if name != "eager"), default=None)
            yield Row(f"CPU: {row['model']}, {row['leads']} leads, one window", ratios.get("eager"), best)


READERS: dict[str, Callable[[dict[str, Any]], Iterator[Row]]] = {
    "accelerator": _accelerator,
    "step": _step,
    "latency": _latency,
}


def speed(results: pathlib.Path) -> Figure | None:
    """Returns bars of how many times faster than PyTorch every measurement is; None if there is none."""
    rows = [
        row
        for kind, read in READERS.items()
        for path in sorted(results.glob(f"{kind}-*.json"))
        for row in read(read_json(path))
    ]
    if not rows:
        return None
    figure = Figure(figsize=(WIDTH, 0.9 + 0.34 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for i, row in enumerate(rows):
        both = row.usual is not None and row.best is not None
        for value, color, shift in ((row.usual, USUAL, -0.2 * both), (row.best, BEST, 0.2 * both)):
            if value is not None:
                height = 0.38 if both else 0.6
                axes.barh(i + shift, value - 1, height, left=1, color=color)
                axes.text(max(value, 1) * 1.03, i + shift, f"{value:.2g}", va="center", fontsize=7)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlim(0.8, 1.3 * max(value for row in rows for value in row[1:] if value is not None))
    axes.set_xticks(ticks := [1, 2, 4, 8, 16], [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as PyTorch")
    axes.spines[["top", "right"]].set_visible(False)
    handles = [axes.barh([0], [0], color=color) for color in (USUAL, BEST)]
    labels = ["as usually run", "at its best"]
    figure.legend(handles=handles, labels=labels, loc="outside upper center", ncols=2, frameon=False)
    return figure


def pruning(results: pathlib.Path) -> Figure | None:
    """Returns each search's rounds, and the finished networks' scores on the test fold; None if there is no search."""
    found = [read_json(path) for path in sorted(results.glob("pruning-*.json"))]
    if not found:
        return None
    figure = Figure(figsize=(WIDTH, 3.4 * len(found)), layout="constrained")
    for (rounds, tests), one in zip(figure.subplots(len(found), 2, squeeze=False), found, strict=True):
        metric = tasks.METRICS[one["metric"]]
        searches = {name: row for name, row in one["networks"].items() if "rounds" in row and not row["ticket"]}
        report_pruning.draw(rounds, searches)
        rounds.set_xlabel("times fewer weights or channels")
        rounds.set_ylabel(f"validation {metric}")
        for i, row in enumerate(one["networks"].values()):
            score = row["metrics"][one["metric"]]
            low, high = score["value"] - score["low"], score["high"] - score["value"]
            tests.errorbar(score["value"], i, xerr=[[low], [high]], fmt="o", color=BEST, capsize=3)
        tests.set_yticks(range(len(one["networks"])), one["networks"])
        tests.set_ylim(-0.6, len(one["networks"]) - 0.4)
        tests.invert_yaxis()
        tests.set_xlabel(f"test {metric}, 95 % interval")
    if any(one["synthetic"] for one in found):
        figures.mark_synthetic(figure)
    return figure


def main(arguments: Sequence[str] | None = None) -> list[pathlib.Path]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path(__file__).with_name("results"))
    options = parser.parse_args(arguments)
    written = []
    for name, draw in (("speed", speed), ("pruning", pruning)):
        if (figure := draw(options.results)) is not None:
            path = options.results / f"{name}.svg"
            # The same figures give the same file.
            with rc_context({"svg.hashsalt": "lrhnet_jax"}):
                figure.savefig(path, metadata={"Date": None})
            written.append(path)
            print(path)
    return written


if __name__ == "__main__":
    main()
