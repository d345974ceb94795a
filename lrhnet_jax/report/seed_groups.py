"""Runs of one recipe: networks that differ only in their seed, and what a recipe gains over learning from labels alone.

A network named RECIPE + number of leads + _SEED is such a run: `vanilla2_0`. Its gain is measured against `alone2_0`:
the undistilled network of the same leads, seed and fold, on the same records. configs/tables.py names networks so.
"""

import re
import statistics
from collections.abc import Sequence
from typing import TypedDict

from lrhnet_jax.report.schema import Results, Spread
from lrhnet_jax.scoring.score import headline

UNDISTILLED = "alone"
_RUN = re.compile(r"(?P<recipe>.*\D)(?P<leads>\d+)_(?P<seed>\d+)")


class Gain(Spread):
    """What a metric gains over the undistilled networks.

    Attributes:
      n: runs that have one.
      p: of a two-sided paired t-test over them; None of fewer than two. The folds share most of their training records,
        so that it is optimistic where there are several.
    """

    n: int
    p: float | None


class Group(TypedDict):
    """The runs of one recipe, or the one network that is no such run.

    Attributes:
      networks: their names.
      runs: "fold F, NAME", the order of all values below.
      metrics: over the runs, by name.
      gains: a run's metric minus that of its undistilled network; empty for a group without such networks.
    """

    networks: list[str]
    runs: list[str]
    metrics: dict[str, Spread]
    gains: dict[str, Gain]


def is_run(name: str) -> bool:
    """Returns whether the name is that of one run of a recipe, among those of other seeds."""
    return _RUN.fullmatch(name) is not None


def group(name: str) -> str:
    """Returns the name without the seed; of a network that is no run of a recipe, its name."""
    return name.rpartition("_")[0] if is_run(name) else name


def undistilled(name: str) -> str | None:
    """Returns the name of the network that a run's gain is measured against; None for that one, and for no run."""
    run = _RUN.fullmatch(name)
    return f"{UNDISTILLED}{run['leads']}_{run['seed']}" if run and run["recipe"] != UNDISTILLED else None


def groups(results: Results) -> dict[str, list[str]]:
    """Returns the networks of each group, the groups of most leads first."""
    found: dict[str, list[str]] = {}
    for name in sorted(results["networks"], key=lambda name: -len(results["networks"][name]["leads"])):
        found.setdefault(group(name), []).append(name)
    return found


def summarize(results: Results) -> dict[str, Group]:
    """Returns mean, deviation and gain of each group over its runs: all seeds and folds of a run's results.json."""
    decision = results["config"]["evaluation"]["decision"]
    scored = {
        (fold, name): {metric: row["value"] for metric, row in headline(network["test"], decision).items()}
        for fold, entry in results["folds"].items()
        for name, network in entry["networks"].items()
    }
    summary: dict[str, Group] = {}
    for name, members in groups(results).items():
        runs = [(fold, member) for fold in results["folds"] for member in members]
        pairs = [(run, (run[0], undistilled(run[1]) or "")) for run in runs]
        pairs = [(run, other) for run, other in pairs if other in scored]
        metrics = list(scored[runs[0]])
        summary[name] = {
            "networks": members,
            "runs": [f"fold {fold}, {member}" for fold, member in runs],
            "metrics": {metric: spread([scored[run][metric] for run in runs]) for metric in metrics},
            "gains": {
                metric: _gain([_minus(scored[run][metric], scored[other][metric]) for run, other in pairs])
                for metric in metrics
                if pairs
            },
        }
    return summary


def spread(values: Sequence[float | None]) -> Spread:
    """Returns mean and standard deviation (None of fewer than two) of the values that exist, and all values."""
    known = [value for value in values if value is not None]
    return {
        "mean": statistics.fmean(known) if known else None,
        "std": statistics.stdev(known) if len(known) > 1 else None,
        "values": list(values),
    }


def _gain(values: Sequence[float | None]) -> Gain:
    from scipy import stats  # slow to import

    known = [value for value in values if value is not None]
    p = float(stats.ttest_1samp(known, 0.0).pvalue) if len(set(known)) > 1 else None
    return {**spread(values), "n": len(known), "p": p}


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
