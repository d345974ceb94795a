"""An experiment: the graph's networks trained in order, teachers first, on one fold or all; then scored, reported."""

import dataclasses
import datetime
import itertools
import logging
import pathlib
import shutil
import zlib
from collections.abc import Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from lrhnet_jax.data import dataset as data
from lrhnet_jax.data import splits, stream
from lrhnet_jax.data.batch import LeadNetwork
from lrhnet_jax.data.store import Store
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.experiment import assess, check, graph, provenance
from lrhnet_jax.experiment import teachers as teaching
from lrhnet_jax.experiment.fold import Fold, create_model
from lrhnet_jax.report import page as report
from lrhnet_jax.runtime import interrupt, processes
from lrhnet_jax.runtime.devices import Parallel, make_parallel
from lrhnet_jax.runtime.files import write_json
from lrhnet_jax.training import checkpoint, many_networks

logger = logging.getLogger(__name__)


def run(config: ConfigDict, workdir: pathlib.Path) -> str:
    """Runs or resumes an experiment; writes results.json, report.md and figures.

    Args:
      config: see configs/common.py.
      workdir: holds networks/NAME (one fold) or foldF/networks/NAME (fold=all).

    Returns:
      The report's table and where the report lies.

    Raises:
      UserError: for a config, data set, or earlier work in `workdir` that does not fit.
    """
    interrupt.install()
    provenance.check_same({"config": config.to_dict(), "versions": provenance.versions()})
    networks = graph.parse(config.networks.to_dict(), config.train.to_dict())
    dataset = check.experiment(config)
    parallel = make_parallel(config.parallel, config.devices)
    for network in networks:
        check.model(network, create_model(network, dataset.task, config.dtype), config.window)
        check.training(network)
        parallel.check(network.train["batch_size"])
        teaching.distillation(network, parallel.kind)
        if network.prune and jax.process_count() > 1:
            raise ConfigError(f"config.networks.{network.name}.prune: a search runs in one process; start it alone")
    if config.compilation_cache:
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(config.compilation_cache).expanduser()))
    records = processes.first_then_rest(
        lambda: data.resolve(config.data, config.data_dir, config.preprocess, config.synthetic_records, config.datasets)
    )
    for network in networks:
        records.columns(network.leads)
    numbers = list(range(splits.NUM_FOLDS)) if config.fold == "all" else [int(config.fold)]
    protocol, parts = config.evaluation.protocol, config.evaluation.validation_parts
    parted = {number: splits.make(records, number, protocol, parts) for number in numbers}
    sizes = [len(split.train) for split in parted.values()]
    check.records(networks, records, list(parted.values()))
    processes.from_first(lambda: _check_checkpoints(networks, records, config, workdir))
    provenance.claim(workdir, config, records)
    if records.synthetic:
        logger.warning("%s", data.SYNTHETIC_NOTICE)
    logger.info("%d records of %s on %s", len(records), records.name, provenance.device())
    store = parallel.replicate(stream.make_store(records, config.window, config.input, parallel.local_devices))
    results = provenance.describe(config, networks, records)
    compiled_steps: dict[Any, dict[Any, Any]] = {}

    def make_fold(number: int) -> Fold:
        folder = workdir / f"fold{number}" if config.fold == "all" else workdir
        return Fold(config, networks, records, store, parallel, number, parted[number], sizes, folder, compiled_steps)

    together: dict[int, Fold] = {}
    if config.population > 1:
        if reason := _one_at_a_time(parallel, store):
            logger.info("config.population: networks train one at a time: %s", reason)
        else:
            together = {number: make_fold(number) for number in numbers}
            _train_together(config, list(together.values()), workdir)
    for number in numbers:
        results["folds"][str(number)] = (together.pop(number, None) or make_fold(number)).run()
    results["summary"] = assess.summarize(results["folds"], config.evaluation.decision)
    results["created"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_json(workdir / "results.json", results)
    page = processes.from_first(lambda: report.write(results, workdir))
    return f"{report.table(results)}\n\nreport: {page}\nresults: {workdir / 'results.json'}"


def _check_checkpoints(
    networks: Sequence[graph.Network], records: data.Dataset, config: ConfigDict, workdir: pathlib.Path
) -> None:
    """Loads the networks that come from elsewhere, so that what is wrong shows before others are trained.

    A run that goes on has done so: what it has loaded already may be gone.
    """
    for network in networks if not (workdir / "run.json").exists() else ():
        if network.checkpoint:
            adopted = teaching.adopt_widths(network)
            model = create_model(adopted, records.task, config.dtype)
            lead_network = LeadNetwork(model, records.columns(adopted.leads))
            teaching.load(adopted, lead_network, config.preprocess, config.window, records.classes)


def _train_together(config: ConfigDict, folds: Sequence[Fold], workdir: pathlib.Path) -> None:
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
                jobs = [fold.job(network, inputs[fold.fold], teachers) for fold, network in members]
                if len(folds) > 1:
                    of_fold = (f"{job.name} of fold {fold.fold}" for job, (fold, _) in zip(jobs, members, strict=True))
                    jobs = [dataclasses.replace(job, name=name) for job, name in zip(jobs, of_fold, strict=True)]
                for (fold, network), result in zip(members, many_networks.run(jobs, folder), strict=True):
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


def _one_at_a_time(parallel: Parallel, store: Store) -> str:
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
