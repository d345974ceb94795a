"""What recipes gain over the same networks alone: paired over seeds and patients, with 95 % intervals.

    python -m lrhnet_jax.main --config=configs/student.py:sets=2+1,seeds=5 --config.data_dir=DATA --workdir=runs/proof
    python -m benchmarks.gains runs/proof --data_dir=DATA --output=benchmarks/results/student-ptbxl-cpu.json

A gain is the mean over seeds of a network's metric minus that of the network of the same model, leads and seed that
learned from labels alone, on the same records of the scored fold. Its interval is that of a bootstrap which draws seeds
and patients at once; of few seeds that makes too little (a tenth of five), so that the p of a t-test over the seeds
stands beside it. Networks that a run has not scored yet are left out: a folder may be read while its run goes on.
"""

import argparse
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from benchmarks import measure
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.errors import DataError
from lrhnet_jax.experiment import datasets
from lrhnet_jax.report import formats, seed_groups
from lrhnet_jax.runtime import environment
from lrhnet_jax.runtime.files import read_json
from lrhnet_jax.scoring import metrics
from lrhnet_jax.scoring.score import DECISION_METRICS
from lrhnet_jax.scoring.thresholds import decide
from lrhnet_jax.tasks import METRICS, Task

RESAMPLES = 1000
_BLOCK = 100  # resamples that are scored together
TITLES = {**METRICS, "micro_average_precision": "micro AP", "log_likelihood": "log-likelihood"}


