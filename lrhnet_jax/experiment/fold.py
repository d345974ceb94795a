"""The graph on one fold: its networks trained in order, teachers first, scored and compared."""

import dataclasses
import functools
import json
import logging
import pathlib
from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from lrhnet_jax import models, tasks
from lrhnet_jax.compress import rounds
from lrhnet_jax.data import splits
from lrhnet_jax.data.batch import Inputs, LeadNetwork, fill_up, plain_inputs
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.data.store import Store, random_shifts
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.experiment import assess, cross_fit, graph, provenance
from lrhnet_jax.experiment import teachers as teaching
from lrhnet_jax.report import schema
from lrhnet_jax.runtime import processes
from lrhnet_jax.runtime.devices import Parallel
from lrhnet_jax.runtime.files import read_json, write_json
from lrhnet_jax.training import checkpoint, loop, optim
from lrhnet_jax.training.run import Result, Run, median_speed
from lrhnet_jax.training.state import init_variables
from lrhnet_jax.training.steps import StepSpec

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class Fold:
    """The graph on one fold: which records train, validate and are scored, and the networks trained so far.

    Attributes:
      sizes: training records of every fold that is run. An epoch has as many steps in each of them, and as many rows of
        inputs: their networks share compiled steps.
      folder: holds networks/NAME.
      compiled_steps: of compatible networks, of all folds; see `run.Run.compiled_steps`.
    """

    config: ConfigDict
    networks: list[graph.Network]
    records: Dataset
    store: Store
    parallel: Parallel
    fold: int
    split: splits.Split
    sizes: Sequence[int]
    folder: pathlib.Path
    compiled_steps: dict[Any, Any]

    def __post_init__(self) -> None:
        fold_key = jax.random.fold_in(jax.random.key(self.config.seed), self.fold)
        # One draw of windows for all networks: teacher and student see the same.
        self.key, window_key = jax.random.split(fold_key)
        lengths, count = jnp.asarray(self.records.lengths), self.config.windows_per_record
        self.shifts = random_shifts(window_key, lengths, self.config.window, count)[self.split.train]
        self.trained: dict[str, teaching.Trained] = {}
        self.assessor = assess.Assessor(self.config, self.records, self.store, self.split, self.parallel)

    def run(self) -> schema.FoldResult:
        """Trains or loads every network, scores it, and compares the pairs of `graph.comparisons`."""
        sizes = ", ".join(f"{count} {part}" for part, count in self.split.sizes().items())
        logger.info("fold %d: %s records", self.fold, sizes)
        rows = {}
        for network in self.networks:
            self.obtain(network)
            trained, folder = self.trained[network.name], self.folder_of(network)
            rows[network.name] = self.assessor.network(network.name, trained, folder)
        pairs, split = graph.comparisons(self.networks), self.split
        return {
            "records": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
            "networks": rows,
            "comparisons": processes.from_first(lambda: self.assessor.comparisons(pairs, self.folder / "networks")),
        }

    def folder_of(self, network: graph.Network) -> pathlib.Path:
        return self.folder / "networks" / network.name

    def obtain(self, network: graph.Network) -> None:
        """Loads a network, or trains it or resumes its training, once; its teachers have to be there."""
        if network.name in self.trained:
            return
        folder = self.folder_of(network)
        finished = processes.from_first(lambda: _read_finished(folder))
        if finished:
            options, variables, log = finished
            network = dataclasses.replace(network, options=options)
            self.trained[network.name] = teaching.Trained(self._lead_network(network), variables, log)
        elif network.checkpoint:
            adopted, classes = processes.from_first(lambda: teaching.adopt_widths(network)), self.records.classes
            lead_network = self._lead_network(adopted)
            variables = processes.from_first(
                lambda: teaching.load(adopted, lead_network, self.config.preprocess, self.config.window, classes)
            )
            self._keep(
                adopted, variables, {"epochs": 0, "best_epoch": 0, "history": [], "loaded_from": network.checkpoint}
            )
        elif network.prune:
            variables, options, log = self._prune(network)
            self._keep(dataclasses.replace(network, options=options), variables, log)
        else:
            self.keep(network, loop.train(self.make_run(network, self.inputs([network]))))

    def keep(self, network: graph.Network, result: Result) -> None:
        """Saves a network that has been trained: it is finished."""
        log: schema.Training = {
            "epochs": network.train["epochs"],
            "best_epoch": result.best_epoch,
            "samples_per_second": median_speed(result.history),
            "history": result.history,
        }
        self._keep(network, result.variables, log)

    def _keep(self, network: graph.Network, variables: Any, log: schema.Training) -> None:
        folder = self.folder_of(network)
        write_json(folder / "training.json", log)
        meta = self._describe(network, variables)
        facts = {"pruning": {k: v for k, v in log["pruning"].items() if k != "rounds"}} if "pruning" in log else {}
        checkpoint.save_model(folder, variables, meta | facts)
        self.trained[network.name] = teaching.Trained(self._lead_network(network), variables, log)

    def _describe(self, network: graph.Network, variables: Any) -> dict[str, Any]:
        """Returns what network.json says; by "held_out" an export knows which records the network has not seen."""
        evaluation = self.config.evaluation
        held_out = {
            "protocol": evaluation.protocol,
            "fold": self.fold,
            "train_only": list(evaluation.train_only),
        }
        meta = provenance.describe_model(self.config, network, self.records, variables)
        return meta | {"held_out": held_out}

    def _lead_network(self, network: graph.Network) -> LeadNetwork:
        model = create_model(network, self.records.task, self.config.dtype, self.parallel.axis_name)
        return LeadNetwork(model, self.records.columns(network.leads))

    def _key(self, seed: int) -> jax.Array:
        return jax.random.fold_in(self.key, seed)

    def _prune(self, network: graph.Network) -> tuple[Any, dict[str, Any], schema.Training]:
        settings, folder = network.pruning, self.folder_of(network)
        assert settings is not None
        # A control is the same network as its ticket, from the same initialisation, in the same order of records.
        ticket = next((other for other in self.networks if other.name == settings.ticket), network)
        key = self._key(ticket.seed)

        def with_options(options: dict[str, Any]) -> graph.Network:
            return dataclasses.replace(network, options=options)

        variables, options, log = rounds.Lottery(
            dense=dataclasses.replace(
                self.make_run(network, self.inputs([network]), seed=ticket.seed), compiled_steps={}
            ),
            settings=settings,
            name=network.model,
            options=dict(network.options),
            create=lambda options: self._lead_network(with_options(options)).model,
            init=lambda key: self._init(network, key),
            score=self.assessor.epoch_score,
            describe=lambda variables, options: self._describe(with_options(options), variables),
            key=key,
            ticket=folder.with_name(settings.ticket) if settings.ticket else None,
        ).run()
        # `compress` may not import `report`: a test holds its log to the schema.
        return variables, options, cast(schema.Training, log)

    def _init(self, network: graph.Network, key: jax.Array) -> dict[str, Any]:
        if network.start:
            other = self.trained[network.start]
            places = [other.lead_network.columns.index(column) for column in self.records.columns(network.leads)]
            return teaching.start(network.model, other.variables, places)
        return init_variables(self._lead_network(network).model, key, len(network.leads), self.config.window)

    @property
    def _train_records(self) -> np.ndarray:
        return np.asarray(self.split.train, np.int32)

    def steps_per_epoch(self, network: graph.Network) -> int:
        return min(self.sizes) // network.train["batch_size"]

    def inputs(self, networks: Sequence[graph.Network]) -> Inputs:
        """Returns what compatible networks read in training, with the teachers of any of them (`graph.teachers_of`)."""
        method = teaching.make_recipe(networks[0], self.parallel.kind).method
        inputs = plain_inputs(self.store, self._train_records, self.shifts)
        teachers = [(name, self.trained[name]) for name in graph.teachers_of(networks)]
        # A teacher whose features are read runs in every step, and its logits come with them.
        features = method is not None and method.needs_teacher
        if teachers and (features or self.config.teacher_logits == "in_graph"):
            inputs = teaching.in_step(inputs, teachers)
        elif teachers and self.config.teacher_logits == "record":
            inputs = teaching.of_records(inputs, [self._record_logits(networks[0], name) for name, _ in teachers])
        elif teachers:
            inputs = teaching.precomputed(
                inputs,
                teachers,
                window=self.config.window,
                batch_size=self.config.evaluation.batch_size,
                cache=self.folder / "teacher_logits",
                parallel=self.parallel,
            )
        if method is not None:  # which may look at all of its records
            return inputs
        return fill_up(inputs, max(self.sizes))

    def _record_logits(self, student: graph.Network, teacher: str) -> np.ndarray:
        parts = student.train["cross_fit"]
        network = next(network for network in self.networks if network.name == teacher)
        path = self.folder / "teacher_logits" / (f"{teacher}_of_{parts}.npy" if parts else f"{teacher}_record.npy")
        return teaching.cached(path, lambda: cross_fit.logits(self, network, parts))

    def make_run(
        self,
        network: graph.Network,
        inputs: Inputs,
        teachers: Sequence[str] | None = None,
        seed: int | None = None,
    ) -> Run:
        """Returns a network's training.

        Args:
          inputs: from `inputs`.
          teachers: those of `inputs`, where it is not the network's own alone.
          seed: in place of the network's own.
        """
        fields = network.train
        student = self._lead_network(network)
        init_key, train_key = jax.random.split(self._key(network.seed if seed is None else seed))
        per_epoch = max(1, self.steps_per_epoch(network))
        names = list(network.teachers) if teachers is None else list(teachers)
        spec = StepSpec(
            student=student,
            optimizer=_optimizer(json.dumps({**fields, "learning_rate": 1.0}, sort_keys=True), per_epoch),
            batch_size=fields["batch_size"],
            window=self.config.window,
            teachers=tuple(self.trained[name].lead_network for name in names) if inputs.teachers else (),
            recipe=teaching.make_recipe(network, self.parallel.kind, self.records.task.exclusive, self.records.rate),
            parallel=self.parallel,
        )
        return Run(
            spec=spec,
            name=network.name,
            variables=self._init(network, init_key),
            inputs=inputs,
            numbers=teaching.make_numbers(network, names),
            key=train_key,
            epochs=fields["epochs"],
            schedule=optim.schedule(fields, per_epoch),
            score=self._validation_score(student) if fields["keep"] == "best" else None,
            score_name=assess.epoch_score_name(self.records.task),
            folder=self.folder_of(network),
            steps_per_dispatch=self.config.steps_per_dispatch,
            records=len(self._train_records),
            epoch_steps=self.steps_per_epoch(network),
            compiled_steps=self.compiled_steps,
        )

    def _validation_score(self, lead_network: LeadNetwork):
        return lambda variables: self.assessor.epoch_score(lead_network, variables)


@functools.cache  # the same object for equal configs, so that their runs share compiled steps
def _optimizer(config: str, steps_per_epoch: int) -> optax.GradientTransformation:
    return optim.make(json.loads(config), steps_per_epoch)


def _read_finished(folder: pathlib.Path) -> tuple[dict[str, Any], Any, schema.Training] | None:
    """Returns a finished network's options, variables and training log; None if it is not finished."""
    if not checkpoint.is_finished(folder):
        return None
    meta, variables = checkpoint.load_model(folder)
    checkpoint.remove_progress(folder)  # left behind by a kill between the network's last file and its progress
    return meta["options"], variables, read_json(folder / "training.json")


def create_model(network: graph.Network, task: tasks.Task, dtype: str, axis_name: str | None = None) -> Any:
    """Returns a network's module.

    Raises:
      ConfigError: for an option that its model does not have.
    """
    fields: dict[str, Any] = {"num_classes": len(task.classes), "dtype": dtype, "axis_name": axis_name}
    try:
        return models.create(network.model, network.leads, **fields, **network.options)
    except ValueError as error:
        raise ConfigError(f"config.networks.{network.name}: {error}") from error
