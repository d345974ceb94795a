"""Pure steps: arrays in, arrays out. They know no files and no config, and run the same under jit, pmap or a mesh."""

import dataclasses
import functools
from collections.abc import Callable
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
from lrhnet_jax.runtime.devices import Parallel, one_device
from lrhnet_jax.training.augment import Augmentation, augment
from lrhnet_jax.training.state import Auxiliary, TrainState, move_average

EPOCH_KEY_TAG = 2**31 - 1  # folded into a run's key it starts the epochs' keys; no step has this number
AUGMENT_KEY_TAG = 1  # folded into a step's key of windows it drives what is done to them
Steps = Callable[[TrainState, Inputs, jax.Array, jax.Array | None], TrainState]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a student learns from labels and teachers, but for the numbers; see `batch.StepNumbers`.

    Attributes:
      kind, t_squared, mean_logits: as of `losses.distillation`.
      method: what it learns beyond labels and logits, if anything.
      teacher: the place among the teachers of the one whose features the method reads.
      epochs: of the run, for methods that change with them.
      exclusive: a record has exactly one class: cross-entropy takes the place of BCE.
      augmentation: what is done to windows before any network reads them.
      average: decay of the moving average of the variables over steps, which is then what is scored and kept; 0: none.
    """

    kind: str = "softmax"
    t_squared: bool = False
    mean_logits: bool = False
    method: losses.Method | None = None
    teacher: int = 0
    epochs: int = 1
    exclusive: bool = False
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
    average: float = 0.0

    @property
    def supervised(self) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """The loss against labels; its name is that of the metric."""
        return losses.cross_entropy if self.exclusive else losses.bce

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of what a step logs."""
        return ("loss", self.supervised.__name__, "kl", *(self.method.metrics if self.method else ()))


METRICS = Recipe().metrics  # of independent labels, without a method


@dataclasses.dataclass(frozen=True)
class StepSpec:
    """What a compiled step is made for. Equal specs share a program, whatever their data, keys and numbers.

    Attributes:
      student: the network that is trained, and the columns it reads.
      optimizer: from `optim`; equal if it is the same object.
      batch_size, window: of the whole batch, and samples.
      teachers: the networks that run in the step, in the order of `inputs.teachers`.
      recipe: how it learns from them.
      parallel: the devices that share a batch.
    """

    student: LeadNetwork
    optimizer: optax.GradientTransformation
    batch_size: int
    window: int
    teachers: tuple[LeadNetwork, ...] = ()
    recipe: Recipe = Recipe()
    parallel: Parallel = dataclasses.field(default_factory=one_device)


def train_step(state: TrainState, batch: Batch, key: jax.Array, numbers: StepNumbers, spec: StepSpec) -> TrainState:
    """Takes one optimiser step on `batch` and adds its metrics to `state.totals`.

    Under pmap the batch is one device's share: gradients and metrics are averaged over `spec.parallel.axis_name`, and
    the model's BatchNorm has to be given the same axis.

    Args:
      key: drives dropout.
      numbers: weights of the losses and rate of the update.
    """
    student, method, memory = spec.student, spec.recipe.method, state.auxiliary.memory

    def loss_fn(params: Any, own_params: Any) -> tuple[jax.Array, tuple[dict[str, jax.Array], Any, losses.Result]]:
        output, mutated = student.model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            student.read(batch.signal),
            batch.demographics,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        targets = batch.labels
        if method:
            method_inputs = batch.method_inputs.replace(student=output)
            targets = method.targets(memory, method_inputs)
        base, parts = _base_loss(output.logits, targets, batch.teacher_logits, numbers, spec.recipe)
        result = losses.Result(base, {}, memory, {})
        if method:
            own = {"params": own_params, "batch_stats": state.auxiliary.batch_stats}
            result = method.loss(base, own, memory, method_inputs)
        metrics = {"loss": result.loss, **parts, **result.metrics}
        return result.loss, (metrics, mutated["batch_stats"], result)

    gradients = jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)
    (_, (metrics, batch_stats, result)), (grads, own_grads) = gradients(state.params, state.auxiliary.params)
    if spec.parallel.axis_name is not None:
        grads, own_grads, metrics = lax.pmean((grads, own_grads, metrics), spec.parallel.axis_name)

    def update(grads: Any, opt_state: Any, params: Any) -> tuple[Any, Any]:
        updates, opt_state = spec.optimizer.update(grads, opt_state, params)
        updates = jax.tree.map(lambda change: numbers.rate * change, updates)
        return optax.apply_updates(params, updates), opt_state

    params, opt_state = update(grads, state.opt_state, state.params)
    own_params, own_opt_state = update(own_grads, state.auxiliary.opt_state, state.auxiliary.params)
    average = state.average
    if spec.recipe.average:
        variables = {"params": params, "batch_stats": batch_stats}
        average = move_average(average, variables, state.step, spec.recipe.average)
    return state.replace(
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        totals={name: total + metrics[name] for name, total in state.totals.items()},
        auxiliary=Auxiliary(own_params, result.batch_stats, own_opt_state, result.memory),
        average=average,
    )


