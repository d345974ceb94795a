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
from lrhnet_jax.training.run import Ended, Run, end_epoch, program_key, steps_per_dispatch
from lrhnet_jax.training.state import TrainState

logger = logging.getLogger(__name__)


class OneNetwork:
    """The steps of one network; see `run.Dispatcher`. Windows that lie on the host are streamed."""

    networks = 1

    def __init__(self, run: Run):
        self._whole = run
        self._columns: tuple[int, ...] = ()
        self.stride = steps_per_dispatch(run)
        if run.inputs.store.host is not None:
            self._columns, (student, *teachers) = stream.pack([run.spec.student, *run.spec.teachers])
            spec = dataclasses.replace(run.spec, student=student, teachers=tuple(teachers))
            run = dataclasses.replace(run, spec=spec)
            self.stride = stream.steps_per_chunk(self.stride, spec.batch_size, spec.window, len(self._columns))
        self._run = run
        self._shared: dict[Any, Any] = {} if run.compiled_steps is None else run.compiled_steps
        self._compiled: dict[int, Any] = {}
        self._order_epoch = -1
        self._order: Any = None

    def begin(self, state: TrainState, step: int, last: int) -> TrainState:
        run = self._run
        self._inputs = run.spec.parallel.replicate(run.step_inputs)
        state = run.spec.parallel.replicate_state(state)
        plan = functools.partial(stream.dispatches, step, last, run.steps_per_epoch, self.stride)
        for count in sorted({planned.size for planned in plan()}):
            key = program_key(run.spec, count, run.records_per_epoch, state, self._inputs)
            if key not in self._shared:
                self._shared[key] = self._compile(count, state)
            self._compiled[count] = self._shared[key]
        self._feed = self._signals(plan())
        return state

    def take(self, state: TrainState, planned: stream.Dispatch) -> TrainState:
        if planned.epoch != self._order_epoch:
            self._order = self._run.spec.parallel.replicate(self._run.order(planned.epoch))
            self._order_epoch = planned.epoch
        return self._compiled[planned.size](state, self._inputs, self._order, next(self._feed))

    def gather(self, state: TrainState) -> TrainState:
        return self._run.spec.parallel.unreplicate(state)

    def end_epoch(self, state: TrainState, history: list[dict[str, Any]], ended: Ended) -> TrainState:
        return self._run.spec.parallel.replicate_state(end_epoch(self._whole, self.gather(state), history, ended))

    def close(self) -> None:
        if hasattr(self, "_feed"):
            self._feed.close()

    def _signals(self, plan: Any) -> Generator[jax.Array | None]:
        """Yields what each dispatch gets from the host: windows of the leads `columns`, or nothing."""
        run = self._run
        if run.inputs.store.host is None:
            yield from itertools.repeat(None)
        # Draws are made on one device of this process: another thread's work must not meet that of other processes.
        inputs = jax.tree.map(lambda leaf: leaf.addressable_data(0), run.inputs.replace(teachers=()))
        draw = jax.jit(functools.partial(batch.draw_epoch, batch_size=run.spec.batch_size, window=run.spec.window))

        def draw_epoch(epoch: int) -> Draw:
            return draw(inputs, run.order(epoch), epoch, run.keys[0])

        shard = run.spec.parallel.shard_windows
        yield from stream.feed(inputs, self._columns, run.spec.window, draw_epoch, plan, shard)

    def _compile(self, count: int, state: TrainState) -> Any:
        """Compiles `count` steps ahead of time, so that the log can tell compiling from training."""
        run, signals = self._run, None
        started = time.monotonic()
        if self._columns:
            shape = (count, run.spec.batch_size, run.spec.window, len(self._columns))
            signals = run.spec.parallel.shard_windows(
                shape, lambda part: np.zeros((count, part.stop - part.start, *shape[2:]), "f2")
            )
        function = steps.make_steps(run.spec, count)
        compiled = run.spec.parallel.compile(function, state, self._inputs, run.records_per_epoch, signals)
        logger.info("%s: compiled %d step(s) a dispatch in %.1f s", run.name, count, time.monotonic() - started)
        return compiled
