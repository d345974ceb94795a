"""Networks of the graph that train at once, of all folds."""

import dataclasses
import itertools
import pathlib
import shutil
import zlib
from collections.abc import Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from lrhnet_jax.data.store import Store
from lrhnet_jax.experiment import graph
from lrhnet_jax.experiment.fold import Fold
from lrhnet_jax.runtime.devices import Parallel
from lrhnet_jax.training import checkpoint, many_networks


def train_together(config: ConfigDict, folds: Sequence[Fold], workdir: pathlib.Path) -> None:
    """Trains compatible networks of all folds at once, and leaves each finished as if it had been trained alone.

    A population's progress is WORKDIR/populations/NAME. Where some of its networks are finished or begun alone, as by a
    run without populations, they all go on alone.
    """
    for networks in graph.populations(folds[0].networks):
        for members in _chunks(config, folds, networks):
            names = [f"{fold.fold}/{network.name}" for fold, network in members]
            folder = workdir / "populations" / f"{len(names)}-{zlib.crc32(' '.join(names).encode()):08x}"
            finished = [checkpoint.is_finished(fold.folder_of(network)) for fold, network in members]
            begun = [(fold.folder_of(network) / "progress").exists() for fold, network in members]
            if len(members) > 1 and not all(finished) and (folder.exists() or not any(finished + begun)):
                together = [network for _, network in members]
                inputs = {number: fold.inputs(together) for number, fold in {f.fold: f for f, _ in members}.items()}
                teachers = graph.teachers_of(together)
                runs = [fold.make_run(network, inputs[fold.fold], teachers) for fold, network in members]
                if len(folds) > 1:
                    of_fold = (f"{run.name} of fold {fold.fold}" for run, (fold, _) in zip(runs, members, strict=True))
                    runs = [dataclasses.replace(run, name=name) for run, name in zip(runs, of_fold, strict=True)]
                for (fold, network), result in zip(members, many_networks.train(runs, folder), strict=True):
                    fold.keep(network, result)
            shutil.rmtree(folder, ignore_errors=True)
            for fold, network in members:
                fold.obtain(network)


def _chunks(
    config: ConfigDict, folds: Sequence[Fold], networks: Sequence[graph.Network]
) -> list[list[tuple[Fold, graph.Network]]]:
    """Returns which networks of which folds train at once: at most `config.population`, and as equal in number as can
    be, so that they share a program. Fewer than there are devices share out their batches instead, one at a time.
    """
    in_graph, method = config.teacher_logits == "in_graph", networks[0].train["method"]["name"] != "none"
    sets: dict[Any, list[tuple[Fold, graph.Network]]] = {}
    for fold in folds:
        for network in networks:
            # Teachers that run in the step, and what a method remembers of records, belong to one fold.
            own = fold.fold if in_graph or method else None
            like = (own, tuple(sorted(network.teachers)) if in_graph else ())
            sets.setdefault(like, []).append((fold, network))
    chunks = []
    for members in sets.values():
        count = -(-len(members) // config.population)
        bounds = [len(members) * i // count for i in range(count + 1)]
        for part in (members[a:b] for a, b in itertools.pairwise(bounds)):
            alone = len(part) < len(folds[0].parallel.devices)
            chunks += [[member] for member in part] if alone else [part]
    return chunks


def one_at_a_time(parallel: Parallel, store: Store) -> str:
    """Returns why networks do not train at once here; empty: they do."""
    if not many_networks.pays():
        return "on CPUs many networks at once are slower than in turn; compatible ones share their compiled steps"
    if parallel.kind == "pmap":
        return "config.parallel=pmap shares out batches alone; set jit"
    if jax.process_count() > 1:
        return "several processes share out batches alone"
    if store.host is not None:
        return "windows that are streamed from the host are sent to one network"
    return ""
