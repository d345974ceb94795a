"""The training loop of one network: dispatch steps, score each epoch, keep the best, save, resume."""

import contextlib
import dataclasses
import functools
import itertools
import json
import logging
import math
import pathlib
import sys
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import jax
import numpy as np
import optax
import tqdm

from lrhnet_jax import batching, checkpoint, interrupt, processes, sharding, state, steps, stream
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
      distillation: how it learns from its teachers.
      epochs, batch_size, window: as in the config.
      key: drives windows, order and dropout.
      score: variables -> validation score; the epoch where it is highest is kept. None: the last epoch is kept.
      score_name: what the log calls it.
      folder: WORKDIR/networks/NAME.
      steps_per_dispatch: 0: one on a CPU, a whole epoch elsewhere.
      parallel: the devices that share a batch.
      stop: stop and save after so many steps; 0: at the end of the last epoch.
      programs: compiled steps by their number, for jobs that differ only in where they start and in their folder: a
        job takes what is there, and adds what it compiles. None: it keeps them to itself.
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
    stop: int = 0
    programs: dict[int, Any] | None = None

    @property
    def steps_per_epoch(self) -> int:
        return len(self.inputs.records) // self.batch_size


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


def run(job: Job) -> Result:
    """Trains a network, or goes on where an earlier call was killed; both end with the same bits.

    Saves every epoch and every `SAVE_SECONDS`. On SIGTERM it saves and raises SystemExit(0).

    Raises:
      DataError: if there are fewer training records than a batch holds, or the loss is no longer finite.
      CheckpointError: if earlier progress cannot be restored.
    """
    if job.epochs < 1 or job.batch_size < 2:
        raise ConfigError(f"{job.name}: needs at least 1 epoch and a batch of 2, got {job.epochs} and {job.batch_size}")
    if job.steps_per_epoch < 1:
        raise DataError(
            f"{job.name}: {len(job.inputs.records)} training records do not fill a batch of {job.batch_size}; "
            "lower config.train.batch_size"
        )
    job.parallel.check(job.batch_size)
    progress = checkpoint.Progress(job.folder)
    now = first_state(job)
    restored = progress.restore(now)
    history: list[dict[str, Any]] = []
    if restored:
        now, history = restored
        logger.info("%s: resuming at step %d", job.name, int(now.step))
    try:
        with interrupt.deferred():
            now = _loop(job, now, history, progress)
    finally:
        progress.close()
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


def _loop(job: Job, now: TrainState, history: list[dict[str, Any]], progress: checkpoint.Progress) -> TrainState:
    per_epoch = job.steps_per_epoch
    last = min(job.stop or job.epochs * per_epoch, job.epochs * per_epoch)
    on_cpu = jax.default_backend() == "cpu"
    stride = min(job.steps_per_dispatch or (1 if on_cpu else per_epoch), per_epoch)
    order_of = jax.jit(batching.epoch_order, static_argnums=2)
    window_key, order_key = jax.random.split(job.key)
    step = int(now.step)
    inputs, now = job.parallel.place(job.inputs), job.parallel.spread(now)
    columns: tuple[int, ...] = ()
    if job.inputs.store.host is not None:
        # Teachers that have answered beforehand read nothing.
        columns, (reader, *teachers) = stream.pack([job.reader, *(job.teachers if job.inputs.teachers else ())])
        job = dataclasses.replace(job, reader=reader, teachers=tuple(teachers))
        stride = stream.steps_per_chunk(stride, job.batch_size, job.window, len(columns))
    plan = functools.partial(stream.dispatches, step, last, per_epoch, stride)
    compiled = {} if job.programs is None else job.programs
    for count in sorted({dispatch.size for dispatch in plan()} - compiled.keys()):
        compiled[count] = _compile(job, count, window_key, now, inputs, columns)
    feed = _feed(job, columns, window_key, order_key, plan())
    order, order_epoch = None, -1
    saved = started = time.monotonic()
    counted = 0
    with _progress_bar(job, step) as bar, contextlib.closing(feed):
        while step < last:
            epoch, place = divmod(step, per_epoch)
            if epoch != order_epoch:
                order = job.parallel.place(order_of(order_key, epoch, len(job.inputs.records)))
                order_epoch = epoch
            if place == 0:
                started, counted = time.monotonic(), 0
            count = min(stride, per_epoch - place, last - step)
            now = compiled[count](now, inputs, order, next(feed))
            # Wait, so that the bar is honest and no queue of steps builds up; a dispatch costs far less than a step.
            jax.block_until_ready(now.step)
            step, counted = step + count, counted + count
            bar.update(count * job.batch_size)
            if step % per_epoch == 0:
                seconds = time.monotonic() - started
                ended = _end_epoch(job, job.parallel.gather(now), history, epoch + 1, counted, seconds)
                now = job.parallel.spread(ended)
                bar.set_postfix(epoch=epoch + 1, loss=f"{history[-1]['loss']:.3g}")
            stop = interrupt.requested()
            due = step % per_epoch == 0 or step == last or time.monotonic() - saved > SAVE_SECONDS
            if stop or due:
                progress.save(job.parallel.gather(now), history)
                saved = time.monotonic()
            if stop:
                progress.wait()
                logger.info("%s: saved at step %d; run the same command to go on", job.name, step)
                raise SystemExit(0)
    return job.parallel.gather(now)