def score(
    task: Task, labels: np.ndarray, found: np.ndarray, thresholds: np.ndarray | None, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the task's metrics, micro average precision and log-likelihood (a class), of higher is better each.

    Args:
      labels, found: (records, classes) bool and probabilities.
      thresholds: (classes,); None where the classes exclude each other.
      weights: (resamples, records), how often each record is drawn.

    Returns:
      name -> (resamples,).
    """
    outputs = decide(found, thresholds)
    values = {name: DECISION_METRICS[name](labels, outputs)(weights) for name in task.decision_metrics}
    area, precision = metrics.ranking(labels, found, weights)
    values |= {"macro_auroc": metrics.macro(area), "macro_average_precision": metrics.macro(precision)}
    each = np.repeat(weights, labels.shape[1], axis=1)
    micro = metrics.average_precision(labels.reshape(-1, 1), found.reshape(-1, 1), each)
    values["micro_average_precision"] = micro[:, 0]
    sure = np.clip(found, 1e-6, 1 - 1e-6)
    likelihood = np.where(labels, np.log(sure), np.log(1 - sure)).mean(1)
    values["log_likelihood"] = weights @ likelihood / weights.sum(1)
    return values


def draw(patients: np.ndarray, resamples: int, seed: int = 0) -> np.ndarray:
    """Returns how often each record is drawn, (1 + resamples, records): first each once, then patients at random."""
    group = np.unique(patients, return_inverse=True)[1]
    count = group.max() + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.concatenate([np.ones((1, len(group))), drawn[:, group]])


def gain(taught: np.ndarray, alone: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Returns the mean gain over seeds, its interval over seeds and patients, and the p of a t-test over the seeds.

    Args:
      taught, alone: (seeds, 1 + resamples) a metric, with `draw`'s patients, paired.
    """
    difference = taught - alone
    each, drawn = difference[:, 0], difference[:, 1:]
    count = len(each)
    seeds = np.random.default_rng(seed).integers(count, size=(count, drawn.shape[1]))
    low, high = np.nanpercentile(np.take_along_axis(drawn, seeds, axis=0).mean(0), (2.5, 97.5))
    p = float(stats.ttest_1samp(each, 0).pvalue) if len(set(each.tolist())) > 1 else None
    return {"mean": float(each.mean()), "low": float(low), "high": float(high), "p": p, "values": each.tolist()}


class Run(NamedTuple):
    """Scored networks that were trained and scored alike.

    Attributes:
      config: all but the networks.
      networks: folder -> fields of the config.
    """

    config: dict[str, Any]
    networks: dict[pathlib.Path, dict[str, Any]]


def read(workdirs: Sequence[pathlib.Path]) -> list[Run]:
    """Returns the networks that are scored; those of folders whose configs differ in their networks alone, together.

    Raises:
      DataError: for a run on all folds.
    """
    runs: list[Run] = []
    for workdir in workdirs:
        config = read_json(workdir / "run.json")["config"]
        if config["fold"] == "all":
            raise DataError(f"{workdir} has all folds; give a run on one")
        folders = {workdir / "networks" / name: fields for name, fields in config.pop("networks").items()}
        scored = {path: fields for path, fields in folders.items() if (path / "evaluation.json").exists()}
        same = [run for run in runs if _split(run.config) == _split(config)]
        if same:
            same[0].networks.update(scored)
        else:
            runs.append(Run(config, scored))
    return runs


def _split(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "experiment"}


def resampled(folder: pathlib.Path, records: Dataset, resamples: int) -> dict[str, np.ndarray]:
    """Returns a scored network's metrics, (1 + resamples,) each: of its records, and of patients drawn from them."""
    with np.load(folder / "predictions.npz") as arrays:
        found, ids = arrays["test"], arrays["test_records"].tolist()
    row_of = {record: row for row, record in enumerate(records.record_ids.tolist())}
    if missing := [record for record in ids if record not in row_of]:
        raise DataError(f"{folder}: {records.path} has no record {missing[0]}; give the --data_dir it was scored on")
    rows = np.array([row_of[record] for record in ids])
    limits = None if records.task.exclusive else np.array(read_json(folder / "thresholds.json")["thresholds"])
    weights = draw(records.patients[rows], resamples)
    blocks = [
        score(records.task, records.labels[rows], found, limits, weights[first : first + _BLOCK])
        for first in range(0, len(weights), _BLOCK)
    ]
    return {metric: np.concatenate([block[metric] for block in blocks]) for metric in blocks[0]}


def collect(run: Run, records: Dataset, resamples: int) -> dict[str, Any]:
    """Returns the recipes of a run: means over seeds, and gains over the networks that learned from labels alone."""
    names = {folder: f"{folder.parents[1].name}/{folder.name}" for folder in run.networks}
    networks: dict[str, Any] = {names[folder]: fields for folder, fields in run.networks.items()}
    values = {names[folder]: resampled(folder, records, resamples) for folder in run.networks}
    recipes: dict[str, Any] = {}
    for group, members in seed_groups.groups(networks).items():
        others = {name: other for name in members if (other := seed_groups.undistilled(networks, name))}
        first = networks[members[0]]
        metric_names = list(values[members[0]])
        recipes[group] = {
            "model": first["model"],
            "leads": list(first["leads"]),
            "seeds": [networks[name]["seed"] for name in members],
            "epochs": first["train"].get("epochs", run.config["train"]["epochs"]),
            "metrics": {
                metric: seed_groups.spread([float(values[n][metric][0]) for n in members]) for metric in metric_names
            },
            "gains": {
                metric: gain(
                    np.stack([values[name][metric] for name in others]),
                    np.stack([values[other][metric] for other in others.values()]),
                )
                for metric in metric_names
                if others
            },
        }
    return recipes


def table(recipes: Mapping[str, Any]) -> str:
    """Returns the recipes' metrics and gains in Markdown; x100, but for the log-likelihood, which is x1000."""
    names = list(next(iter(recipes.values()))["metrics"])
    rows = []
    for group, row in recipes.items():
        cells = []
        for metric in names:
            times = 10 if metric == "log_likelihood" else 1
            cell = formats.mean_and_deviation([times * value for value in row["metrics"][metric]["values"]])
            if found := row["gains"].get(metric):
                mean, low, high = (times * found[key] for key in ("mean", "low", "high"))
                cell += f" ({formats.interval(mean, low, high, '+')})"
            cells.append(cell)
        rows.append(
            [group, row["model"], formats.leads(row["leads"]), f"{len(row['seeds'])}", f"{row['epochs']}", *cells]
        )
    return formats.markdown_table(["recipe", "network", "leads", "n", "epochs", *(TITLES[n] for n in names)], rows)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "workdirs", type=pathlib.Path, nargs="+", help="of runs on one fold; alike but for networks: one"
    )
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--output", type=pathlib.Path, help="where the JSON goes; the tables go beside it, as .md")
    options = parser.parse_args(arguments)
    runs, tables = [], []
    for run in read(options.workdirs):
        config = run.config
        records = datasets.resolve(
            config["data"], options.data_dir, config["preprocess"], config["synthetic_records"], config["datasets"]
        )
        recipes = collect(run, records, options.resamples)
        runs.append({"config": config, "records": len(records), "recipes": recipes})
        tables.append(f"{config['experiment']}, fold {config['fold']} of {records.name}\n\n{table(recipes)}")
    results = {"what": __doc__.splitlines()[0], **environment.describe(), "resamples": options.resamples, "runs": runs}
    note = (
        "Mean and deviation over n seeds, x100 (log-likelihood x1000); in brackets the gain over the same networks "
        "alone, with its 95 % interval over seeds and patients."
    )
    text = "\n\n".join([note, *tables])
    print(text)
    measure.write(results, options.output, text)
    return results


if __name__ == "__main__":
    main()
