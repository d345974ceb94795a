"""The training loop: dispatch steps, score each epoch, keep the best, save, resume; of one network, or of several."""

import contextlib
import logging
import sys
import time
from typing import Any

import jax
import tqdm

from lrhnet_jax.data import stream
from lrhnet_jax.runtime import interrupt, processes
from lrhnet_jax.training import checkpoint
from lrhnet_jax.training.one_network import OneNetwork
from lrhnet_jax.training.run import Dispatcher, Ended, Result, Run, check, first_state, result
from lrhnet_jax.training.state import TrainState

logger = logging.getLogger(__name__)

SAVE_SECONDS = 120.0  # at most this much training is lost to a kill


def train(run: Run) -> Result:
    """Trains a network, or resumes bit-identically where an earlier call was killed.

    Saves every epoch and every `SAVE_SECONDS`. On SIGTERM it saves and raises SystemExit(0).

    Raises:
      DataError: if there are fewer training records than a batch holds, or the loss is no longer finite.
      CheckpointError: if earlier progress cannot be restored.
    """
    check(run)
    run.spec.parallel.check(run.spec.batch_size)
    state, history = proceed(run, OneNetwork(run), first_state(run))
    return result(run, state, history)


def proceed(run: Run, dispatcher: Dispatcher, state: TrainState) -> tuple[TrainState, list[dict[str, Any]]]:
    """Trains from `state`, or resumes from what `run.folder` holds; returns the last state and the history.

    Args:
      run: of the one network; of several, one that says what they have in common, the name and the folder.
    """
    progress = checkpoint.Progress(run.folder)
    history: list[dict[str, Any]] = []
    step = 0
    if restored := progress.restore(state):
        state, history = restored
        step = checkpoint.step_of(state)
        logger.info("%s: resuming at step %d", run.name, step)
    try:
        with interrupt.deferred(), contextlib.closing(dispatcher):
            return _loop(run, dispatcher, state, step, history, progress), history
    finally:
        progress.close()


def _loop(
    run: Run,
    dispatcher: Dispatcher,
    state: TrainState,
    step: int,
    history: list[dict[str, Any]],
    progress: checkpoint.Progress,
) -> TrainState:
    per_epoch = run.steps_per_epoch
    last = min(run.stop or run.steps, run.steps)
    state = dispatcher.begin(state, step, last)
    saved = started = time.monotonic()
    counted = 0
    samples = run.spec.batch_size * dispatcher.networks
    with _progress_bar(run, step, samples) as bar:
        for planned in stream.dispatches(step, last, per_epoch, dispatcher.stride):
            if planned.place == 0:
                started, counted = time.monotonic(), 0
            state = dispatcher.take(state, planned)
            # Wait, so that the bar is honest and no queue of steps builds up; a dispatch costs far less than a step.
            jax.block_until_ready(state.step)
            step, counted = step + planned.size, counted + planned.size
            bar.update(planned.size * samples)
            if step % per_epoch == 0:
                ended = Ended(planned.epoch + 1, counted, time.monotonic() - started)
                state = dispatcher.end_epoch(state, history, ended)
                bar.set_postfix(epoch=ended.epoch, loss=f"{history[-1]['loss']:.3g}")
            stop = interrupt.requested()
            due = step % per_epoch == 0 or step == last or time.monotonic() - saved > SAVE_SECONDS
            if stop or due:
                progress.save(dispatcher.gather(state), history)
                saved = time.monotonic()
            if stop:
                progress.wait()
                logger.info("%s: saved at step %d; run the same command to resume", run.name, step)
                raise SystemExit(0)
    return dispatcher.gather(state)


def _progress_bar(run: Run, step: int, samples: int) -> tqdm.tqdm:
    return tqdm.tqdm(
        total=run.steps * samples,
        initial=step * samples,
        desc=run.name,
        unit="sample",
        unit_scale=True,
        mininterval=0.5 if sys.stderr.isatty() else 30,
        disable=not processes.is_first(),
    )
