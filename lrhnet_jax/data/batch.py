"""What a step sees: networks with the leads they read, the windows that it draws, and the batch that is made of them.

All of it is pure: what a step draws is a function of the run's key and the step, wherever it is computed.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from lrhnet_jax.data.store import Store, cut_windows, random_shifts
from lrhnet_jax.models import Output

Change = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]


@dataclasses.dataclass(frozen=True)
class LeadNetwork:
    """A network and the columns of the 12-lead window that it reads."""

    model: nn.Module
    columns: tuple[int, ...]

    def read(self, signal: jax.Array) -> jax.Array:
        """Returns this network's leads of a window (batch, time, all leads), as float32."""
        if self.columns != tuple(range(signal.shape[-1])):
            signal = jnp.stack([signal[..., column] for column in self.columns], axis=-1)
        return signal.astype(jnp.float32)


def predict(lead_network: LeadNetwork, variables: Any, signal: jax.Array, demographics: jax.Array) -> Output:
    """Returns a network's output in evaluation mode for windows (batch, time, all leads)."""
    output: Any = lead_network.model.apply(variables, lead_network.read(signal), demographics, train=False)
    return output


def predict_logits(lead_network: LeadNetwork, variables: Any, signal: jax.Array, demographics: jax.Array) -> jax.Array:
    """Returns a network's logits (batch, classes) in evaluation mode for windows (batch, time, all leads)."""
    return predict(lead_network, variables, signal, demographics).logits


class Batch(flax.struct.PyTreeNode):
    """What one step sees.

    Attributes:
      signal: (batch, window, all leads).
      demographics: (batch, 5) float32.
      labels: (batch, classes) float32.
      teacher_logits: (teachers, batch, classes) float32; no teachers: (0, batch, classes).
      seen: what the distillation method sees besides, all but the student's output; None without one.
    """

    signal: jax.Array
    demographics: jax.Array
    labels: jax.Array
    teacher_logits: jax.Array
    method_inputs: Any = None


class StepNumbers(flax.struct.PyTreeNode):
    """What networks may differ in that share a compiled step: arguments of the step, not constants of its program.

    Attributes:
      weights: (teachers,), of the teachers' logits; and so alpha, kl_weight, temperature, as of `losses.distillation`;
        a kl_weight of None is 1 - alpha.
      rate: what the optimiser's updates are multiplied by.
      key: (2,) uint32, the data of the run's key, which drives draws and dropout.
    """

    weights: Any = ()
    alpha: Any = 0.3
    kl_weight: Any = None
    temperature: Any = 7.0
    rate: Any = 1.0
    key: Any = None

    def traced(self, key: jax.Array) -> "StepNumbers":
        """Returns the numbers as float32 arrays, with the run's key: what a step takes."""
        kl_weight = 1 - self.alpha if self.kl_weight is None else self.kl_weight
        numbers = (self.weights, self.alpha, kl_weight, self.temperature, self.rate)
        weights, alpha, kl_weight, temperature, rate = (jnp.asarray(number, jnp.float32) for number in numbers)
        return StepNumbers(weights, alpha, kl_weight, temperature, rate, jax.random.key_data(key))


class Inputs(flax.struct.PyTreeNode):
    """All that training reads, on the device.

    Attributes:
      store: the data set.
      records: (n,) int32, the training records' rows in the store.
      shifts: (n, K) int32, each record's K fixed window positions; K = 0: a fresh random window at every draw.
      teacher_logits: (n, K, teachers, classes) precomputed on those windows; or (n, 0, ...) to compute in the step.
      teachers: variables of the teachers, () when their logits are precomputed.
      numbers: of the one that is trained of the networks that share the compiled step; None until training begins.
    """

    store: Store
    records: jax.Array
    shifts: jax.Array
    teacher_logits: jax.Array
    teachers: Any = ()
    numbers: StepNumbers | None = None


def plain_inputs(store: Store, records: Any, shifts: Any = None) -> Inputs:
    """Returns what a network reads that learns from labels alone.

    Args:
      records: (n,) whole numbers, the training records' rows in the store.
      shifts: (n, K) int32, each record's fixed windows; None: a fresh random window at every draw.
    """
    n = len(records)
    return Inputs(
        store=store,
        records=jnp.asarray(records, jnp.int32),
        shifts=jnp.zeros((n, 0), jnp.int32) if shifts is None else shifts,
        teacher_logits=jnp.zeros((n, 0, 0, store.labels.shape[1])),
    )


