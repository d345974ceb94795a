"""Pure steps: arrays in, arrays out. They know no files and no config, and run the same under jit, pmap or a mesh."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import lax

from lrhnet_jax import losses, windows
from lrhnet_jax.state import TrainState

METRICS = ("loss", "bce", "kl")
Steps = Callable[[TrainState, "Inputs", jax.Array, jax.Array | None], TrainState]


@dataclasses.dataclass(frozen=True)
class Reader:
    """A network and the columns of the 12-lead window that it reads."""

    model: nn.Module
    columns: tuple[int, ...]

    def read(self, signal: jax.Array) -> jax.Array:
        """Returns this network's leads of a window (batch, time, all leads), as float32."""
        if self.columns != tuple(range(signal.shape[-1])):
            signal = jnp.stack([signal[..., column] for column in self.columns], axis=-1)
        return signal.astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Distillation:
    """How a student learns from its teachers; see `losses.distillation`. No weights: from labels alone."""

    weights: tuple[float, ...] = ()
    alpha: float = 0.3
    temperature: float = 7.0
    t_squared: bool = False
    kind: str = "softmax"


class Batch(flax.struct.PyTreeNode):
    """What one step sees.

    Attributes:
      signal: (batch, window, all leads).
      demographics: (batch, 5) float32.
      labels: (batch, classes) float32.
      teacher_logits: (teachers, batch, classes) float32; no teachers: (0, batch, classes).
    """

    signal: jax.Array
    demographics: jax.Array
    labels: jax.Array
    teacher_logits: jax.Array


