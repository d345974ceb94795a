"""Pure steps: arrays in, arrays out. They know no files and no config, and run the same under jit, pmap or a mesh."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from lrhnet_jax import losses
from lrhnet_jax.data.batch import (
    Batch,
    Draw,
    Inputs,
    LeadNetwork,
    StepNumbers,
    draw_step,
    make_batch,
    predict,
    step_keys,
)
from lrhnet_jax.models import Output
from lrhnet_jax.training.state import Auxiliary, TrainState

EPOCH_KEY_TAG = 2**31 - 1  # folded into a run's key it starts the epochs' keys; no step has this number
Steps = Callable[[TrainState, Inputs, jax.Array, jax.Array | None], TrainState]


@dataclasses.dataclass(frozen=True)
class Distillation:
    """How a student learns from labels and teachers. Numbers may be traced arrays; see `batch.StepNumbers`.

    Attributes:
      weights: of the teachers; none: it learns from labels alone.
      alpha, temperature, t_squared, kind, kl_weight: as of `losses.distillation`.
      method: what it learns beyond labels and logits, if anything.
      teacher: the place among the teachers of the one whose features the method reads.
      epochs: of the run, for methods that change with them.
      labels: "independent" (BCE), or "exclusive", one class a record (cross-entropy).
    """

    weights: Any = ()
    alpha: Any = 0.3
    temperature: Any = 7.0
    t_squared: bool = False
    kind: str = "softmax"
    kl_weight: Any = None
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
        return ("loss", self.supervised.__name__, "kl", *(self.method.metrics if self.method else ()))

    @property
    def supervised(self) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """The loss against labels; its name is that of the metric."""
        return losses.cross_entropy if self.exclusive else losses.bce

    def numbers(self, key: jax.Array, rate: float = 1.0) -> StepNumbers:
        """Returns the numbers as arguments of a step, with the run's key and the factor of the optimiser's updates."""
        kl_weight = 1 - self.alpha if self.kl_weight is None else self.kl_weight
        numbers = (self.weights, self.alpha, kl_weight, self.temperature, rate)
        return StepNumbers(jax.random.key_data(key), *(jnp.asarray(number, jnp.float32) for number in numbers))

    def of(self, numbers: StepNumbers) -> "Distillation":
        """Returns this with a numbers's numbers."""
        fields = ("weights", "alpha", "kl_weight", "temperature")
        return dataclasses.replace(self, **{field: getattr(numbers, field) for field in fields})


METRICS = Distillation().metrics  # of independent labels, without a method


def train_step(
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    *,
    lead_network: LeadNetwork,
    optimizer: optax.GradientTransformation,
    distillation: Distillation,
    axis_name: str | None = None,
    rate: jax.Array | float = 1.0,
) -> TrainState:
    """Takes one optimiser step on `batch` and adds its metrics to `state.totals`; `key` drives dropout.

    The optimiser's updates are multiplied by `rate`.
    With `axis_name` (pmap) the batch is one device's share: gradients and metrics are averaged over that axis, and the
    model's BatchNorm has to be given the same axis.
    """

    method, memory = distillation.method, state.auxiliary.memory

    def loss_fn(params: Any, own_params: Any) -> tuple[jax.Array, tuple[dict[str, jax.Array], Any, losses.Result]]:
        output, mutated = lead_network.model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            lead_network.read(batch.signal),
            batch.demographics,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        targets = batch.labels
        if method:
            seen = batch.method_inputs.replace(student=output)
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
    params, opt_state = _update(optimizer, rate, grads, state.opt_state, state.params)
    own_params, own_opt_state = _update(optimizer, rate, own_grads, state.auxiliary.opt_state, state.auxiliary.params)
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
    supervised = distillation.supervised
    if not len(distillation.weights):
        loss = supervised(logits, targets)
        return loss, {supervised.__name__: loss, "kl": jnp.zeros_like(loss)}
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


def _update(
    optimizer: optax.GradientTransformation, rate: jax.Array | float, grads: Any, opt_state: Any, params: Any
) -> tuple[Any, Any]:
    updates, opt_state = optimizer.update(grads, opt_state, params)
    updates = jax.tree.map(lambda update: rate * update, updates)
    return optax.apply_updates(params, updates), opt_state


