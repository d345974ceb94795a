"""What distillation gains: runs of configs/tables.py or mvkt_table.py, averaged over seeds and folds, in one table.

    python -m lrhnet_jax.main --config=configs/tables.py:seeds=3 --workdir=runs/tables
    python -m benchmarks.distillation runs/tables/results.json --output=benchmarks/results/distillation.json

Several results.json are runs that differ in their fold alone, one a machine, say. A gain is a network's metric minus
that of the undistilled network of the same leads, seed and fold, on the same records; its mean is given with the
deviation over the runs and a paired t-test. The JSON has every run's metrics with their bootstrap intervals, too.
"""

import argparse
import copy
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import measure
from lrhnet_jax.errors import ConfigError, UserError
from lrhnet_jax.experiment import provenance
from lrhnet_jax.report import page, recipes, score_tables, seed_groups
from lrhnet_jax.report.schema import Results
from lrhnet_jax.runtime.files import read_json
from lrhnet_jax.scoring.score import headline


def merge(runs: Mapping[str, Results]) -> Results:
    """Returns results of one graph that were made fold by fold as those of one run.

    Args:
      runs: name, for messages -> its results.json.

    Raises:
      ConfigError: if they differ in more than the fold, or have a fold in common.
    """
    (first, results), *others = runs.items()
    merged: Results = {**results, "folds": dict(results["folds"])}
    for name, other in others:
        changed = provenance.differences(_what(results), _what(other))
        twice = sorted(set(merged["folds"]) & set(other["folds"]))
        if changed or twice:
            why = f"differs from {first} in {', '.join(changed)}" if changed else f"has fold {', '.join(twice)} again"
            raise ConfigError(f"{name} {why}; give one run's results.json of each fold")
        merged["folds"] |= other["folds"]
        merged["command"] += f"\n{other['command']}"
    return merged


def _what(results: Results) -> dict[str, Any]:
    """Returns what runs of one graph have in common, whatever their fold; a loaded teacher is the fold's."""
    config = copy.deepcopy({k: v for k, v in results["config"].items() if k not in {"fold", *provenance.FREE_FIELDS}})
    for network in config.get("networks", {}).values():
        network["checkpoint"] = bool(network.get("checkpoint"))
    return {"config": config, "dataset": {field: results["dataset"][field] for field in ("name", "records")}}


def collect(results: Results) -> dict[str, Any]:
    """Returns the runs of every recipe: means and gains over all seeds and folds, and each run's scores."""
    decision = results["config"]["evaluation"]["decision"]
    folds = {
        fold: {
            "records": entry["records"],
            "networks": {
                name: {**headline(row["test"], decision), "inference": row.get("inference")}
                for name, row in entry["networks"].items()
            },
            "comparisons": entry["comparisons"],
        }
        for fold, entry in results["folds"].items()
    }
    summary = {
        group: {
            "title": recipes.title(results, group, row["networks"]),
            "paper": score_tables.published(results, row["networks"][0]),
            **row,
        }
        for group, row in seed_groups.summarize(results).items()
    }
    epochs = {row["epochs"] for entry in results["folds"].values() for row in entry["networks"].values()}
    return {
        "what": __doc__.splitlines()[0],
        "synthetic": results["dataset"]["synthetic"],
        "data": {key: results["dataset"][key] for key in ("name", "records", "per_source")},
        "command": results["command"],
        "window": results["config"]["window"],
        "epochs": sorted(epochs),
        "device": results["device"],
        "versions": results["versions"],
        "created": results["created"],
        "networks": results["networks"],
        "summary": summary,
        "folds": folds,
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path, nargs="+", help="results.json of runs, one or a fold each")
    parser.add_argument("--output", type=pathlib.Path, help="where the JSON goes; the tables go beside it, as .md")
    options = parser.parse_args(arguments)
    try:
        results = merge({str(path): read_json(path) for path in options.results})
    except UserError as error:
        parser.error(str(error))
    collected = collect(results)
    tables = "\n\n".join(filter(None, (page.banner(results), recipes.tables(results))))
    print(tables)
    measure.write(collected, options.output, tables)
    return collected


if __name__ == "__main__":
    main()