def train_step(
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    *,
    reader: Reader,
    optimizer: optax.GradientTransformation,
    distillation: Distillation,
    axis_name: str | None = None,
) -> TrainState:
    """Takes one optimiser step on `batch` and adds its metrics to `state.totals`; `key` drives dropout.

    With `axis_name` (pmap) the batch is one device's share: gradients and metrics are averaged over that axis, and the
    model's BatchNorm has to be given the same axis.
    """

    def loss_fn(params: Any) -> tuple[jax.Array, tuple[dict[str, jax.Array], Any]]:
        output, mutated = reader.model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            reader.read(batch.signal),
            batch.demographics,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        if distillation.weights:
            loss, parts = losses.distillation(
                output.logits,
                batch.labels,
                batch.teacher_logits,
                jnp.asarray(distillation.weights, output.logits.dtype),
                alpha=distillation.alpha,
                temperature=distillation.temperature,
                t_squared=distillation.t_squared,
                kind=distillation.kind,
            )
        else:
            loss = losses.bce(output.logits, batch.labels)
            parts = {"bce": loss, "kl": jnp.zeros_like(loss)}
        return loss, ({"loss": loss, **parts}, mutated["batch_stats"])

    (_, (metrics, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    if axis_name is not None:
        grads, metrics = lax.pmean((grads, metrics), axis_name)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    return state.replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        opt_state=opt_state,
        totals={name: total + metrics[name] for name, total in state.totals.items()},
    )


def predict_logits(reader: Reader, variables: Any, signal: jax.Array, demographics: jax.Array) -> jax.Array:
    """Returns a network's logits (batch, classes) in evaluation mode for windows (batch, time, all leads)."""
    output: Any = reader.model.apply(variables, reader.read(signal), demographics, train=False)
    return output.logits


class Inputs(flax.struct.PyTreeNode):
    """All that training reads, on the device.

    Attributes:
      store: the data set.
      records: (n,) int32, the training records' rows in the store.
      shifts: (n, K) int32, each record's K fixed window positions; K = 0: a fresh random window at every draw.
      teacher_logits: (n, K, teachers, classes) precomputed on those windows; or (n, 0, ...) to compute in the step.
      teachers: variables of the teachers, () when their logits are precomputed.
    """

    store: windows.Store
    records: jax.Array
    shifts: jax.Array
    teacher_logits: jax.Array
    teachers: Any = ()


class Draw(flax.struct.PyTreeNode):
    """Which windows a batch is made of, (batch,) int32 each.

    Attributes:
      picks: rows of `inputs.records`.
      which: of the record's fixed windows; 0 where there are none.
      shift: the window's position, as `windows.cut_windows` takes it.
    """

    picks: jax.Array
    which: jax.Array
    shift: jax.Array


def draw_windows(inputs: Inputs, picks: jax.Array, key: jax.Array, window: int) -> Draw:
    """Draws a window of each picked training record: one of its fixed ones, or a fresh one."""
    count = inputs.shifts.shape[1]
    if count:
        which = jax.random.randint(key, picks.shape, 0, count)
        return Draw(picks, which, inputs.shifts[picks, which])
    lengths = inputs.store.lengths[inputs.records[picks]]
    return Draw(picks, jnp.zeros_like(picks), windows.random_shifts(key, lengths, window, 1)[:, 0])


def make_batch(
    inputs: Inputs, draw: Draw, teachers: Sequence[Reader], window: int, signal: jax.Array | None = None
) -> Batch:
    """Cuts the drawn windows, and fetches or computes the teachers' logits on them.

    Args:
      teachers: the networks of `inputs.teachers`, in the order of the distillation weights.
      signal: the drawn windows (batch, window, leads), where they were cut on the host.
    """
    store, picks, shift = inputs.store, draw.picks, draw.shift
    index = inputs.records[picks]
    signal = windows.cut_windows(store, index, shift, window) if signal is None else signal
    demographics = store.demographics[index]
    if inputs.teacher_logits.shape[1]:
        logits = jnp.swapaxes(inputs.teacher_logits[picks, draw.which], 0, 1)
    elif inputs.teachers:
        pairs = zip(teachers, inputs.teachers, strict=True)
        logits = jnp.stack([predict_logits(reader, v, signal, demographics) for reader, v in pairs])
    else:
        logits = jnp.zeros((0, *picks.shape, store.labels.shape[1]))
    return Batch(signal, demographics, store.labels[index], lax.stop_gradient(logits))


def epoch_order(key: jax.Array, epoch: jax.Array, n: int) -> jax.Array:
    """Returns the order of the n training records in an epoch, (n,) int32: a function of the key and the epoch."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), n).astype(jnp.int32)


def step_keys(key: jax.Array, step: jax.Array) -> tuple[jax.Array, ...]:
    """Returns a step's keys for its windows and for dropout."""
    return tuple(jax.random.split(jax.random.fold_in(key, step)))


def draw_step(inputs: Inputs, order: jax.Array, step: jax.Array, key: jax.Array, batch_size: int, window: int) -> Draw:
    """Returns the whole batch that a step draws, wherever it is computed: a function of the key and the step."""
    place = step % (len(order) // batch_size)
    picks = lax.dynamic_slice_in_dim(order, place * batch_size, batch_size)
    return draw_windows(inputs, picks, step_keys(key, step)[0], window)


def draw_epoch(
    inputs: Inputs, order: jax.Array, epoch: jax.Array, key: jax.Array, batch_size: int, window: int
) -> Draw:
    """Returns what each step of an epoch draws, (steps, batch), for who cuts their windows ahead of time."""
    count = len(order) // batch_size
    steps = epoch * count + jnp.arange(count)
    return jax.vmap(lambda step: draw_step(inputs, order, step, key, batch_size, window))(steps)


def make_steps(
    batch_size: int,
    window: int,
    count: int,
    key: jax.Array,
    reader: Reader,
    teachers: Sequence[Reader],
    optimizer: optax.GradientTransformation,
    distillation: Distillation,
    share: Callable[[Draw], Draw] = lambda draw: draw,
    axis_name: str | None = None,
) -> Steps:
    """Returns the pure function (state, inputs, order, signals) -> state that takes `count` steps.

    `order` is `epoch_order`'s; a step reads its place in the epoch from `state.step`. What does not fill a batch at the
    end of an epoch is left out, other records in every epoch. `signals` are the windows of the steps' draws, (count,
    batch, window, leads), or None, to cut them from the store.

    Args:
      share: picks a device's part of the batch, or says how the batch is laid out over devices; see `sharding`.
      axis_name: the pmap axis, if any.
    """

    def step(state: TrainState, inputs: Inputs, order: jax.Array, signal: jax.Array | None) -> TrainState:
        draw = share(draw_step(inputs, order, state.step, key, batch_size, window))
        batch = make_batch(inputs, draw, teachers, window, signal)
        place, (_, dropout_key) = state.step % (len(order) // batch_size), step_keys(key, state.step)
        # An epoch's metrics start at zero, so that an interrupted epoch resumes with what it had summed.
        state = state.replace(totals={name: jnp.where(place == 0, 0, total) for name, total in state.totals.items()})
        if axis_name is not None:
            dropout_key = jax.random.fold_in(dropout_key, lax.axis_index(axis_name))
        return train_step(
            state,
            batch,
            dropout_key,
            reader=reader,
            optimizer=optimizer,
            distillation=distillation,
            axis_name=axis_name,
        )

    def steps(state: TrainState, inputs: Inputs, order: jax.Array, signals: jax.Array | None = None) -> TrainState:
        if count == 1:
            return step(state, inputs, order, None if signals is None else signals[0])
        return lax.scan(lambda s, signal: (step(s, inputs, order, signal), None), state, signals, length=count)[0]

    return steps
