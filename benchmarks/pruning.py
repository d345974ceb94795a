"""What pruning costs and saves: the networks of a run of configs/lth.py, scored, weighed, and timed side by side.

    python -m lrhnet_jax.main --config=configs/lth.py --workdir=runs/lth
    python -m benchmarks.pruning runs/lth --output=benchmarks/results/pruning.json

Scores are of the scored fold, with bootstrap intervals, and each network's difference from the dense one is paired. The
same inputs then run through all networks in turn, at batch 1 and at --batch: zeros alone make none faster. The table
goes beside the JSON, as Markdown.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import measure
from lrhnet_jax import tasks
from lrhnet_jax.data.batch import LeadNetwork, predict_logits
from lrhnet_jax.report import formats
from lrhnet_jax.report.pruning import PAPER_COMPRESSION
from lrhnet_jax.report.schema import Results
from lrhnet_jax.runtime import environment
from lrhnet_jax.runtime.files import read_json
from lrhnet_jax.scoring.schema import Difference
from lrhnet_jax.scoring.score import headline
from lrhnet_jax.training import checkpoint, description

DENSE = "dense"


def infer(folder: pathlib.Path, batch: int, seed: int = 0) -> measure.Task:
    """Returns a task that runs a trained network on `batch` windows of noise and waits for the answer."""
    meta, variables = checkpoint.load_model(folder)
    model = description.create_model(meta)
    lead_network = LeadNetwork(model, tuple(range(len(meta["leads"]))))
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(batch, meta["window"], len(meta["leads"]))).astype(np.float32)
    demographics = rng.random((batch, 5), dtype=np.float32)
    placed = jax.device_put((variables, signal, demographics))
    run = jax.jit(lambda variables, signal, person: predict_logits(lead_network, variables, signal, person))
    return lambda: np.asarray(run(*placed))


def _reverse(difference: Difference) -> Difference:
    """Returns b minus a for a minus b."""
    value, low, high = difference["difference"], difference["low"], difference["high"]
    return {"difference": value and -value, "low": high and -high, "high": low and -low, "p": difference["p"]}


def collect(workdir: pathlib.Path, fold: str) -> dict[str, Any]:
    """Returns what a run found on a fold."""
    results: Results = read_json(workdir / "results.json")
    entry, task = results["folds"][fold], tasks.of(results["dataset"]["name"])
    decision = results["config"]["evaluation"]["decision"]
    metric = task.metrics[0]
    lost: dict[str, Difference] = {}
    for pair in entry["comparisons"]:
        difference = pair["differences"][metric]
        if pair["a"] == DENSE:
            lost[pair["b"]] = difference
        elif pair["b"] == DENSE:
            lost[pair["a"]] = _reverse(difference)
    rows = {
        name: {
            "epochs": row["epochs"],
            "parameters": results["networks"][name]["parameters"],
            "macs": results["networks"][name]["macs"],
            "metrics": headline(row["test"], decision),
            "lost": lost.get(name),
            **row.get("pruning", {}),
        }
        for name, row in entry["networks"].items()
    }
    return {
        "what": __doc__.splitlines()[0] if __doc__ else "",
        "synthetic": results["dataset"]["synthetic"],
        "data": {key: results["dataset"][key] for key in ("name", "records", "per_source")},
        "command": results["command"],
        "device_trained": results["device"],
        "fold": fold,
        "records": entry["records"],
        "window": results["config"]["window"],
        "metric": metric,
        "published": f"LTH-ECG: {PAPER_COMPRESSION} times fewer parameters at an F1 loss under 1 %",
        "networks": rows,
    }


def time_networks(folders: Mapping[str, pathlib.Path], batch: int, repeats: int) -> dict[str, Any]:
    """Returns each network's inference at a batch size, and how many times faster it is than the dense one."""
    timings = measure.interleave({name: infer(folder, batch) for name, folder in folders.items()}, repeats)
    return {
        name: {
            "seconds": measure.median(timing),
            "samples_per_second": batch / measure.median(timing),
            "times_dense": measure.ratio(timing, timings[DENSE]),
        }
        for name, timing in timings.items()
    }


def table(found: Mapping[str, Any]) -> str:
    """Returns the table in Markdown."""
    many, metric = found["timed"]["batch"], found["metric"]
    header = [
        "network",
        "weights kept",
        "times fewer",
        tasks.METRICS[metric],
        "less than dense",
        "bytes",
        "million MACs",
    ]
    rows = []
    for name, row in found["networks"].items():
        score, lost = row["metrics"][metric], row["lost"]
        one, more = (found["timed"][size][name] for size in ("one", "many"))
        pruned = "kept" in row
        rows.append(
            [
                name,
                f"{row['kept']:,}" if pruned else "all",
                f"{row['compression']:.1f}" if pruned else "",
                formats.interval(score["value"], score["low"], score["high"]),
                formats.interval(lost["difference"], lost["low"], lost["high"]) if lost else "",
                # Zeros are left out where a sparse code is shorter.
                f"{row.get('sparse_bytes') or row.get('structured_bytes') or 4 * row['parameters']:,}",
                f"{row['macs_structured'] / 1e6:.1f}" if pruned else f"{row['macs'] / 1e6:.1f}",
                f"{1000 * one['seconds']:.2f}",
                f"{one['times_dense']:.2f}",
                f"{more['samples_per_second']:.0f}",
                f"{more['times_dense']:.2f}",
            ]
        )
    return formats.markdown_table([*header, "batch 1: ms", "ratio", f"batch {many}: samples/s", "ratio"], rows)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = measure.parser(__doc__)
    parser.add_argument("workdir", type=pathlib.Path, help="of a finished run of configs/lth.py")
    parser.add_argument("--fold", default="0")
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args(arguments)
    if not (options.workdir / "results.json").exists():
        parser.error(f"{options.workdir} holds no results.json; run configs/lth.py with --workdir={options.workdir}")
    found = collect(options.workdir, options.fold)
    if DENSE not in found["networks"]:
        parser.error(f"{options.workdir} has no network {DENSE!r} to compare with")
    if options.smoke:
        options.repeats = 2
    root = options.workdir / f"fold{options.fold}"
    networks = (root if root.exists() else options.workdir) / "networks"
    folders = {name: networks / name for name in found["networks"]}
    found |= {
        "timed_on": environment.describe(),
        "timed": {
            "batch": options.batch,
            "one": time_networks(folders, 1, options.repeats),
            "many": time_networks(folders, options.batch, options.repeats),
        },
    }
    print(table(found))
    measure.write(found, options.output, table(found))
    return found


if __name__ == "__main__":
    main()
