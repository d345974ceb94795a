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
import jax.numpy as jnp
import numpy as np

from lrhnet_jax.data import stream
from lrhnet_jax.data.batch import Inputs, StepNumbers, epoch_order
from lrhnet_jax.errors import ConfigError, DataError
from lrhnet_jax.runtime.files import write_text
from lrhnet_jax.training import steps
from lrhnet_jax.training.state import TrainState, create_state
from lrhnet_jax.training.steps import StepSpec

logger = logging.getLogger(__name__)

METHOD_KEY_TAG = 1  # folded into a run's key it initialises the distillation method


@dataclasses.dataclass(frozen=True)
class Run:
    """One network's training: where a compiled step starts, what it reads, and how long it goes.

    Attributes:
      spec: what its compiled steps are made for.
      name: for the log.
      variables: the network's before the first step.
      inputs: what training reads, on the device.
      numbers: weights of the losses and rate of the updates.
      key: drives windows, order and dropout.
      epochs: as in the config.
      schedule: step -> learning rate, for the log.
      score: variables -> validation score; the epoch where it is highest is kept. None: the last epoch is kept.
      score_name: what the log calls it.
      folder: WORKDIR/networks/NAME.
      steps_per_dispatch: 0: one on a CPU, a whole epoch elsewhere.
      records: how many of `inputs.records` are trained on; those behind fill the arrays up, so that folds of several
        sizes share compiled steps. 0: all.
      epoch_steps: of an epoch; 0: as many as there are whole batches.
      stop: stop and save after so many steps; 0: at the end of the last epoch.
      compiled_steps: programs that runs share; a run takes what fits from it, and adds what it compiles. None: it keeps
        them to itself.
    """

    spec: StepSpec
    name: str
    variables: dict[str, Any]
    inputs: Inputs
    key: jax.Array
    epochs: int
    schedule: Callable[[Any], Any]
    score: Callable[[dict[str, Any]], float] | None
    score_name: str
    folder: pathlib.Path
    numbers: StepNumbers = dataclasses.field(default_factory=StepNumbers)
    steps_per_dispatch: int = 0
    records: int = 0
    epoch_steps: int = 0
    stop: int = 0
    compiled_steps: dict[Any, Any] | None = None

    @property
    def record_count(self) -> int:
        return self.records or len(self.inputs.records)

    @property
    def steps_per_epoch(self) -> int:
        return self.epoch_steps or self.record_count // self.spec.batch_size

    @property
    def records_per_epoch(self) -> int:
        return self.steps_per_epoch * self.spec.batch_size

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.epochs * self.steps_per_epoch

    @property
    def keys(self) -> tuple[jax.Array, jax.Array]:
        """The key of draws and dropout, and that of the epochs' orders."""
        window_key, order_key = jax.random.split(self.key)
        return window_key, order_key

    @property
    def step_inputs(self) -> Inputs:
        """The inputs as a step takes them: with this run's key and numbers."""
        return self.inputs.replace(numbers=self.numbers.traced(self.keys[0]))

    def order(self, epoch: int) -> jax.Array:
        """Returns the rows of `inputs` that an epoch trains on, in its order, (records_per_epoch,) int32."""
        return epoch_order(self.keys[1], epoch, self.record_count, self.records_per_epoch)


def program_key(spec: StepSpec, count: int, records_per_epoch: int, *arguments: Any) -> Any:
    """Returns what `count` compiled steps are known by among those that runs share: spec, and shapes of arguments."""
    spec = dataclasses.replace(spec, optimizer=spec.optimizer._replace(init=None))  # no part of a step
    leaves, structure = jax.tree.flatten(arguments)
    return spec, count, records_per_epoch, structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)


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
    """How the loop takes the steps of a run, or of compatible runs together; see `one_network.OneNetwork`.

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


def check(run: Run) -> None:
    """Raises ConfigError or DataError for a run without an epoch or a step to train."""
    if run.epochs < 1 or run.spec.batch_size < 2:
        raise ConfigError(
            f"{run.name}: needs at least 1 epoch and a batch of 2, got {run.epochs} and {run.spec.batch_size}"
        )
    if run.steps_per_epoch < 1:
        raise DataError(
            f"{run.name}: {run.record_count} training records do not fill a batch of {run.spec.batch_size}; "
            "lower config.train.batch_size"
        )


def result(run: Run, state: TrainState, history: list[dict[str, Any]]) -> Result:
    """Returns what a run has given."""
    kept_best = run.score is not None
    return Result(
        variables=state.best_variables if kept_best else state.scored_variables,
        best_epoch=int(state.best_epoch) if kept_best else run.epochs,
        history=history,
        state=state,
    )


def median_speed(history: Sequence[Mapping[str, Any]]) -> float:
    """Returns the windows a second of a history's epochs, the median; 0 of no epoch."""
    return statistics.median_high(row["samples_per_second"] for row in history) if history else 0.0


def first_state(run: Run) -> TrainState:
    """Returns the state before the first step.

    Raises:
      ConfigError: if the networks or the batch do not suit the distillation method.
    """
    key, recipe = jax.random.fold_in(run.key, METHOD_KEY_TAG), run.spec.recipe
    try:
        auxiliary = steps.init_auxiliary(run.spec, run.inputs, run.variables, key)
    except ValueError as error:
        raise ConfigError(f"config.networks.{run.name}.train.method: {error}") from error
    return create_state(run.variables, run.spec.optimizer, recipe.metrics, auxiliary, averaged=recipe.average > 0)


def end_epoch(run: Run, state: TrainState, history: list[dict[str, Any]], ended: Ended) -> TrainState:
    """Adds a row to a network's history and its log; returns the state with the best epoch so far.

    Raises:
      Diverged: if the loss is not finite.
    """
    row: dict[str, Any] = {"epoch": ended.epoch, "step": int(state.step)}
    row |= {name: float(total) / run.steps_per_epoch for name, total in state.totals.items()}
    if not math.isfinite(row["loss"]):
        raise Diverged(
            f"{run.name}: the loss is {row['loss']} in epoch {ended.epoch}; lower config.train.learning_rate, or go "
            "back to float32 if config.dtype is bfloat16"
        )
    row["learning_rate"] = float(run.schedule(np.int32(int(state.step) - 1)))
    if run.score is not None:
        row[run.score_name] = run.score(state.scored_variables)
        state = state.keep_if_best(row[run.score_name], ended.epoch)
    row["samples_per_second"] = ended.counted * run.spec.batch_size / max(ended.seconds, 1e-9)
    history.append(row)
    lines = "".join(json.dumps(row) + "\n" for row in history)
    write_text(run.folder / "metrics.jsonl", lines)
    logger.info("%s: %s", run.name, ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
    return state


def steps_per_dispatch(run: Run) -> int:
    """Returns how many steps of a job one dispatch takes: as it says, else one on a CPU, a whole epoch elsewhere."""
    on_cpu = jax.default_backend() == "cpu"
    return min(run.steps_per_dispatch or (1 if on_cpu else run.steps_per_epoch), run.steps_per_epoch)