def _base_loss(
    logits: jax.Array, targets: jax.Array, teacher_logits: jax.Array, numbers: StepNumbers, recipe: Recipe
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss against targets and teachers' logits, and its parts by name."""
    if not len(numbers.weights):
        loss = recipe.supervised(logits, targets)
        return loss, {recipe.supervised.__name__: loss, "kl": jnp.zeros_like(loss)}
    return losses.distillation(
        logits,
        targets,
        teacher_logits,
        jnp.asarray(numbers.weights, logits.dtype),
        alpha=numbers.alpha,
        temperature=numbers.temperature,
        t_squared=recipe.t_squared,
        kind=recipe.kind,
        kl_weight=numbers.kl_weight,
        mean_logits=recipe.mean_logits,
        supervised=recipe.supervised,
    )


def init_auxiliary(spec: StepSpec, inputs: Inputs, variables: Any, key: jax.Array) -> tuple[dict[str, Any], Any]:
    """Returns the variables and the memory of the distillation method before the first step, for `create_state`.

    Args:
      variables: the student's.

    Raises:
      ValueError: if the networks or the batch do not suit the method.
    """
    recipe = spec.recipe
    if not recipe.method:
        return {}, ()
    rows = jnp.zeros(spec.batch_size, jnp.int32)
    draw = Draw(rows, rows, rows)

    def shapes(variables: Any, inputs: Inputs) -> losses.MethodInputs:
        signal = jnp.zeros((spec.batch_size, spec.window, inputs.store.signals.shape[1]), jnp.float16)
        batch, taught = make_batch(inputs, draw, spec.teachers, spec.window, recipe.teacher, signal)
        method_inputs = _method_inputs(inputs, draw, batch, taught, recipe, key, key, jnp.int32(1))
        return method_inputs.replace(student=predict(spec.student, variables, batch.signal, batch.demographics))

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(shapes, variables, inputs))
    return recipe.method.init(key, zeros.replace(all_labels=inputs.store.labels[inputs.records]))


def _method_inputs(
    inputs: Inputs,
    draw: Draw,
    batch: Batch,
    taught: Output | None,
    recipe: Recipe,
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
        epochs=recipe.epochs,
        exclusive=recipe.exclusive,
    )


def make_steps(spec: StepSpec, count: int = 1, shared: bool = True) -> Steps:
    """Returns the pure function (state, inputs, order, signals) -> state that takes `count` steps.

    `order` is `epoch_order`'s; a step reads its place in the epoch from `state.step`. What does not fill a batch at the
    end of an epoch is left out, other records in every epoch. `signals` are the windows of the steps' draws, (count,
    batch, window, leads), or None, to cut them from the store.

    The run's key and numbers are those of `inputs.numbers`, as `StepNumbers.traced` gives them: the steps train any
    network that differs in these alone.

    Args:
      shared: the devices of `spec.parallel` share a batch; False: one of them has a network and its batches whole.
    """
    recipe, parallel = spec.recipe, spec.parallel

    def step(state: TrainState, inputs: Inputs, order: jax.Array, signal: jax.Array | None) -> TrainState:
        per_epoch = len(order) // spec.batch_size
        place, epoch = state.step % per_epoch, state.step // per_epoch + 1
        numbers = inputs.numbers
        assert numbers is not None, "inputs.numbers is not set: take StepNumbers.traced"
        run_key = jax.random.wrap_key_data(numbers.key)
        window_key, dropout_key, method_key = step_keys(run_key, state.step)
        augment_key = jax.random.fold_in(window_key, AUGMENT_KEY_TAG)
        if parallel.axis_name is not None:
            dropout_key, augment_key = (
                jax.random.fold_in(key, lax.axis_index(parallel.axis_name)) for key in (dropout_key, augment_key)
            )
        change = functools.partial(augment, recipe.augmentation, augment_key) if recipe.augmentation else None
        draw = draw_step(inputs, order, state.step, run_key, spec.batch_size, spec.window)
        draw = parallel.shard_draw(draw) if shared else draw
        batch, taught = make_batch(inputs, draw, spec.teachers, spec.window, recipe.teacher, signal, change)
        if recipe.method:
            method_inputs = _method_inputs(inputs, draw, batch, taught, recipe, method_key, run_key, epoch)
            batch = batch.replace(method_inputs=method_inputs)
        # An epoch's metrics start at zero, so that an interrupted epoch resumes with what it had summed.
        state = state.replace(totals={name: jnp.where(place == 0, 0, total) for name, total in state.totals.items()})
        return train_step(state, batch, dropout_key, numbers, spec)

    def steps(state: TrainState, inputs: Inputs, order: jax.Array, signals: jax.Array | None = None) -> TrainState:
        if count == 1:
            return step(state, inputs, order, None if signals is None else signals[0])
        return lax.scan(lambda s, signal: (step(s, inputs, order, signal), None), state, signals, length=count)[0]

    return steps
