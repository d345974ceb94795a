"""The networks that the benchmarks of accelerators train, as steps to run: on noise, with the data on the devices."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import recipe
from lrhnet_jax import models
from lrhnet_jax.data.batch import Inputs, LeadNetwork, StepNumbers
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.data.store import Store, make_store
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.runtime.devices import Parallel
from lrhnet_jax.tasks import physionet2020
from lrhnet_jax.training import optim, steps
from lrhnet_jax.training.state import TrainState, create_state, init_variables

SAMPLES = 2570  # of a record: ten seconds at 257 Hz


class Case(NamedTuple):
    """A network to train.

    Attributes:
      model, leads: what it is, and how many leads it reads.
      teachers: model and leads of each.
      precomputed: the teachers' logits are there before the step.
    """

    model: str
    leads: int
    teachers: tuple[tuple[str, int], ...] = ()
    precomputed: bool = False


CASES = {
    "lrhnet": Case("lrhnet", 12),
    "seresnet": Case("seresnet", 12),
    "pmlkd": Case("lrhnet", 2, (("seresnet", 12), ("seresnet", 2))),
    "pmlkd_precomputed": Case("lrhnet", 2, (("seresnet", 12), ("seresnet", 2)), precomputed=True),
}


@functools.cache
def noise(records: int, window: int, seed: int = 0) -> Store:
    """Returns a store of random records with random labels; networks and dtypes share it."""
    rng = np.random.default_rng(seed)
    signals = [rng.normal(size=(SAMPLES, len(LEADS))).astype(np.float16) for _ in range(records)]
    labels = rng.random((records, len(physionet2020.CLASSES))) < 0.1
    return make_store(Dataset.from_arrays(signals, labels), window)


@functools.cache
def initial(model: str, leads: int, window: int, seed: int) -> dict[str, Any]:
    """Returns fresh variables; all settings of a network start from the same."""
    return init_variables(models.create(model, leads), jax.random.key(seed), leads, window)


def operations(case: Case, window: int) -> float:
    """Returns the operations of a training step on one window."""

    def forward(model: str, leads: int) -> float:
        return 2.0 * models.multiply_accumulates(model, leads, window)

    taught = 0 if case.precomputed else sum(forward(*teacher) for teacher in case.teachers)
    return 3 * forward(case.model, case.leads) + taught


# Training steps, as a function, lowered or compiled; the state before the first one; inputs and order.
Prepared = tuple[Any, TrainState, tuple[Inputs, jax.Array]]


def _steps(case: Case, parallel: Parallel, batch: int, window: int, dtype: str, dispatch: int) -> Prepared:
    def lead_network(model: str, leads: int) -> LeadNetwork:
        network = models.create(model, leads, dtype=dtype, axis_name=parallel.axis_name)
        return LeadNetwork(network, tuple(range(leads)))

    in_step = () if case.precomputed else case.teachers
    optimizer = optim.make(recipe.OPTIMIZER, steps_per_epoch=1)
    numbers = StepNumbers(weights=(1 / len(case.teachers),) * len(case.teachers) if case.teachers else ())
    store, fixed = noise(batch, window), int(case.precomputed)
    inputs = parallel.replicate(
        Inputs(
            store=store,
            records=jnp.arange(batch, dtype=jnp.int32),
            shifts=jnp.zeros((batch, fixed), jnp.int32),
            teacher_logits=jnp.zeros((batch, fixed, len(case.teachers) * fixed, store.labels.shape[1])),
            teachers=tuple(initial(*teacher, window, seed) for seed, teacher in enumerate(in_step, 1)),
            numbers=numbers.traced(jax.random.key(7)),
        )
    )
    order = parallel.replicate(jnp.arange(batch, dtype=jnp.int32))
    state = parallel.replicate_state(create_state(initial(case.model, case.leads, window, 0), optimizer, steps.METRICS))
    spec = steps.StepSpec(
        lead_network(case.model, case.leads),
        optimizer,
        batch,
        window,
        tuple(lead_network(*teacher) for teacher in in_step),
        parallel=parallel,
    )
    return steps.make_steps(spec, dispatch), state, (inputs, order)


def lower_steps(case: Case, parallel: Parallel, batch: int, window: int, dtype: str, dispatch: int) -> Prepared:
    """Traces `dispatch` training steps, for what compiles them elsewhere."""
    function, state, inputs = _steps(case, parallel, batch, window, dtype, dispatch)
    return parallel.transform(function).lower(state, *inputs, None), state, inputs


def compile_steps(case: Case, parallel: Parallel, batch: int, window: int, dtype: str, dispatch: int) -> Prepared:
    """Compiles `dispatch` training steps."""
    function, state, inputs = _steps(case, parallel, batch, window, dtype, dispatch)
    return parallel.compile(function, state, inputs[0], batch), state, inputs


def per_dispatch(count: int) -> int:
    """Returns how many of `count` steps are one dispatch: all, but on CPUs one."""
    return 1 if jax.default_backend() == "cpu" else count


def make_run(case: Case, parallel: Parallel, batch: int, window: int, dtype: str, count: int) -> Callable[[], float]:
    """Returns a function that takes `count` steps, in one dispatch but on CPUs, and returns the last one's loss."""
    dispatch = per_dispatch(count)
    return runner(parallel, compile_steps(case, parallel, batch, window, dtype, dispatch), count // dispatch)


def runner(parallel: Parallel, compiled: Prepared, dispatches: int) -> Callable[[], float]:
    """Returns a function that runs compiled steps so many times, and returns the last one's loss."""
    function, state, inputs = compiled

    def run() -> float:
        nonlocal state
        for _ in range(dispatches):
            state = function(state, *inputs, None)
            jax.block_until_ready(state.step)  # as the training loop does
        return float(parallel.unreplicate(state).totals["loss"])

    return run
