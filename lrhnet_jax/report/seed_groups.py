"""Runs of one recipe: networks that differ only in their seed, and what a recipe gains over learning from labels alone.

The config says of which recipe and seed a network is (configs/tables.py). The gain of a run is measured against the
undistilled network, of recipe "alone", of the same leads, seed and fold, on the same records.
"""

import collections
import statistics
from collections.abc import Mapping, Sequence
from typing import TypedDict

from lrhnet_jax.report.schema import Results, Spread
from lrhnet_jax.scoring.score import headline

UNDISTILLED = "alone"


class Described(TypedDict):
    """What a config says of a network; see `graph.Network`."""

    model: str
    leads: list[str]
    recipe: str
    seed: int


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
    """The runs of one recipe, or the one network that is not such a run.

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


def undistilled(networks: Mapping[str, Described], name: str) -> str | None:
    """Returns the network that a run's gain is measured against; None for that one, and for what is not a run.

    It has the run's leads and seed, and its model where there is such a one.
    """
    run = networks[name]
    if run["recipe"] in ("", UNDISTILLED):
        return None
    like = [
        other
        for other, network in networks.items()
        if (network["recipe"], list(network["leads"]), network["seed"])
        == (UNDISTILLED, list(run["leads"]), run["seed"])
    ]
    same = [other for other in like if networks[other]["model"] == run["model"]]
    return next(iter(same or like), None)


def groups(networks: Mapping[str, Described]) -> dict[str, list[str]]:
    """Returns the networks of each group, the groups of most leads first.

    A group of runs is called by its recipe and number of leads, "vanilla2", and by its model where other models share
    these; any other network is a group of its own, by its own name.
    """
    ordered = sorted(networks, key=lambda name: -len(networks[name]["leads"]))
    models = collections.defaultdict(set)
    for network in networks.values():
        models[_kind(network)].add(network["model"])
    members: dict[str, list[str]] = {}
    for name in ordered:
        network = networks[name]
        several = len(models[_kind(network)]) > 1
        group = f"{_kind(network)}_{network['model']}" if several else _kind(network)
        members.setdefault(group if network["recipe"] else name, []).append(name)
    return members


def _kind(network: Described) -> str:
    return f"{network['recipe']}{len(network['leads'])}"


def summarize(results: Results) -> dict[str, Group]:
    """Returns mean, deviation and gain of each group over its runs: all seeds and folds of a run's results.json."""
    decision = results["config"]["evaluation"]["decision"]
    scored = {
        (fold, name): {metric: row["value"] for metric, row in headline(network["test"], decision).items()}
        for fold, entry in results["folds"].items()
        for name, network in entry["networks"].items()
    }
    summary: dict[str, Group] = {}
    networks: Mapping[str, Described] = results["networks"]
    for name, members in groups(networks).items():
        runs = [(fold, member) for fold in results["folds"] for member in members]
        pairs = [(run, (run[0], undistilled(networks, run[1]) or "")) for run in runs]
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
