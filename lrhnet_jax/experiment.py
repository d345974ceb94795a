"""An experiment: the graph's networks trained in order, teachers first, on one fold or all; then scored, reported."""

import dataclasses
import datetime
import logging
import pathlib
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lrhnet_jax import (
    assess,
    batching,
    checkpoint,
    data,
    graph,
    interrupt,
    lottery,
    models,
    optim,
    processes,
    provenance,
    report,
    sharding,
    splits,
    state,
    stream,
    tasks,
    windows,
)
from lrhnet_jax import teachers as teaching
from lrhnet_jax import train as training
from lrhnet_jax.errors import ConfigError

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
    parallel = sharding.make(config.parallel, config.devices)
    for network in networks:
        _create(network, dataset.task, config.dtype)
        parallel.check(network.train["batch_size"])
        teaching.distillation(network, parallel.kind)
        if network.prune and jax.process_count() > 1:
            raise ConfigError(f"config.networks.{network.name}.prune: a search runs in one process; start it alone")
        _check_choice(f"config.networks.{network.name}.train.keep", network.train["keep"], ("best", "last"))
    if config.compilation_cache:
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(config.compilation_cache).expanduser()))
    records = processes.first_then_rest(
        lambda: data.resolve(config.data, config.data_dir, config.preprocess, config.synthetic_records, config.datasets)
    )
    for network in networks:
        records.columns(network.leads)
    provenance.claim(workdir, config, records)
    if records.synthetic:
        logger.warning("%s", data.SYNTHETIC_NOTICE)
    logger.info("%d records of %s on %s", len(records), records.name, provenance.device())
    store = parallel.place(stream.make_store(records, config.window, config.input, parallel.local_devices))
    results = provenance.describe(config, networks, records)
    folds = splits.NUM_FOLDS if config.fold == "all" else None
    for fold in range(folds) if folds else [int(config.fold)]:
        folder = workdir / f"fold{fold}" if folds else workdir
        results["folds"][str(fold)] = Fold(config, networks, records, store, parallel, fold, folder).run()
    results["summary"] = assess.summarize(results["folds"], config.evaluation.decision)
    results["created"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    checkpoint.write_json(workdir / "results.json", results)
    page = processes.from_first(lambda: report.write(results, workdir))
    return f"{report.table(results)}\n\nreport: {page}\nresults: {workdir / 'results.json'}"


@dataclasses.dataclass
class Fold:
    """The graph on one fold: which records train, validate and are scored, and the networks trained so far."""

    config: ConfigDict
    networks: list[graph.Network]
    records: data.Records
    store: windows.Store
    parallel: sharding.Parallel
    fold: int
    folder: pathlib.Path

    def __post_init__(self) -> None:
        evaluation = self.config.evaluation
        self.split = splits.make(self.records, self.fold, evaluation.protocol, evaluation.validation_parts)
        self.key = jax.random.fold_in(jax.random.key(self.config.seed), self.fold)
        count = self.config.windows_per_record
        # One draw for all networks: teacher and student see the same windows.
        window_key = jax.random.fold_in(self.key, zlib.crc32(b"windows"))
        lengths = jnp.asarray(self.records.lengths)
        self.shifts = windows.random_shifts(window_key, lengths, self.config.window, count)[self.split.train]
        self.trained: dict[str, teaching.Trained] = {}
        self.assessor = assess.Assessor(self.config, self.records, self.store, self.split, self.parallel)

    def run(self) -> dict[str, Any]:
        """Trains or loads every network, scores it, and compares those that `graph.comparisons` pairs."""
        logger.info("fold %d: %s", self.fold, self.split.sizes())
        folders = {network.name: self.folder / "networks" / network.name for network in self.networks}
        for network in self.networks:
            self.trained[network.name] = self._obtain(network, folders[network.name])
        rows = {name: self.assessor.network(name, trained, folders[name]) for name, trained in self.trained.items()}
        pairs = graph.comparisons(self.networks)
        return {
            "records": self.split.sizes(),
            "networks": rows,
            "comparisons": processes.from_first(lambda: self.assessor.comparisons(pairs, self.folder / "networks")),
        }

    def _obtain(self, network: graph.Network, folder: pathlib.Path) -> teaching.Trained:
        finished = processes.from_first(lambda: _read_finished(folder))
        if finished:
            options, variables, log = finished
            return teaching.Trained(self._reader(dataclasses.replace(network, options=options)), variables, log)
        if network.checkpoint:
            adopted, classes = processes.from_first(lambda: teaching.adopt_widths(network)), self.records.classes
            network, reader = adopted, self._reader(adopted)
            variables = processes.from_first(
                lambda: teaching.load(adopted, reader, self.config.preprocess, self.config.window, classes)
            )
            log = {"epochs": 0, "best_epoch": 0, "history": [], "loaded_from": network.checkpoint}
        elif network.prune:
            variables, options, log = self._prune(network, folder)
            network = dataclasses.replace(network, options=options)
        else:
            variables, log = self._train(network, folder)
        checkpoint.write_json(folder / "training.json", log)
        meta = provenance.describe_model(self.config, network, self.records, variables)
        facts = {"pruning": {k: v for k, v in log["pruning"].items() if k != "rounds"}} if "pruning" in log else {}
        checkpoint.save_model(folder, variables, meta | facts)
        return teaching.Trained(self._reader(network), variables, log)

    def _reader(self, network: graph.Network) -> batching.Reader:
        model = _create(network, self.records.task, self.config.dtype, self.parallel.axis_name)
        return batching.Reader(model, self.records.columns(network.leads))

    def _key(self, name: str) -> jax.Array:
        return jax.random.fold_in(self.key, zlib.crc32(name.encode()))

    def _train(self, network: graph.Network, folder: pathlib.Path) -> tuple[Any, dict[str, Any]]:
        result = training.run(self._job(network, folder, self._key(network.name)))
        rates = sorted(row["samples_per_second"] for row in result.history)
        return result.variables, {
            "epochs": network.train["epochs"],
            "best_epoch": result.best_epoch,
            "samples_per_second": rates[len(rates) // 2],
            "history": result.history,
        }

    def _prune(self, network: graph.Network, folder: pathlib.Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        settings = network.pruning
        assert settings is not None
        # A control is the same network as its ticket, from the same initialisation, in the same order of records.
        key = self._key(settings.ticket or network.name)

        def with_options(options: dict[str, Any]) -> graph.Network:
            return dataclasses.replace(network, options=options)

        return lottery.Lottery(
            job=dataclasses.replace(self._job(network, folder, key), programs={}),
            settings=settings,
            name=network.model,
            options=dict(network.options),
            create=lambda options: self._reader(with_options(options)).model,
            init=lambda key: self._init(network, key),
            score=self.assessor.epoch_score,
            describe=lambda variables, options: provenance.describe_model(
                self.config, with_options(options), self.records, variables
            ),
            key=key,
            ticket=folder.with_name(settings.ticket) if settings.ticket else None,
        ).run()

    def _init(self, network: graph.Network, key: jax.Array) -> dict[str, Any]:
        return state.init_variables(self._reader(network).model, key, len(network.leads), self.config.window)

    def _job(self, network: graph.Network, folder: pathlib.Path, key: jax.Array) -> training.Job:
        fields = network.train
        reader = self._reader(network)
        init_key, train_key = jax.random.split(key)
        train_records = np.asarray(self.split.train, np.int32)
        per_epoch = max(1, len(train_records) // fields["batch_size"])
        distillation = teaching.distillation(network, self.parallel.kind, self.records.task.exclusive)
        # A teacher whose features are read runs in every step, and its logits come with them.
        features = distillation.method is not None and distillation.method.needs_teacher
        inputs = teaching.make_inputs(
            self.store,
            train_records,
            self.shifts,
            [(name, self.trained[name]) for name in network.teachers],
            precompute=self.config.teacher_logits == "precomputed" and not features,
            window=self.config.window,
            batch_size=self.config.evaluation.batch_size,
            cache=self.folder / "teacher_logits",
            parallel=self.parallel,
        )
        return training.Job(
            name=network.name,
            reader=reader,
            variables=self._init(network, init_key),
            teachers=tuple(self.trained[name].reader for name in network.teachers),
            inputs=inputs,
            optimizer=optim.make(fields, per_epoch),
            schedule=optim.schedule(fields, per_epoch),
            distillation=distillation,
            epochs=fields["epochs"],
            batch_size=fields["batch_size"],
            window=self.config.window,
            key=train_key,
            score=self._validation_score(reader) if fields["keep"] == "best" else None,
            score_name=assess.epoch_score_name(self.records.task),
            folder=folder,
            steps_per_dispatch=self.config.steps_per_dispatch,
            parallel=self.parallel,
        )

    def _validation_score(self, reader: batching.Reader):
        return lambda variables: self.assessor.epoch_score(reader, variables)


def _read_finished(folder: pathlib.Path) -> tuple[dict[str, Any], Any, dict[str, Any]] | None:
    """Returns a finished network's options, variables and training log; None if it is not finished."""
    if not checkpoint.is_finished(folder):
        return None
    meta, variables = checkpoint.load_model(folder)
    return meta["options"], variables, checkpoint.read_json(folder / "training.json")


def _create(network: graph.Network, task: tasks.Task, dtype: str, axis_name: str | None = None) -> Any:
    fields: dict[str, Any] = {"num_classes": len(task.classes), "dtype": dtype, "axis_name": axis_name}
    try:
        return models.create(network.model, network.leads, **fields, **network.options)
    except ValueError as error:
        raise ConfigError(f"config.networks.{network.name}: {error}") from error


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
    if config.window < 64:
        raise ConfigError(f"config.window: {config.window} samples are less than a heartbeat; the paper has 4096")
    if config.windows_per_record < 0 or (config.teacher_logits == "precomputed" and config.windows_per_record == 0):
        raise ConfigError(
            "config.windows_per_record: precomputed teacher logits need at least 1 fixed window a record; with "
            "--config.teacher_logits=in_graph, 0 draws a fresh window every time"
        )
