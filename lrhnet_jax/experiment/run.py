"""An experiment: the graph's networks trained in order, teachers first, on one fold or all; then scored, reported."""

import datetime
import logging
import pathlib
from typing import Any

import jax
from ml_collections import ConfigDict

from lrhnet_jax import tasks
from lrhnet_jax.data import splits, stream
from lrhnet_jax.data.dataset import SYNTHETIC_NOTICE
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.experiment import assess, datasets, graph, provenance
from lrhnet_jax.experiment import teachers as teaching
from lrhnet_jax.experiment.fold import Fold, create_model
from lrhnet_jax.experiment.together import one_at_a_time, train_together
from lrhnet_jax.report import page as report
from lrhnet_jax.runtime import interrupt, processes
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
    provenance.check_same({"config": config.to_dict(), "versions": provenance.versions()})
    networks = graph.parse(config.networks.to_dict(), config.train.to_dict())
    _check_choice("config.data", config.data, tasks.choices(config.datasets))
    dataset = tasks.choose(config.data, config.datasets)
    _check(config, dataset)
    parallel = make_parallel(config.parallel, config.devices)
    for network in networks:
        create_model(network, dataset.task, config.dtype)
        parallel.check(network.train["batch_size"])
        teaching.make_recipe(network, parallel.kind)
        if network.prune and jax.process_count() > 1:
            raise ConfigError(f"config.networks.{network.name}.prune: a search runs in one process; start it alone")
        _check_choice(f"config.networks.{network.name}.train.keep", network.train["keep"], ("best", "last"))
    if config.compilation_cache:
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(config.compilation_cache).expanduser()))
    records = processes.first_then_rest(
        lambda: datasets.resolve(
            config.data, config.data_dir, config.preprocess, config.synthetic_records, config.datasets
        )
    )
    for network in networks:
        records.columns(network.leads)
    provenance.claim(workdir, config, records)
    if records.synthetic:
        logger.warning("%s", SYNTHETIC_NOTICE)
    logger.info("%d records of %s on %s", len(records), records.name, provenance.device())
    store = parallel.replicate(stream.make_store(records, config.window, config.input, parallel.local_devices))
    results = provenance.describe(config, networks, records)
    compiled_steps: dict[Any, Any] = {}

    numbers = list(range(splits.NUM_FOLDS)) if config.fold == "all" else [int(config.fold)]
    protocol, parts = config.evaluation.protocol, config.evaluation.validation_parts
    parted = {number: splits.make(records, number, protocol, parts) for number in numbers}
    sizes = [len(split.train) for split in parted.values()]

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
    for number in numbers:
        results["folds"][str(number)] = (together.pop(number, None) or make_fold(number)).run()
    results["summary"] = assess.summarize(results["folds"], config.evaluation.decision)
    results["created"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_json(workdir / "results.json", results)
    page = processes.from_first(lambda: report.write(results, workdir))
    return f"{report.table(results)}\n\nreport: {page}\nresults: {workdir / 'results.json'}"


def _check_choice(field: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ConfigError(f"{field}: unknown value {value!r}; choose {', '.join(valid)}")


def _check(config: ConfigDict, dataset: tasks.Dataset) -> None:
    choices = {
        "teacher_logits": (config.teacher_logits, ("precomputed", "in_graph")),
        "dtype": (config.dtype, ("float32", "bfloat16")),
        "preprocess": (config.preprocess, dataset.preprocess),
        "input": (config.input, stream.KINDS),
        "evaluation.protocol": (config.evaluation.protocol, ("leak_free", "reference", "published")),
        "evaluation.windows": (config.evaluation.windows, ("cover", "random")),
        "evaluation.decision": (config.evaluation.decision, ("threshold", "threshold_or_top1")),
        "fold": (config.fold, (*map(str, range(splits.NUM_FOLDS)), "all")),
    }
    for field, (value, valid) in choices.items():
        _check_choice(f"config.{field}", value, valid)
    if config.population < 0:
        raise ConfigError(f"config.population: {config.population}: not a number of networks; 0 trains one at a time")
    if config.window < 64:
        raise ConfigError(f"config.window: {config.window} samples are less than a heartbeat; the paper has 4096")
    if config.windows_per_record < 0 or (config.teacher_logits == "precomputed" and config.windows_per_record == 0):
        raise ConfigError(
            "config.windows_per_record: precomputed teacher logits need at least 1 fixed window a record; with "
            "--config.teacher_logits=in_graph, 0 draws a fresh window every time"
        )
