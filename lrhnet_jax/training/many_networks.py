"""Many networks at once: compatible runs as one program over one data store, one set of teachers and one checkpoint.

The steps of one network, vectorised over networks. Each has a key, a state and an order of records of its own; what
they read lies on the device once. On several devices each has its part of the networks, with whole batches.

On a CPU the convolutions of many networks are slower than those of one: there networks are better trained in turn, by
the compiled steps that they share (`run.Run.compiled_steps`).
"""

import dataclasses
import logging
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrhnet_jax.data import stream
from lrhnet_jax.data.batch import Inputs
from lrhnet_jax.training import loop, steps
from lrhnet_jax.training.run import (
    Ended,
    Result,
    Run,
    check,
    end_epoch,
    first_state,
    program_key,
    result,
    steps_per_dispatch,
)
from lrhnet_jax.training.state import TrainState

logger = logging.getLogger(__name__)


def pays() -> bool:
    """Whether networks train faster at once than in turn."""
    return jax.default_backend() != "cpu"


def train(runs: Sequence[Run], folder: pathlib.Path) -> list[Result]:
    """Trains compatible runs at once, or resumes bit-identically where an earlier call was killed.

    Each ends as `loop.train` alone would end it, up to rounding, and writes the same metrics.jsonl.

    Args:
      runs: that share compiled steps (see `run.Run.compiled_steps`), the store and the steps of an epoch; their other
        inputs may differ in values, as those of several folds do, and are taken once where they are the same object.
        Only a method without a memory suits several such inputs.
      folder: of the progress that they make together; removed by the caller, when the networks are saved.

    Raises:
      as `loop.train`.
    """
    for run in runs:
        check(run)
    together = Together(runs)
    names = f"{runs[0].name} and {len(runs) - 1} more"
    common = dataclasses.replace(runs[0], name=names, folder=folder)
    state, history = loop.proceed(common, together, stack([first_state(run) for run in runs]))
    states = unstack(state, len(runs))
    return [result(run, states[i], _of(history, i)) for i, run in enumerate(runs)]


