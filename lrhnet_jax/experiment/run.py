"""An experiment: the graph's networks trained in order, teachers first, on one fold or all; then scored, reported."""

import datetime
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from lrhnet_jax.data import splits, stream
from lrhnet_jax.data.batch import LeadNetwork
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.experiment import assess, check, datasets, graph, provenance
from lrhnet_jax.experiment import teachers as teaching
from lrhnet_jax.experiment.fold import Fold, create_model
from lrhnet_jax.experiment.together import one_at_a_time, train_together
from lrhnet_jax.report import page as report
from lrhnet_jax.report import schema
from lrhnet_jax.runtime import environment, interrupt, processes
from lrhnet_jax.runtime.devices import make_parallel
from lrhnet_jax.runtime.files import write_json

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
    provenance.check_same({"config": config.to_dict(), "versions": environment.versions()})
    networks = graph.parse(config.networks.to_dict(), config.train.to_dict())
    dataset = check.experiment(config)
    parallel = make_parallel(config.parallel, config.devices)
    for network in networks:
        for window in sorted({config.window, provenance.answer_window(config)}):
            check.model(network, create_model(network, dataset.task, config.dtype), window)
        check.training(network)
        check.augmentation(network, dataset.task.rate, config.teacher_logits)
        check.cross_fitting(network, networks, config.teacher_logits)
        parallel.check(network.train["batch_size"])
        teaching.make_recipe(network, parallel.kind)
        if network.prune and jax.process_count() > 1:
            raise ConfigError(f"config.networks.{network.name}.prune: a search runs in one process; start it alone")
    if config.compilation_cache:
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(config.compilation_cache).expanduser()))
    records = processes.first_then_rest(
        lambda: datasets.resolve(
            config.data, config.data_dir, config.preprocess, config.synthetic_records, config.datasets
        )
    )
    for network in networks:
        records.columns(network.leads)
    numbers = list(range(splits.NUM_FOLDS)) if config.fold == "all" else [int(config.fold)]
    protocol, parts = config.evaluation.protocol, config.evaluation.validation_parts
    extra = tuple(config.evaluation.train_only)
    parted = {number: splits.make(records, number, protocol, parts, extra) for number in numbers}
    sizes = [len(split.train) for split in parted.values()]
    check.records(networks, records, list(parted.values()))
    processes.from_first(lambda: _check_checkpoints(networks, records, config, workdir))
    provenance.claim(workdir, config, records)
    if records.synthetic:
        logger.warning("%s", provenance.SYNTHETIC_NOTICE)
    logger.info("%d records of %s on %s", len(records), records.name, environment.device())
    longest = max(config.window, provenance.answer_window(config))
    store = parallel.replicate(stream.make_store(records, longest, config.input, parallel.local_devices))
    origin = provenance.describe(config, networks, records)
    compiled_steps: dict[Any, Any] = {}

    def make_fold(number: int) -> Fold:
        folder = workdir / f"fold{number}" if config.fold == "all" else workdir
        return Fold(config, networks, records, store, parallel, number, parted[number], sizes, folder, compiled_steps)

    together: dict[int, Fold] = {}
    if config.population > 1:
        if reason := one_at_a_time(parallel, store):
            logger.info("config.population: networks train one at a time: %s", reason)
        else:
            together = {number: make_fold(number) for number in numbers}
            train_together(config, list(together.values()), workdir)
    folds = {str(number): (together.pop(number, None) or make_fold(number)).run() for number in numbers}
    results: schema.Results = {
        **origin,
        "folds": folds,
        "summary": assess.summarize(folds, config.evaluation.decision),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    write_json(workdir / "results.json", results)
    page = processes.from_first(lambda: report.write(results, workdir))
    return f"{report.table(results)}\n\nreport: {page}\nresults: {workdir / 'results.json'}"


def _check_checkpoints(
    networks: Sequence[graph.Network], records: Dataset, config: ConfigDict, workdir: pathlib.Path
) -> None:
    """Loads the networks that come from elsewhere, so that what is wrong shows before others are trained.

    A run that is resumed has done so: what it has loaded already may be gone.
    """
    for network in networks if not (workdir / "run.json").exists() else ():
        if network.checkpoint:
            adopted = teaching.adopt_widths(network)
            model = create_model(adopted, records.task, config.dtype)
            lead_network = LeadNetwork(model, records.columns(adopted.leads))
            teaching.load(adopted, lead_network, config.preprocess, config.window, records.classes)
