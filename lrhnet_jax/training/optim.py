"""The optimiser and its learning rate, from a config."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lrhnet_jax.errors import ConfigError, choose

OPTIMIZERS = ("adam",)
SCHEDULES = ("step", "multistep", "cosine", "constant")
_SCHEDULE_FIELDS = ("name", "step_epochs", "milestones", "gamma", "warmup_epochs")

Schedule = Callable[[Any], jax.Array]


def make(config: Mapping[str, Any], steps_per_epoch: int) -> optax.GradientTransformation:
    """Returns the optimiser of a config; its state is a tree of arrays.

    "adam" is torch.optim.Adam with its default betas and epsilon: the L2 penalty, of every parameter, is added to the
    gradient *before* Adam's moments (coupled).

    Args:
      config: `optimizer`, `learning_rate`, `weight_decay`, and the fields that `schedule` reads.
      steps_per_epoch: optimiser steps in an epoch.

    Raises:
      ConfigError: for an unknown name or an impossible number.
    """
    choose("", _field(config, "optimizer"), OPTIMIZERS, noun="optimizer", advice="choose one of")
    weight_decay = _number(config, "weight_decay", at_least=0)
    chain = optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8),
        optax.scale_by_learning_rate(schedule(config, steps_per_epoch)),
    )
    return chain._replace(init=jax.jit(chain.init))  # one program, where every shape of a moment would be one


def schedule(config: Mapping[str, Any], steps_per_epoch: int) -> Schedule:
    """Returns the learning rate as a function of the optimiser step, counted from 0.

    `config.schedule` is a mapping. Epochs are counted from the start of training, warm-up included:
      name: "constant"; "step", times `gamma` every `step_epochs` (torch StepLR); "multistep", times `gamma` at each of
        `milestones` (torch MultiStepLR); "cosine", step by step from the end of the warm-up down to 0 at the end.
      warmup_epochs: linear rise over that many epochs, of which the last step has the full rate.

    Args:
      config: `learning_rate`, `epochs`, `schedule`.
      steps_per_epoch: optimiser steps in an epoch.

    Raises:
      ConfigError: for an unknown name or field or an impossible number.
    """
    if steps_per_epoch < 1:
        raise ConfigError(f"an epoch has {steps_per_epoch} steps: there are fewer training records than one batch")
    rate = _number(config, "learning_rate", above=0)
    epochs = _number(config, "epochs", above=0)
    fields = _field(config, "schedule")
    unknown = sorted(set(fields) - set(_SCHEDULE_FIELDS))
    if unknown:
        raise ConfigError(f"unknown schedule field {', '.join(unknown)}; the fields are {', '.join(_SCHEDULE_FIELDS)}")
    name = choose("", _field(fields, "name", "schedule."), SCHEDULES, noun="schedule", advice="choose one of")
    warmup_epochs = fields.get("warmup_epochs", 0)
    if not 0 <= warmup_epochs < epochs:
        raise ConfigError(
            f"schedule.warmup_epochs is {warmup_epochs}, of {epochs} epochs: it must be at least 0 and fewer"
        )
    warmup = round(warmup_epochs * steps_per_epoch)

    if name == "cosine":
        cosine = optax.cosine_decay_schedule(rate, round(epochs * steps_per_epoch) - warmup)
        decay = optax.join_schedules([optax.constant_schedule(rate), cosine], [warmup])
    else:
        decay = _staircase(rate, _milestones(name, fields, epochs), fields, steps_per_epoch)

    def learning_rate(step: Any) -> jax.Array:
        # Not optax.linear_schedule: it counts down from 1 in float32, and the first of 3,500 rates would be 7e-5 off.
        rise = jnp.minimum(1.0, (jnp.asarray(step) + 1) / warmup) if warmup else 1.0
        return jnp.asarray(decay(step)) * rise

    return learning_rate


def _milestones(name: str, fields: Mapping[str, Any], epochs: float) -> list[int]:
    """The epochs at which the rate falls."""
    if name == "constant":
        return []
    if name == "step":
        every = _number(fields, "step_epochs", "schedule.", above=0)
        return [round(every * n) for n in range(1, math.ceil(epochs / every))]
    return sorted(_field(fields, "milestones", "schedule."))


def _staircase(rate: float, milestones: list[int], fields: Mapping[str, Any], steps_per_epoch: int) -> Schedule:
    gamma = _number(fields, "gamma", "schedule.", above=0) if milestones else 1.0
    # Of constants worked out in Python's float64, unlike optax.piecewise_constant_schedule: every device then uses the
    # very same rates.
    constants = [optax.constant_schedule(rate * gamma**n) for n in range(len(milestones) + 1)]
    return optax.join_schedules(constants, [round(epoch * steps_per_epoch) for epoch in milestones])


def _field(config: Mapping[str, Any], name: str, prefix: str = "") -> Any:
    if name not in config:
        raise ConfigError(f"the optimiser's config has no field {prefix}{name}")
    return config[name]


def _number(
    config: Mapping[str, Any], name: str, prefix: str = "", *, above: float | None = None, at_least: float | None = None
) -> float:
    value = _field(config, name, prefix)
    if above is not None and not value > above:
        raise ConfigError(f"{prefix}{name} is {value}: it must be above {above}")
    if at_least is not None and not value >= at_least:
        raise ConfigError(f"{prefix}{name} is {value}: it must be at least {at_least}")
    return value
