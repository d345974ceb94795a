"""What one network's training is: what it reads, how long it goes, what it gives, and what ends an epoch."""

import dataclasses
import json
import logging
import math
import pathlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
import optax

from lrhnet_jax.data import stream
from lrhnet_jax.data.batch import Inputs, LeadNetwork, StepNumbers, epoch_order
from lrhnet_jax.errors import ConfigError, DataError
from lrhnet_jax.runtime.devices import Parallel, one_device
from lrhnet_jax.runtime.files import write_text
from lrhnet_jax.training import steps
from lrhnet_jax.training.state import TrainState, create_state

logger = logging.getLogger(__name__)

METHOD_KEY_TAG = 1  # folded into a job's key it initialises the distillation method


@dataclasses.dataclass(frozen=True)
class Job:
    """One network's training.

    Attributes:
      name: for the log.
      lead_network: the network and the columns it reads.
      variables: its variables before the first step.
      teachers: the networks of `inputs.teachers`.
      inputs: what training reads, on the device.
      optimizer, schedule: from `optim`; `schedule` maps a step to a learning rate, for the log.
      rate: what the optimiser's updates are multiplied by, which the compiled step is not made for.
      distillation: how it learns from its teachers; the step is not made for its numbers.
      epochs, batch_size, window: as in the config.
      key: drives windows, order and dropout.
      score: variables -> validation score; the epoch where it is highest is kept. None: the last epoch is kept.
      score_name: what the log calls it.
      folder: WORKDIR/networks/NAME.
      steps_per_dispatch: 0: one on a CPU, a whole epoch elsewhere.
      parallel: the devices that share a batch.
      records: how many of `inputs.records` are trained on; those behind fill the arrays up, so that folds of several
        sizes share compiled steps. 0: all.
      epoch_steps: of an epoch; 0: as many as there are whole batches.
      stop: stop and save after so many steps; 0: at the end of the last epoch.
      programs: compiled steps by their number, for jobs that differ only in where they start, in their folder, key and
        score, in the rate and in the numbers of the distillation: a job takes what is there, and adds what it
        compiles. None: it keeps them to itself.
    """

    name: str
    lead_network: LeadNetwork
    variables: dict[str, Any]
    teachers: tuple[LeadNetwork, ...]
    inputs: Inputs
    optimizer: optax.GradientTransformation
    schedule: Callable[[Any], Any]
    distillation: steps.Distillation
    epochs: int
    batch_size: int
    window: int
    key: jax.Array
    score: Callable[[dict[str, Any]], float] | None
    score_name: str
    folder: pathlib.Path
    steps_per_dispatch: int = 0
    parallel: Parallel = dataclasses.field(default_factory=one_device)
    records: int = 0
    epoch_steps: int = 0
    stop: int = 0
    compiled_steps: dict[int, Any] | None = None
    rate: float = 1.0

    @property
    def record_count(self) -> int:
        return self.records or len(self.inputs.records)

    @property
    def steps_per_epoch(self) -> int:
        return self.epoch_steps or self.record_count // self.batch_size

    @property
    def records_an_epoch(self) -> int:
        return self.steps_per_epoch * self.batch_size

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.epochs * self.steps_per_epoch

    @property
    def keys(self) -> tuple[jax.Array, jax.Array]:
        """The run's key of draws and dropout, and that of the epochs' orders."""
        window_key, order_key = jax.random.split(self.key)
        return window_key, order_key

    def order(self, epoch: int) -> jax.Array:
        """Returns the rows of `inputs` that an epoch trains on, in its order, (records_an_epoch,) int32."""
        return epoch_order(self.keys[1], epoch, self.record_count, self.records_an_epoch)

    @property
    def numbers(self) -> StepNumbers:
        """What the compiled step is told of this job."""
        return self.distillation.numbers(self.keys[0], self.rate)


@dataclasses.dataclass(frozen=True)
class Result:
    """What training gave: the kept variables, the epoch they are from (counted from 1), a row for each epoch, and the
    state after the last step."""

    variables: dict[str, Any]
    best_epoch: int
    history: list[dict[str, Any]]
    state: TrainState


class Diverged(DataError):
    """The loss became NaN or infinite."""


