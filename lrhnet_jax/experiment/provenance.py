"""What a run and its networks are and where they come from: the hold on a folder, and the heads of their files."""

import hashlib
import json
import pathlib
import shlex
import sys
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from lrhnet_jax import models
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.errors import CheckpointError, ConfigError
from lrhnet_jax.experiment import graph
from lrhnet_jax.report import schema
from lrhnet_jax.runtime import environment, processes
from lrhnet_jax.runtime.files import read_json, write_json
from lrhnet_jax.training.state import variable_shapes

# Fields that change where a run reads or how fast it goes, but not its numbers.
FREE_FIELDS = ("data_dir", "input", "steps_per_dispatch", "compilation_cache", "parallel", "devices", "population")
SYNTHETIC_NOTICE = (
    "SYNTHETIC DATA: every number below was measured on generated ECGs. It shows that the software works; it says "
    "nothing about patients and cannot be compared with published results."
)


def check_same(what: dict[str, Any]) -> None:
    """Checks that `what`, of JSON values, is the same in every process: else they would wait for each other, or mix.

    Raises:
      ConfigError: on all of them, naming the fields.
    """
    first, *others = processes.exchange(json.dumps(what))
    for process, other in enumerate(others, 1):
        changed = differences(json.loads(first), json.loads(other))
        if changed:
            raise ConfigError(
                f"process {process} differs from process 0 in {', '.join(changed)}; start all with the same flags, "
                "packages and data"
            )


def _digest(records: Dataset) -> str:
    return hashlib.sha256("\n".join(records.record_ids).encode() + records.lengths.tobytes()).hexdigest()


def claim(workdir: pathlib.Path, config: ConfigDict, records: Dataset) -> None:
    """Makes `workdir` this run's, or checks that it already is: resuming under another config mixes two experiments.

    Raises:
      CheckpointError: if the folder is another run's.
      ConfigError: if another process has loaded other data.
    """
    check_same({"data": _digest(records)})
    processes.from_first(lambda: _claim(workdir, config, records))


def _claim(workdir: pathlib.Path, config: ConfigDict, records: Dataset) -> None:
    mine = {"data": _digest(records), "config": {k: v for k, v in config.to_dict().items() if k not in FREE_FIELDS}}
    path = workdir / "run.json"
    if path.exists():
        theirs = read_json(path)
        # As it would read back: JSON knows no tuples.
        changed = differences(theirs, json.loads(json.dumps(mine)))
        if changed:
            raise CheckpointError(
                f"{workdir} holds a run that differs in {', '.join(changed)}; choose another --workdir, or delete it"
            )
        return
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(path, mine)


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Returns the fields, as "config.train.epochs", in which two nested dicts differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(set(a) | set(b))
        return [d for key in keys for d in differences(a.get(key), b.get(key), f"{path}.{key}".lstrip("."))]
    return [] if a == b else [path]


def describe(config: ConfigDict, networks: list[graph.Network], records: Dataset) -> schema.Provenance:
    """Returns results.json without its results."""
    return {
        "schema": schema.VERSION,
        "experiment": config.experiment,
        "preset": config.preset,
        "command": shlex.join(["python", "-m", "lrhnet_jax.main", *sys.argv[1:]]),
        "versions": environment.versions(),
        "device": environment.device(),
        "dataset": describe_data(records),
        "config": config.to_dict(),
        "networks": {
            network.name: _describe_network(network, len(records.classes), config.window) for network in networks
        },
    }


def describe_data(records: Dataset) -> schema.DataDescription:
    """Returns what results.json says of the data: name, notice, counts per source and class, co-occurrence."""
    sources = sorted(set(records.sources.tolist()))
    per_source = {s: records.labels[records.sources == s] for s in sources}
    counts = records.labels.astype(np.int64)
    return {
        "name": records.name,
        "task": records.task.name,
        "rate": records.rate,
        "synthetic": records.synthetic,
        "notice": SYNTHETIC_NOTICE if records.synthetic else "",
        "path": records.path,
        "records": len(records),
        "per_source": {s: len(rows) for s, rows in per_source.items()},
        "per_class": dict(zip(records.classes, counts.sum(0).tolist(), strict=True)),
        "per_source_class": {
            s: dict(zip(records.classes, rows.sum(0).tolist(), strict=True)) for s, rows in per_source.items()
        },
        "co_occurrence": (counts.T @ counts).tolist(),
        "build_report": records.build_report,
    }


def _describe_network(network: graph.Network, classes: int, window: int) -> schema.NetworkDescription:
    options = {"num_classes": classes, **network.options}
    model = models.create(network.model, network.leads, **options)
    variables = variable_shapes(model, len(network.leads), window)
    return {
        "model": network.model,
        "leads": list(network.leads),
        "recipe": network.recipe,
        "seed": network.seed,
        "teachers": dict(network.teachers),
        "method": network.train["method"]["name"],
        "parameters": models.count_parameters(variables["params"]),
        "bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(variables)),  # of what is saved
        "macs": models.multiply_accumulates(network.model, network.leads, window, **options),
    }


def answer_window(config: ConfigDict) -> int:
    """Returns how many samples a network sees at a time when it is scored and used; training may cut shorter ones."""
    return config.get("evaluation", {}).get("window", 0) or config.window


def describe_model(
    config: ConfigDict, network: graph.Network, records: Dataset, variables: dict[str, Any]
) -> dict[str, Any]:
    """Returns what a trained network's network.json says: all that is needed to run it on other recordings."""
    return {
        "name": network.name,
        "model": network.model,
        "options": dict(network.options),
        "leads": list(network.leads),
        "task": records.task.name,
        "classes": list(records.classes),
        "window": answer_window(config),
        "rate": records.rate,
        "preprocess": config.preprocess,
        "preprocess_options": records.build_report.get("preprocess"),
        "trained_on": records.name,
        "synthetic": records.synthetic,
        "parameters": models.count_parameters(variables["params"]),
        "teachers": dict(network.teachers),
    }
