"""The training loop: dispatch steps, score each epoch, keep the best, save, resume; of one network, or of several."""

import contextlib
import dataclasses
import json
import logging
import math
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
import optax
import tqdm

from lrhnet_jax import batching, checkpoint, dispatch, interrupt, processes, sharding, state, steps, stream
from lrhnet_jax.errors import ConfigError, DataError
from lrhnet_jax.state import TrainState

logger = logging.getLogger(__name__)

SAVE_SECONDS = 120.0  # at most this much training is lost to a kill
AUXILIARY = 1  # folded into a job's key it initialises the distillation method


@dataclasses.dataclass(frozen=True)
class Job:
    """One network's training.

    Attributes:
      name: for the log.
      reader: the network and the columns it reads.
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
    reader: batching.Reader
    variables: dict[str, Any]
    teachers: tuple[batching.Reader, ...]
    inputs: batching.Inputs
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
    parallel: sharding.Parallel = dataclasses.field(default_factory=sharding.one)
    records: int = 0
    epoch_steps: int = 0
    stop: int = 0
    programs: dict[int, Any] | None = None
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
        return batching.epoch_order(self.keys[1], epoch, self.record_count, self.records_an_epoch)

    @property
    def member(self) -> batching.Member:
        """What the compiled step is told of this job."""
        return self.distillation.member(self.keys[0], self.rate)


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


class Dispatcher(Protocol):
    """How the loop takes the steps of a job, or of alike jobs together; see `dispatch.Alone`.

    Attributes:
      stride: how many steps a dispatch takes at most.
      networks: that are trained.
    """

    stride: int
    networks: int

    def begin(self, now: TrainState, step: int, last: int) -> TrainState:
        """Compiles what training from `step` to `last` takes; returns the state as `take` has it."""

    def take(self, now: TrainState, planned: stream.Dispatch) -> TrainState:
        """Takes some steps; the state is donated."""

    def gather(self, now: TrainState) -> TrainState:
        """Returns the state as it is saved."""

    def end_epoch(self, now: TrainState, history: list[dict[str, Any]], ended: "Ended") -> TrainState:
        """Adds the epoch to the history, scores, keeps the best."""

    def close(self) -> None: ...


class Ended(NamedTuple):
    """An epoch that has ended, counted from 1; how many of its steps this process took, and in how many seconds."""

    epoch: int
    counted: int
    seconds: float


def run(job: Job) -> Result:
    """Trains a network, or goes on where an earlier call was killed; both end with the same bits.

    Saves every epoch and every `SAVE_SECONDS`. On SIGTERM it saves and raises SystemExit(0).

    Raises:
      DataError: if there are fewer training records than a batch holds, or the loss is no longer finite.
      CheckpointError: if earlier progress cannot be restored.
    """
    check(job)
    job.parallel.check(job.batch_size)
    now, history = proceed(job, dispatch.Alone(job, end_epoch), first_state(job))
    return result(job, now, history)


def check(job: Job) -> None:
    """Raises ConfigError or DataError for a job without an epoch or a step to train."""
    if job.epochs < 1 or job.batch_size < 2:
        raise ConfigError(f"{job.name}: needs at least 1 epoch and a batch of 2, got {job.epochs} and {job.batch_size}")
    if job.steps_per_epoch < 1:
        raise DataError(
            f"{job.name}: {job.record_count} training records do not fill a batch of {job.batch_size}; "
            "lower config.train.batch_size"
        )


def result(job: Job, now: TrainState, history: list[dict[str, Any]]) -> Result:
    """Returns what a job's training has given."""
    kept_best = job.score is not None
    return Result(
        variables=now.best_variables if kept_best else now.variables,
        best_epoch=int(now.best_epoch) if kept_best else job.epochs,
        history=history,
        state=now,
    )


def first_state(job: Job) -> TrainState:
    """Returns the state before the first step.

    Raises:
      ConfigError: if the networks or the batch do not suit the distillation method.
    """
    key = jax.random.fold_in(job.key, AUXILIARY)
    try:
        auxiliary = steps.init_auxiliary(
            key, job.inputs, job.reader, job.teachers, job.distillation, job.variables, job.batch_size, job.window
        )
    except ValueError as error:
        raise ConfigError(f"config.networks.{job.name}.train.method: {error}") from error
    return state.create(job.variables, job.optimizer, job.distillation.metrics, auxiliary)


