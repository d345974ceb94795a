"""What distillation gains: the runs of configs/table.py, averaged over the students' seeds, beside the paper's table.

    python -m lrhnet_jax.main --config=configs/table.py:seeds=3 --workdir=runs/table
    python -m benchmarks.distillation runs/table/results.json --output=benchmarks/results/distillation.json

A gain is a student's metric minus that of the student alone with the same leads and seed, on the same records; its mean
over seeds is given with the standard deviation between seeds. The JSON has each run's bootstrap interval, too.
"""

import argparse
import json
import pathlib
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from lrhnet_jax import assess, checkpoint, paper

METRICS = ("challenge_metric", "micro_f1", "macro_average_precision", "macro_auroc")
METHODS = ("alone", "vanilla", "smlkd", "pmlkd")
_STUDENT = re.compile(rf"(?P<method>{'|'.join(METHODS)})(?P<leads>\d+)_(?P<seed>\d+)")


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Returns mean, standard deviation (None of fewer than two) and the values."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": deviation, "values": list(values)}


def collect(results: Mapping[str, Any]) -> dict[str, Any]:
    """Returns, for each fold of a table run, the teachers' metrics and every method's mean over its seeds."""
    decision = results["config"]["evaluation"]["decision"]
    folds = {}
    for fold, entry in results["folds"].items():
        headlines = {name: assess.headline(row["test"], decision) for name, row in entry["networks"].items()}
        scored = {name: {m: headline[m]["value"] for m in METRICS} for name, headline in headlines.items()}
        teachers = {name: metrics for name, metrics in scored.items() if not _STUDENT.fullmatch(name)}
        intervals = {
            name: {m: [headline[m]["low"], headline[m]["high"]] for m in METRICS}
            for name, headline in headlines.items()
        }
        runs: dict[tuple[int, str], dict[str, dict[str, float]]] = {}
        for name, metrics in scored.items():
            if match := _STUDENT.fullmatch(name):
                runs.setdefault((int(match["leads"]), match["method"]), {})[match["seed"]] = metrics
        students = {}
        for leads, method in sorted(runs, key=lambda group: (group[0], METHODS.index(group[1]))):
            by_seed, alone = runs[leads, method], runs[leads, "alone"]
            first = f"{method}{leads}_{next(iter(by_seed))}"
            students[f"{method}{leads}"] = {
                "method": paper.method(results["networks"], first),
                "leads": leads,
                "paper": paper.result(results["networks"], first),
                **{m: spread([metrics[m] for metrics in by_seed.values()]) for m in METRICS},
                "gain": {
                    m: spread([metrics[m] - alone[seed][m] for seed, metrics in by_seed.items()]) for m in METRICS
                },
            }
        folds[fold] = {"records": entry["records"], "teachers": teachers, "students": students, "intervals": intervals}
    epochs = {row["epochs"] for row in next(iter(results["folds"].values()))["networks"].values()}
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
        "folds": folds,
    }


def table(collected: Mapping[str, Any]) -> str:
    """Returns the table in Markdown, all figures x100."""
    lines = [
        "| fold | network | leads | Challenge metric | micro-F1 | macro AP | gain in macro AP | paper: CM (micro-F1) |",
        "|---|---|---|---|---|---|---|---|",
    ]

    def shown(value: Mapping[str, Any], sign: str = "") -> str:
        deviation = "" if value["std"] is None else f" ± {100 * value['std']:.1f}"
        return f"{100 * value['mean']:{sign}.1f}{deviation}"

    for fold, entry in collected["folds"].items():
        for name, metrics in entry["teachers"].items():
            values = [f"{100 * metrics[m]:.1f}" for m in METRICS[:3]]
            leads = re.sub(r"\D", "", name)
            lines.append(f"| {fold} | {name} | {leads} | {' | '.join(values)} | | |")
        for row in entry["students"].values():
            values = [shown(row[m]) for m in METRICS[:3]]
            gain = "" if row["method"] == "LRH-Net" else shown(row["gain"]["macro_average_precision"], "+")
            published = f"{row['paper'][0]:.2f} ({row['paper'][1]:.2f})" if row["paper"] else ""
            lines.append(f"| {fold} | {row['method']} | {row['leads']} | {' | '.join(values)} | {gain} | {published} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path, help="results.json of a run of configs/table.py")
    parser.add_argument("--output", type=pathlib.Path, help="where the JSON goes; the table goes beside it, as .md")
    options = parser.parse_args(arguments)
    collected = collect(json.loads(options.results.read_text()))
    print(table(collected))
    if options.output:
        checkpoint.write_json(options.output, collected)
        checkpoint.write_text(options.output.with_suffix(".md"), table(collected) + "\n")
    return collected


if __name__ == "__main__":
    main()