class Draw(flax.struct.PyTreeNode):
    """Which windows a batch is made of, (batch,) int32 each.

    Attributes:
      rows: rows of `inputs.records`.
      window: which of the record's fixed windows; 0 where there are none.
      start: the window's position, as `store.cut_windows` takes it.
    """

    rows: jax.Array
    window: jax.Array
    start: jax.Array


def draw_windows(inputs: Inputs, rows: jax.Array, key: jax.Array, window: int) -> Draw:
    """Draws a window of each picked training record: one of its fixed ones, or a fresh one."""
    count = inputs.shifts.shape[1]
    if count:
        which = jax.random.randint(key, rows.shape, 0, count)
        return Draw(rows, which, inputs.shifts[rows, which])
    lengths = inputs.store.lengths[inputs.records[rows]]
    return Draw(rows, jnp.zeros_like(rows), random_shifts(key, lengths, window, 1)[:, 0])


def make_batch(
    inputs: Inputs,
    draw: Draw,
    teachers: Sequence[LeadNetwork],
    window: int,
    teacher: int = 0,
    signal: jax.Array | None = None,
    change: Change | None = None,
) -> tuple[Batch, Output | None]:
    """Cuts the drawn windows, changes them, and fetches or computes the teachers' logits on them.

    Args:
      teachers: the networks of `inputs.teachers`, in the order of the distillation weights.
      teacher: the place of one of them.
      signal: the drawn windows (batch, window, leads), where they were cut on the host.
      change: what is done to signal, demographics and labels before any network sees them. Precomputed logits are those
        of unchanged windows.

    Returns:
      The batch, and that teacher's output on it; None if the logits are precomputed.
    """
    store, rows, start = inputs.store, draw.rows, draw.start
    index = inputs.records[rows]
    signal = cut_windows(store, index, start, window) if signal is None else signal
    demographics, labels = store.demographics[index], store.labels[index]
    if change:
        signal, demographics, labels = change(signal, demographics, labels)
    taught = None
    if inputs.teacher_logits.shape[1]:
        logits = jnp.swapaxes(inputs.teacher_logits[rows, draw.window], 0, 1)
    elif inputs.teachers:
        pairs = zip(teachers, inputs.teachers, strict=True)
        outputs = [predict(lead_network, v, signal, demographics) for lead_network, v in pairs]
        logits = jnp.stack([output.logits for output in outputs])
        taught = lax.stop_gradient(outputs[teacher])
    else:
        logits = jnp.zeros((0, *rows.shape, store.labels.shape[1]))
    return Batch(signal, demographics, labels, lax.stop_gradient(logits)), taught


@functools.partial(jax.jit, static_argnums=(2, 3))
def epoch_order(key: jax.Array, epoch: jax.Array, n: int, count: int | None = None) -> jax.Array:
    """Returns the first `count` of n training records, or all, in the order of an epoch, (count,) int32.

    A function of the key and the epoch.
    """
    return jax.random.permutation(jax.random.fold_in(key, epoch), n)[:count].astype(jnp.int32)


def fill_up(inputs: Inputs, rows: int) -> Inputs:
    """Returns inputs with `rows` records, of which those behind the present ones are not to be drawn."""

    def longer(leaf: jax.Array) -> jax.Array:
        return jnp.pad(leaf, ((0, rows - len(leaf)), *((0, 0),) * (leaf.ndim - 1)))

    if rows == len(inputs.records):
        return inputs
    fields = ("records", "shifts", "teacher_logits")
    return inputs.replace(**{field: longer(getattr(inputs, field)) for field in fields})


def step_keys(key: jax.Array, step: jax.Array) -> tuple[jax.Array, ...]:
    """Returns a step's keys for its windows, for dropout, and for the distillation method."""
    return tuple(jax.random.split(jax.random.fold_in(key, step), 3))


def draw_step(inputs: Inputs, order: jax.Array, step: jax.Array, key: jax.Array, batch_size: int, window: int) -> Draw:
    """Returns the whole batch that a step draws, wherever it is computed: a function of the key and the step."""
    place = step % (len(order) // batch_size)
    rows = lax.dynamic_slice_in_dim(order, place * batch_size, batch_size)
    return draw_windows(inputs, rows, step_keys(key, step)[0], window)


def draw_epoch(
    inputs: Inputs, order: jax.Array, epoch: jax.Array, key: jax.Array, batch_size: int, window: int
) -> Draw:
    """Returns what each step of an epoch draws, (steps, batch), for who cuts their windows ahead of time."""
    count = len(order) // batch_size
    steps = epoch * count + jnp.arange(count)
    return jax.vmap(lambda step: draw_step(inputs, order, step, key, batch_size, window))(steps)