def init_auxiliary(
    key: jax.Array,
    inputs: Inputs,
    lead_network: LeadNetwork,
    teachers: Sequence[LeadNetwork],
    distillation: Distillation,
    variables: Any,
    batch_size: int,
    window: int,
) -> tuple[dict[str, Any], Any]:
    """Returns the variables and the memory of the distillation method before the first step, for `state.create_state`.

    Args:
      lead_network, variables: the student.

    Raises:
      ValueError: if the networks or the batch do not suit the method.
    """

    if not distillation.method:
        return {}, ()
    rows = jnp.zeros(batch_size, jnp.int32)
    draw = Draw(rows, rows, rows)

    def shapes(variables: Any, inputs: Inputs) -> losses.MethodInputs:
        signal = jnp.zeros((batch_size, window, inputs.store.signals.shape[1]), jnp.float16)
        batch, taught = make_batch(inputs, draw, teachers, window, distillation.teacher, signal)
        seen = _method_inputs(inputs, draw, batch, taught, distillation, key, key, jnp.int32(1))
        return seen.replace(student=predict(lead_network, variables, batch.signal, batch.demographics))

    seen = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(shapes, variables, inputs))
    return distillation.method.init(key, seen.replace(all_labels=inputs.store.labels[inputs.records]))


def _method_inputs(
    inputs: Inputs,
    draw: Draw,
    batch: Batch,
    taught: Output | None,
    distillation: Distillation,
    step_key: jax.Array,
    run_key: jax.Array,
    epoch: jax.Array,
) -> losses.MethodInputs:
    return losses.MethodInputs(
        student=None,
        teacher=taught,
        labels=batch.labels,
        rows=draw.rows,
        all_labels=inputs.store.labels[inputs.records],
        key=step_key,
        epoch_key=jax.random.fold_in(jax.random.fold_in(run_key, EPOCH_KEY_TAG), epoch),
        epoch=epoch,
        epochs=distillation.epochs,
        exclusive=distillation.exclusive,
    )


def make_steps(
    batch_size: int,
    window: int,
    count: int,
    lead_network: LeadNetwork,
    teachers: Sequence[LeadNetwork],
    optimizer: optax.GradientTransformation,
    distillation: Distillation,
    share: Callable[[Draw], Draw] = lambda draw: draw,
    axis_name: str | None = None,
) -> Steps:
    """Returns the pure function (state, inputs, order, signals) -> state that takes `count` steps.

    `order` is `epoch_order`'s; a step reads its place in the epoch from `state.step`. What does not fill a batch at the
    end of an epoch is left out, other records in every epoch. `signals` are the windows of the steps' draws, (count,
    batch, window, leads), or None, to cut them from the store.

    The run's key and the numbers of `distillation` are those of `inputs.numbers`: the steps train any network that
    differs in these alone.

    Args:
      share: picks a device's part of the batch, or says how the batch is laid out over devices; see `devices`.
      axis_name: the pmap axis, if any.
    """

    def step(state: TrainState, inputs: Inputs, order: jax.Array, signal: jax.Array | None) -> TrainState:
        per_epoch = len(order) // batch_size
        place, epoch = state.step % per_epoch, state.step // per_epoch + 1
        numbers = inputs.numbers
        assert numbers is not None, "inputs.numbers is not set: take Distillation.numbers"
        run_key, told = jax.random.wrap_key_data(numbers.key), distillation.of(numbers)
        _, dropout_key, method_key = step_keys(run_key, state.step)
        draw = share(draw_step(inputs, order, state.step, run_key, batch_size, window))
        batch, taught = make_batch(inputs, draw, teachers, window, distillation.teacher, signal)
        if distillation.method:
            batch = batch.replace(
                method_inputs=_method_inputs(inputs, draw, batch, taught, told, method_key, run_key, epoch)
            )
        # An epoch's metrics start at zero, so that an interrupted epoch resumes with what it had summed.
        state = state.replace(totals={name: jnp.where(place == 0, 0, total) for name, total in state.totals.items()})
        if axis_name is not None:
            dropout_key = jax.random.fold_in(dropout_key, lax.axis_index(axis_name))
        return train_step(
            state,
            batch,
            dropout_key,
            lead_network=lead_network,
            optimizer=optimizer,
            distillation=told,
            axis_name=axis_name,
            rate=numbers.rate,
        )

    def steps(state: TrainState, inputs: Inputs, order: jax.Array, signals: jax.Array | None = None) -> TrainState:
        if count == 1:
            return step(state, inputs, order, None if signals is None else signals[0])
        return lax.scan(lambda s, signal: (step(s, inputs, order, signal), None), state, signals, length=count)[0]

    return steps
