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
from lrhnet_jax.models import Output
from lrhnet_jax.state import Auxiliary, TrainState

METRICS = ("loss", "bce", "kl")
EPOCHS = 2**31 - 1  # folded into a run's key it starts the epochs' keys; no step has this number
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
    """How a student learns from labels and teachers.

    Attributes:
      weights: of the teachers; none: it learns from labels alone.
      alpha, temperature, t_squared, kind, kl_weight: as of `losses.distillation`.
      method: what it learns beyond labels and logits, if anything.
      teacher: the place among the teachers of the one whose features the method reads.
      epochs: of the run, for methods that change with them.
      labels: "independent" (BCE), or "exclusive", one class a record (cross-entropy).
    """

    weights: tuple[float, ...] = ()
    alpha: float = 0.3
    temperature: float = 7.0
    t_squared: bool = False
    kind: str = "softmax"
    kl_weight: float | None = None
    method: losses.Method | None = None
    teacher: int = 0
    epochs: int = 1
    labels: str = "independent"

    @property
    def exclusive(self) -> bool:
        return self.labels == "exclusive"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of what a step logs."""
        return METRICS + (self.method.metrics if self.method else ())


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
    seen: Any = None


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

    method, memory = distillation.method, state.auxiliary.memory

    def loss_fn(params: Any, own_params: Any) -> tuple[jax.Array, tuple[dict[str, jax.Array], Any, losses.Result]]:
        output, mutated = reader.model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            reader.read(batch.signal),
            batch.demographics,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        targets = batch.labels
        if method:
            seen = batch.seen.replace(student=output)
            targets = method.targets(memory, seen)
        base, parts = _base_loss(output.logits, targets, batch.teacher_logits, distillation)
        result = losses.Result(base, {}, memory, {})
        if method:
            own = {"params": own_params, "batch_stats": state.auxiliary.batch_stats}
            result = method.loss(base, own, memory, seen)
        metrics = {"loss": result.loss, **parts, **result.metrics}
        return result.loss, (metrics, mutated["batch_stats"], result)

    gradients = jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)
    (_, (metrics, batch_stats, result)), (grads, own_grads) = gradients(state.params, state.auxiliary.params)
    if axis_name is not None:
        grads, own_grads, metrics = lax.pmean((grads, own_grads, metrics), axis_name)
    params, opt_state = _update(optimizer, grads, state.opt_state, state.params)
    own_params, own_opt_state = _update(optimizer, own_grads, state.auxiliary.opt_state, state.auxiliary.params)
    return state.replace(
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        totals={name: total + metrics[name] for name, total in state.totals.items()},
        auxiliary=Auxiliary(own_params, result.batch_stats, own_opt_state, result.memory),
    )


def _base_loss(
    logits: jax.Array, targets: jax.Array, teacher_logits: jax.Array, distillation: Distillation
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss against targets and teachers' logits, and its parts by name."""
    supervised = losses.cross_entropy if distillation.exclusive else losses.bce
    if not distillation.weights:
        loss = supervised(logits, targets)
        return loss, {"bce": loss, "kl": jnp.zeros_like(loss)}
    return losses.distillation(
        logits,
        targets,
        teacher_logits,
        jnp.asarray(distillation.weights, logits.dtype),
        alpha=distillation.alpha,
        temperature=distillation.temperature,
        t_squared=distillation.t_squared,
        kind=distillation.kind,
        kl_weight=distillation.kl_weight,
        supervised=supervised,
    )


def _update(optimizer: optax.GradientTransformation, grads: Any, opt_state: Any, params: Any) -> tuple[Any, Any]:
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def predict(reader: Reader, variables: Any, signal: jax.Array, demographics: jax.Array) -> Output:
    """Returns a network's output in evaluation mode for windows (batch, time, all leads)."""
    output: Any = reader.model.apply(variables, reader.read(signal), demographics, train=False)
    return output


