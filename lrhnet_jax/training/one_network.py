"""How the training loop takes the steps of one network: compiled ahead of time, a batch shared out over devices."""

import dataclasses
import functools
import itertools
import logging
import time
from collections.abc import Generator
from typing import Any

import jax
import numpy as np

from lrhnet_jax.data import batch, stream
from lrhnet_jax.data.batch import Draw
from lrhnet_jax.training import steps
from lrhnet_jax.training.job import Ended, Job, end_epoch, steps_per_dispatch
from lrhnet_jax.training.state import TrainState

logger = logging.getLogger(__name__)


class OneNetwork:
    """The steps of one job; see `job.Dispatcher`. Windows that lie on the host are streamed."""

    networks = 1

    def __init__(self, job: Job):
        self._whole = job
        self._columns: tuple[int, ...] = ()
        self.stride = steps_per_dispatch(job)
        if job.inputs.store.host is not None:
            # Teachers that have answered beforehand read nothing.
            lead_networks = [job.lead_network, *(job.teachers if job.inputs.teachers else ())]
            self._columns, (lead_network, *teachers) = stream.pack(lead_networks)
            job = dataclasses.replace(job, lead_network=lead_network, teachers=tuple(teachers))
            self.stride = stream.steps_per_chunk(self.stride, job.batch_size, job.window, len(self._columns))
        self._job = job
        self._compiled: dict[int, Any] = {} if job.compiled_steps is None else job.compiled_steps
        self._order_epoch = -1
        self._order: Any = None

    def begin(self, state: TrainState, step: int, last: int) -> TrainState:
        job = self._job
        self._inputs = job.parallel.replicate(job.inputs.replace(numbers=job.numbers))
        state = job.parallel.replicate_state(state)
        plan = functools.partial(stream.dispatches, step, last, job.steps_per_epoch, self.stride)
        for count in sorted({planned.size for planned in plan()} - self._compiled.keys()):
            self._compiled[count] = self._compile(count, state)
        self._feed = self._signals(plan())
        return state

    def take(self, state: TrainState, planned: stream.Dispatch) -> TrainState:
        if planned.epoch != self._order_epoch:
            self._order, self._order_epoch = self._job.parallel.replicate(self._job.order(planned.epoch)), planned.epoch
        return self._compiled[planned.size](state, self._inputs, self._order, next(self._feed))

    def gather(self, state: TrainState) -> TrainState:
        return self._job.parallel.unreplicate(state)

    def end_epoch(self, state: TrainState, history: list[dict[str, Any]], ended: Ended) -> TrainState:
        return self._job.parallel.replicate_state(end_epoch(self._whole, self.gather(state), history, ended))

    def close(self) -> None:
        if hasattr(self, "_feed"):
            self._feed.close()

    def _signals(self, plan: Any) -> Generator[jax.Array | None]:
        """Yields what each dispatch gets from the host: windows of the leads `columns`, or nothing."""
        job = self._job
        if job.inputs.store.host is None:
            yield from itertools.repeat(None)
        # Draws are made on one device of this process: another thread's work must not meet that of other processes.
        inputs = jax.tree.map(lambda leaf: leaf.addressable_data(0), job.inputs.replace(teachers=()))
        draw = jax.jit(functools.partial(batch.draw_epoch, batch_size=job.batch_size, window=job.window))

        def draw_epoch(epoch: int) -> Draw:
            return draw(inputs, job.order(epoch), epoch, job.keys[0])

        yield from stream.feed(inputs, self._columns, job.window, draw_epoch, plan, job.parallel.shard_windows)

    def _compile(self, count: int, state: TrainState) -> Any:
        """Compiles `count` steps ahead of time, so that the log can tell compiling from training."""
        job, signals = self._job, None
        started = time.monotonic()
        if self._columns:
            shape = (count, job.batch_size, job.window, len(self._columns))
            signals = job.parallel.shard_windows(
                shape, lambda part: np.zeros((count, part.stop - part.start, *shape[2:]), "f2")
            )
        function = steps.make_steps(
            job.batch_size,
            job.window,
            count,
            job.lead_network,
            job.teachers,
            job.optimizer,
            job.distillation,
            job.parallel.shard_draw,
            job.parallel.axis_name,
        )
        compiled = job.parallel.compile(function, state, self._inputs, job.records_an_epoch, signals)
        logger.info("%s: compiled %d step(s) a dispatch in %.1f s", job.name, count, time.monotonic() - started)
        return compiled
