"""What a training run is at a moment: everything that has to survive a kill, as one pytree."""

import functools
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from lrhnet_jax.models import layers


class Auxiliary(flax.struct.PyTreeNode):
    """What a distillation method trains and remembers beside the network; left out of what is exported.

    Attributes:
      params, batch_stats: its variables.
      opt_state: optax's state for its parameters.
      memory: what it remembers from step to step, as its `Method.init` made it.
    """

    params: Any
    batch_stats: Any
    opt_state: Any
    memory: Any

    @property
    def variables(self) -> dict[str, Any]:
        return {"params": self.params, "batch_stats": self.batch_stats}


class TrainState(flax.struct.PyTreeNode):
    """The state of one network's training.

    Attributes:
      step: () int32, steps taken.
      params, batch_stats: the network's variables.
      opt_state: optax's state.
      totals: sums of the step's metrics since the epoch began, () float32 each.
      best_params, best_batch_stats: the variables of the best epoch so far.
      best_score: () float32, that epoch's validation score; -1 before the first.
      best_epoch: () int32, counted from 1; 0 before the first.
      auxiliary: of the distillation method.
      average: the exponential moving average of the variables over steps, {"params", "batch_stats"}; () without one.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    totals: dict[str, jax.Array]
    best_params: Any
    best_batch_stats: Any
    best_score: jax.Array
    best_epoch: jax.Array
    auxiliary: Auxiliary
    average: Any = ()

    @property
    def variables(self) -> dict[str, Any]:
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def scored_variables(self) -> dict[str, Any]:
        """Those that are scored and kept: the average where there is one."""
        return self.average or self.variables

    @property
    def best_variables(self) -> dict[str, Any]:
        return {"params": self.best_params, "batch_stats": self.best_batch_stats}

    def keep_if_best(self, score: float, epoch: int) -> "TrainState":
        """Returns the state with the scored variables as the best ones, if `score` is above the best so far."""
        if not score > float(self.best_score):
            return self
        # Copies, since the next step donates the present ones.
        scored = self.scored_variables
        best_params, best_batch_stats = _copy((scored["params"], scored["batch_stats"]))
        return self.replace(
            best_params=best_params,
            best_batch_stats=best_batch_stats,
            best_score=jnp.float32(score),
            best_epoch=jnp.int32(epoch),
        )


def move_average(average: Any, variables: Any, step: jax.Array, decay: float) -> Any:
    """Returns the exponential moving average after one more step: decay * average + (1 - decay) * variables.

    It begins as a plain mean: in the first steps, before there is enough to average, the decay is lower.

    Args:
      step: () int32, steps taken before this one.
      decay: in [0, 1); about 1 / (1 - decay) steps are averaged.
    """
    keep = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: (keep * old + (1 - keep) * new).astype(old.dtype), average, variables)


@jax.jit  # one program, where every shape of a leaf would be one
def _copy(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def init_variables(model: nn.Module, key: jax.Array, leads: int, window: int) -> dict[str, Any]:
    """Returns fresh variables of `model` for signals (batch, window, leads)."""
    return layers.initialize(model, key, *_inputs(leads, window), train=False)


def variable_shapes(model: nn.Module, leads: int, window: int) -> dict[str, Any]:
    """Returns the shapes of what `init_variables` returns, without computing it."""
    return jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), *_inputs(leads, window))


def _inputs(leads: int, window: int) -> tuple[jax.Array, jax.Array]:
    return jnp.zeros((1, window, leads)), jnp.zeros((1, 5))


def create_state(
    variables: dict[str, Any],
    optimizer: optax.GradientTransformation,
    metrics: tuple[str, ...],
    auxiliary: tuple[dict[str, Any], Any] = ({}, ()),
    averaged: bool = False,
) -> TrainState:
    """Returns the state before the first step; it shares no buffer with `variables`, since steps donate it.

    Args:
      metrics: names of what is summed over an epoch.
      auxiliary: the variables and the memory of the distillation method, from its `Method.init`.
      averaged: keep an average of the variables over steps.
    """
    params, batch_stats = _copy((variables["params"], variables["batch_stats"]))
    best_params, best_batch_stats = _copy((params, batch_stats))
    own, memory = auxiliary
    own_params = own.get("params", {})
    return TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        totals={name: jnp.float32(0) for name in metrics},
        best_params=best_params,
        best_batch_stats=best_batch_stats,
        best_score=jnp.float32(-1),
        best_epoch=jnp.int32(0),
        auxiliary=Auxiliary(own_params, own.get("batch_stats", {}), optimizer.init(own_params), memory),
        average=_copy({"params": params, "batch_stats": batch_stats}) if averaged else (),
    )