def predict_logits(reader: Reader, variables: Any, signal: jax.Array, demographics: jax.Array) -> jax.Array:
    """Returns a network's logits (batch, classes) in evaluation mode for windows (batch, time, all leads)."""
    return predict(reader, variables, signal, demographics).logits


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
    inputs: Inputs,
    draw: Draw,
    teachers: Sequence[Reader],
    window: int,
    teacher: int = 0,
    signal: jax.Array | None = None,
) -> tuple[Batch, Output | None]:
    """Cuts the drawn windows, and fetches or computes the teachers' logits on them.

    Args:
      teachers: the networks of `inputs.teachers`, in the order of the distillation weights.
      teacher: the place of one of them.
      signal: the drawn windows (batch, window, leads), where they were cut on the host.

    Returns:
      The batch, and that teacher's output on it; None if the logits are precomputed.
    """
    store, picks, shift = inputs.store, draw.picks, draw.shift
    index = inputs.records[picks]
    signal = windows.cut_windows(store, index, shift, window) if signal is None else signal
    demographics = store.demographics[index]
    taught = None
    if inputs.teacher_logits.shape[1]:
        logits = jnp.swapaxes(inputs.teacher_logits[picks, draw.which], 0, 1)
    elif inputs.teachers:
        pairs = zip(teachers, inputs.teachers, strict=True)
        outputs = [predict(reader, v, signal, demographics) for reader, v in pairs]
        logits = jnp.stack([output.logits for output in outputs])
        taught = lax.stop_gradient(outputs[teacher])
    else:
        logits = jnp.zeros((0, *picks.shape, store.labels.shape[1]))
    return Batch(signal, demographics, store.labels[index], lax.stop_gradient(logits)), taught


def init_auxiliary(
    key: jax.Array,
    inputs: Inputs,
    reader: Reader,
    teachers: Sequence[Reader],
    distillation: Distillation,
    variables: Any,
    batch_size: int,
    window: int,
) -> tuple[dict[str, Any], Any]:
    """Returns the variables and the memory of the distillation method before the first step, for `state.create`.

    Args:
      reader, variables: the student.

    Raises:
      ValueError: if the networks or the batch do not suit the method.
    """

    if not distillation.method:
        return {}, ()
    rows = jnp.zeros(batch_size, jnp.int32)
    draw = Draw(rows, rows, rows)

    def shapes(variables: Any, inputs: Inputs) -> losses.Seen:
        signal = jnp.zeros((batch_size, window, inputs.store.signals.shape[1]), jnp.float16)
        batch, taught = make_batch(inputs, draw, teachers, window, distillation.teacher, signal)
        seen = _seen(inputs, draw, batch, taught, distillation, key, key, jnp.int32(1))
        return seen.replace(student=predict(reader, variables, batch.signal, batch.demographics))

    seen = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(shapes, variables, inputs))
    return distillation.method.init(key, seen.replace(all_labels=inputs.store.labels[inputs.records]))


def _seen(
    inputs: Inputs,
    draw: Draw,
    batch: Batch,
    taught: Output | None,
    distillation: Distillation,
    step_key: jax.Array,
    run_key: jax.Array,
    epoch: jax.Array,
) -> losses.Seen:
    return losses.Seen(
        student=None,
        teacher=taught,
        labels=batch.labels,
        rows=draw.picks,
        all_labels=inputs.store.labels[inputs.records],
        key=step_key,
        epoch_key=jax.random.fold_in(jax.random.fold_in(run_key, EPOCHS), epoch),
        epoch=epoch,
        epochs=distillation.epochs,
        exclusive=distillation.exclusive,
    )


def epoch_order(key: jax.Array, epoch: jax.Array, n: int) -> jax.Array:
    """Returns the order of the n training records in an epoch, (n,) int32: a function of the key and the epoch."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), n).astype(jnp.int32)


def step_keys(key: jax.Array, step: jax.Array) -> tuple[jax.Array, ...]:
    """Returns a step's keys for its windows, for dropout, and for the distillation method."""
    return tuple(jax.random.split(jax.random.fold_in(key, step), 3))


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
        per_epoch = len(order) // batch_size
        place, epoch = state.step % per_epoch, state.step // per_epoch + 1
        _, dropout_key, method_key = step_keys(key, state.step)
        draw = share(draw_step(inputs, order, state.step, key, batch_size, window))
        batch, taught = make_batch(inputs, draw, teachers, window, distillation.teacher, signal)
        if distillation.method:
            batch = batch.replace(seen=_seen(inputs, draw, batch, taught, distillation, method_key, key, epoch))
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