def stack(states: Sequence[TrainState]) -> TrainState:
    """Returns networks' states as one, with a leading axis of networks, on the host."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *states)


def unstack(state: TrainState, count: int) -> list[TrainState]:
    """Returns the states of a stacked one on the host."""
    return [jax.tree.map(lambda leaf, i=i: leaf[i], state) for i in range(count)]


def _of(history: list[dict[str, Any]], network: int) -> list[dict[str, Any]]:
    """The rows of one network from the history of all."""
    return [epoch["networks"][network] for epoch in history]


def join_inputs(inputs: Sequence[Inputs]) -> tuple[Inputs, list[int]]:
    """Returns several networks' inputs as one, and where the rows of each network begin in it.

    Inputs that are the same object are taken once. The others' rows, as those of several folds, follow one another.
    """
    distinct = list({id(one): one for one in inputs}.values())
    sizes = [len(one.records) for one in distinct]
    start = dict(zip(map(id, distinct), np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
    begins = [start[id(one)] for one in inputs]
    if len(distinct) == 1:
        return distinct[0], begins
    joined = {
        field: jnp.concatenate([getattr(one, field) for one in distinct])
        for field in ("records", "shifts", "teacher_logits")
    }
    return distinct[0].replace(**joined), begins


def _inputs_prefix(common: Any, own: Any) -> Inputs:
    """What holds for the inputs that networks have in common, and what for the numbers in them, as a prefix of both."""
    shared = {field.name: common for field in dataclasses.fields(Inputs)}
    return Inputs(**{**shared, "numbers": own})


class Together:
    """The steps of compatible runs, taken at once; see `run.Dispatcher`.

    The state has a leading axis of networks. Where they cannot be shared out evenly over the devices, the last one
    fills up the rest, and what its copies learn is thrown away.
    """

    def __init__(self, runs: Sequence[Run]):
        self._runs, self._run = tuple(runs), runs[0]
        self.networks = len(runs)
        self.stride = steps_per_dispatch(self._run)
        devices = len(self._run.spec.parallel.devices)
        self._padding = -self.networks % devices
        self._shared: dict[Any, Any] = {} if self._run.compiled_steps is None else self._run.compiled_steps
        self._compiled: dict[int, Any] = {}
        self._order_epoch = -1
        self._order: Any = None

    def begin(self, state: TrainState, step: int, last: int) -> TrainState:
        state = self.place(state)
        plan = stream.dispatches(step, last, self._run.steps_per_epoch, self.stride)
        for count in sorted({planned.size for planned in plan}):
            key = program_key(self._run.spec, count, self._run.records_per_epoch, state, self._inputs)
            if key not in self._shared:
                self._shared[key] = self._compile(count, state)
            self._compiled[count] = self._shared[key]
        return state

    def place(self, state: TrainState) -> TrainState:
        """Puts what the networks read on the devices; returns the state there."""
        inputs, self._begins = join_inputs([run.inputs for run in self._runs])
        self._inputs = self._run.spec.parallel.replicate(inputs).replace(
            numbers=self._spread([run.step_inputs.numbers for run in self._runs])
        )
        return self._spread(unstack(jax.tree.map(np.asarray, state), self.networks))

    def take(self, state: TrainState, planned: stream.Dispatch) -> TrainState:
        if planned.epoch != self._order_epoch:
            self._order, self._order_epoch = self._orders(planned.epoch), planned.epoch
        return self._compiled[planned.size](state, self._inputs, self._order)

    def gather(self, state: TrainState) -> TrainState:
        # Real copies: on a CPU a host view shares the buffer that the next step overwrites.
        return jax.tree.map(lambda leaf: np.array(leaf)[: self.networks], state)

    def end_epoch(self, state: TrainState, history: list[dict[str, Any]], ended: Ended) -> TrainState:
        rows, states = [], []
        for i, (run, one) in enumerate(zip(self._runs, unstack(self.gather(state), self.networks), strict=True)):
            own = _of(history, i)
            states.append(end_epoch(run, one, own, ended))
            rows.append(own[-1])
        loss = sum(row["loss"] for row in rows) / len(rows)
        history.append({"epoch": ended.epoch, "loss": loss, "networks": rows})
        return self._spread(states)

    def close(self) -> None:
        pass

    def _spread(self, each: Sequence[Any]) -> Any:
        """Stacks trees of the networks and shares them out over the devices."""
        return self._run.spec.parallel.shard_networks(stack([*each, *[each[-1]] * self._padding]))

    def _orders(self, epoch: int) -> Any:
        """Each network's own order of its own records, (networks, records of whole batches)."""
        return self._spread(
            [np.asarray(run.order(epoch)) + begin for run, begin in zip(self._runs, self._begins, strict=True)]
        )

    def program(self, count: int) -> Any:
        """Returns `count` steps of all networks, not compiled yet: (state, inputs, orders) -> state."""
        spec, parallel = self._run.spec, self._run.spec.parallel
        function = steps.make_steps(spec, count, shared=False)
        networks = (self.networks + self._padding) // len(parallel.devices)
        return parallel.transform_networks(function, networks, _inputs_prefix)

    def arguments(self, state: TrainState) -> tuple[Any, ...]:
        """Returns what `program` is called with, for a state that is `place`d."""
        return state, self._inputs, self._orders(0)

    def _compile(self, count: int, state: TrainState) -> Any:
        started = time.monotonic()
        compiled = self.program(count).lower(*self.arguments(state)).compile()
        seconds = time.monotonic() - started
        name = f"{self._run.name} and {self.networks - 1} more"
        logger.info("%s: compiled %d step(s) a dispatch in %.1f s", name, count, seconds)
        return compiled