def _feed(
    job: Job, columns: tuple[int, ...], window_key: jax.Array, order_key: jax.Array, plan: Iterator[stream.Dispatch]
) -> Generator[jax.Array | None]:
    """Yields what each dispatch gets from the host: windows of the leads `columns`, or nothing."""
    if job.inputs.store.host is None:
        yield from itertools.repeat(None)
    # Draws are made on one device of this process: another thread's work must not meet that of other processes.
    inputs = jax.tree.map(lambda leaf: leaf.addressable_data(0), job.inputs.replace(teachers=()))
    order_of = jax.jit(batching.epoch_order, static_argnums=2)
    draw = jax.jit(functools.partial(batching.draw_epoch, batch_size=job.batch_size, window=job.window))

    def draw_epoch(epoch: int) -> batching.Draw:
        return draw(inputs, order_of(order_key, epoch, len(inputs.records)), epoch, window_key)

    yield from stream.feed(inputs, columns, job.window, draw_epoch, plan, job.parallel.scatter)


def _compile(
    job: Job, count: int, key: jax.Array, now: TrainState, inputs: batching.Inputs, columns: tuple[int, ...]
) -> Any:
    """Compiles `count` steps ahead of time, so that the log can tell compiling from training."""
    started = time.monotonic()
    signals = None
    if columns:
        shape = (count, job.batch_size, job.window, len(columns))
        signals = job.parallel.scatter(shape, lambda part: np.zeros((count, part.stop - part.start, *shape[2:]), "f2"))
    function = steps.make_steps(
        job.batch_size,
        job.window,
        count,
        key,
        job.reader,
        job.teachers,
        job.optimizer,
        job.distillation,
        job.parallel.share,
        job.parallel.axis_name,
    )
    compiled = job.parallel.compile(function, now, inputs, len(job.inputs.records), signals)
    logger.info("%s: compiled %d step(s) a dispatch in %.1f s", job.name, count, time.monotonic() - started)
    return compiled


def _end_epoch(
    job: Job, now: TrainState, history: list[dict[str, Any]], epoch: int, counted: int, seconds: float
) -> TrainState:
    row: dict[str, Any] = {"epoch": epoch, "step": int(now.step)}
    row |= {name: float(total) / job.steps_per_epoch for name, total in now.totals.items()}
    if not math.isfinite(row["loss"]):
        raise Diverged(
            f"{job.name}: the loss is {row['loss']} in epoch {epoch}; lower config.train.learning_rate, or go back to "
            "float32 if config.dtype is bfloat16"
        )
    row["learning_rate"] = float(job.schedule(np.int32(int(now.step) - 1)))
    if job.score is not None:
        row[job.score_name] = job.score(now.variables)
        now = now.keep_if_best(row[job.score_name], epoch)
    row["samples_per_second"] = counted * job.batch_size / max(seconds, 1e-9)
    history.append(row)
    lines = "".join(json.dumps(row) + "\n" for row in history)
    checkpoint.write_text(job.folder / "metrics.jsonl", lines)
    logger.info("%s: %s", job.name, ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
    return now


def _progress_bar(job: Job, step: int) -> tqdm.tqdm:
    total = job.epochs * job.steps_per_epoch * job.batch_size
    return tqdm.tqdm(
        total=total,
        initial=step * job.batch_size,
        desc=job.name,
        unit="sample",
        unit_scale=True,
        mininterval=0.5 if sys.stderr.isatty() else 30,
        disable=not processes.is_first(),
    )