def proceed(job: Job, dispatcher: Dispatcher, now: TrainState) -> tuple[TrainState, list[dict[str, Any]]]:
    """Trains from the state `now`, or goes on from what `job.folder` holds; returns the last state and the history.

    Args:
      job: of the one network; of several, one that says what they have in common, the name and the folder.
    """
    progress = checkpoint.Progress(job.folder)
    history: list[dict[str, Any]] = []
    step = 0
    if restored := progress.restore(now):
        now, history = restored
        step = checkpoint.step_of(now)
        logger.info("%s: resuming at step %d", job.name, step)
    try:
        with interrupt.deferred(), contextlib.closing(dispatcher):
            return _loop(job, dispatcher, now, step, history, progress), history
    finally:
        progress.close()


def _loop(
    job: Job,
    dispatcher: Dispatcher,
    now: TrainState,
    step: int,
    history: list[dict[str, Any]],
    progress: checkpoint.Progress,
) -> TrainState:
    per_epoch = job.steps_per_epoch
    last = min(job.stop or job.steps, job.steps)
    now = dispatcher.begin(now, step, last)
    saved = started = time.monotonic()
    counted = 0
    samples = job.batch_size * dispatcher.networks
    with _progress_bar(job, step, samples) as bar:
        for planned in stream.dispatches(step, last, per_epoch, dispatcher.stride):
            if planned.place == 0:
                started, counted = time.monotonic(), 0
            now = dispatcher.take(now, planned)
            # Wait, so that the bar is honest and no queue of steps builds up; a dispatch costs far less than a step.
            jax.block_until_ready(now.step)
            step, counted = step + planned.size, counted + planned.size
            bar.update(planned.size * samples)
            if step % per_epoch == 0:
                ended = Ended(planned.epoch + 1, counted, time.monotonic() - started)
                now = dispatcher.end_epoch(now, history, ended)
                bar.set_postfix(epoch=ended.epoch, loss=f"{history[-1]['loss']:.3g}")
            stop = interrupt.requested()
            due = step % per_epoch == 0 or step == last or time.monotonic() - saved > SAVE_SECONDS
            if stop or due:
                progress.save(dispatcher.gather(now), history)
                saved = time.monotonic()
            if stop:
                progress.wait()
                logger.info("%s: saved at step %d; run the same command to go on", job.name, step)
                raise SystemExit(0)
    return dispatcher.gather(now)


def end_epoch(job: Job, now: TrainState, history: list[dict[str, Any]], ended: Ended) -> TrainState:
    """Adds a row to a network's history and its log; returns the state with the best epoch so far.

    Raises:
      Diverged: if the loss is not finite.
    """
    row: dict[str, Any] = {"epoch": ended.epoch, "step": int(now.step)}
    row |= {name: float(total) / job.steps_per_epoch for name, total in now.totals.items()}
    if not math.isfinite(row["loss"]):
        raise Diverged(
            f"{job.name}: the loss is {row['loss']} in epoch {ended.epoch}; lower config.train.learning_rate, or go "
            "back to float32 if config.dtype is bfloat16"
        )
    row["learning_rate"] = float(job.schedule(np.int32(int(now.step) - 1)))
    if job.score is not None:
        row[job.score_name] = job.score(now.variables)
        now = now.keep_if_best(row[job.score_name], ended.epoch)
    row["samples_per_second"] = ended.counted * job.batch_size / max(ended.seconds, 1e-9)
    history.append(row)
    lines = "".join(json.dumps(row) + "\n" for row in history)
    checkpoint.write_text(job.folder / "metrics.jsonl", lines)
    logger.info("%s: %s", job.name, ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
    return now


def _progress_bar(job: Job, step: int, samples: int) -> tqdm.tqdm:
    return tqdm.tqdm(
        total=job.steps * samples,
        initial=step * samples,
        desc=job.name,
        unit="sample",
        unit_scale=True,
        mininterval=0.5 if sys.stderr.isatty() else 30,
        disable=not processes.is_first(),
    )