class Ended(NamedTuple):
    """An epoch that has ended, counted from 1; how many of its steps this process took, and in how many seconds."""

    epoch: int
    counted: int
    seconds: float


class Dispatcher(Protocol):
    """How the loop takes the steps of a job, or of compatible jobs together; see `one_network.OneNetwork`.

    Attributes:
      stride: how many steps a dispatch takes at most.
      networks: that are trained.
    """

    stride: int
    networks: int

    def begin(self, state: TrainState, step: int, last: int) -> TrainState:
        """Compiles what training from `step` to `last` takes; returns the state as `take` has it."""

    def take(self, state: TrainState, planned: stream.Dispatch) -> TrainState:
        """Takes some steps; the state is donated."""

    def gather(self, state: TrainState) -> TrainState:
        """Returns the state as it is saved."""

    def end_epoch(self, state: TrainState, history: list[dict[str, Any]], ended: Ended) -> TrainState:
        """Adds the epoch to the history, scores, keeps the best."""

    def close(self) -> None: ...


def check(job: Job) -> None:
    """Raises ConfigError or DataError for a job without an epoch or a step to train."""
    if job.epochs < 1 or job.batch_size < 2:
        raise ConfigError(f"{job.name}: needs at least 1 epoch and a batch of 2, got {job.epochs} and {job.batch_size}")
    if job.steps_per_epoch < 1:
        raise DataError(
            f"{job.name}: {job.record_count} training records do not fill a batch of {job.batch_size}; "
            "lower config.train.batch_size"
        )


def result(job: Job, state: TrainState, history: list[dict[str, Any]]) -> Result:
    """Returns what a job's training has given."""
    kept_best = job.score is not None
    return Result(
        variables=state.best_variables if kept_best else state.variables,
        best_epoch=int(state.best_epoch) if kept_best else job.epochs,
        history=history,
        state=state,
    )


def median_speed(history: Sequence[Mapping[str, Any]]) -> float:
    """Returns the windows a second of a history's epochs, the median; 0 of no epoch."""
    return statistics.median_high(row["samples_per_second"] for row in history) if history else 0.0


def first_state(job: Job) -> TrainState:
    """Returns the state before the first step.

    Raises:
      ConfigError: if the networks or the batch do not suit the distillation method.
    """
    key = jax.random.fold_in(job.key, METHOD_KEY_TAG)
    try:
        auxiliary = steps.init_auxiliary(
            key, job.inputs, job.lead_network, job.teachers, job.distillation, job.variables, job.batch_size, job.window
        )
    except ValueError as error:
        raise ConfigError(f"config.networks.{job.name}.train.method: {error}") from error
    return create_state(job.variables, job.optimizer, job.distillation.metrics, auxiliary)


def end_epoch(job: Job, state: TrainState, history: list[dict[str, Any]], ended: Ended) -> TrainState:
    """Adds a row to a network's history and its log; returns the state with the best epoch so far.

    Raises:
      Diverged: if the loss is not finite.
    """
    row: dict[str, Any] = {"epoch": ended.epoch, "step": int(state.step)}
    row |= {name: float(total) / job.steps_per_epoch for name, total in state.totals.items()}
    if not math.isfinite(row["loss"]):
        raise Diverged(
            f"{job.name}: the loss is {row['loss']} in epoch {ended.epoch}; lower config.train.learning_rate, or go "
            "back to float32 if config.dtype is bfloat16"
        )
    row["learning_rate"] = float(job.schedule(np.int32(int(state.step) - 1)))
    if job.score is not None:
        row[job.score_name] = job.score(state.variables)
        state = state.keep_if_best(row[job.score_name], ended.epoch)
    row["samples_per_second"] = ended.counted * job.batch_size / max(ended.seconds, 1e-9)
    history.append(row)
    lines = "".join(json.dumps(row) + "\n" for row in history)
    write_text(job.folder / "metrics.jsonl", lines)
    logger.info("%s: %s", job.name, ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
    return state


def steps_per_dispatch(job: Job) -> int:
    """Returns how many steps of a job one dispatch takes: as it says, else one on a CPU, a whole epoch elsewhere."""
    on_cpu = jax.default_backend() == "cpu"
    return min(job.steps_per_dispatch or (1 if on_cpu else job.steps_per_epoch), job.steps_per_epoch)
