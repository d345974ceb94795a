"""Networks by name. What else is known of one, it says itself: see `description`."""

import inspect
import math
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lrhnet_jax.ecg.leads import DEMOGRAPHICS, check_leads
from lrhnet_jax.errors import ConfigError, choose
from lrhnet_jax.models import layers
from lrhnet_jax.models.description import Description
from lrhnet_jax.models.names import MODELS as _MODELS
from lrhnet_jax.tasks import physionet2020


def network_class(name: str) -> type[layers.Network]:
    """Returns the class of the network `name`.

    Raises:
      ConfigError: for an unknown name.
    """
    choose("", name, _MODELS, noun="model", advice="choose one of")
    where = _MODELS[name]
    return pkgutil.resolve_name(f"{__package__}.{where}") if isinstance(where, str) else where


def describe(name: str) -> Description:
    """Returns what the network `name` says of itself.

    Raises:
      ConfigError: for an unknown name.
    """
    return network_class(name).description


def prunable() -> tuple[str, ...]:
    """Returns the networks that say which of their channels can be pruned."""
    return tuple(name for name in _MODELS if describe(name).channels)


def head(name: str) -> str:
    """Returns the name of the network's output layer among its parameters."""
    return describe(name).head


def create(
    name: str,
    leads: Sequence[str] | int,
    *,
    num_classes: int = len(physionet2020.CLASSES),
    dtype: layers.Dtype | None = None,
    param_dtype: layers.Dtype = jnp.float32,
    **options: Any,
) -> nn.Module:
    """Returns the network `name`, to be called as module.apply(variables, signal, demographics, train=...) -> Output.

    Flax modules take the number of leads from the signal; `leads` is only checked here, before anything runs.

    Args:
      name: one of models.NAMES.
      leads: lead names, or their number.
      num_classes: outputs.
      dtype: of the computation, an array type or its name ("bfloat16"); None means `param_dtype`.
      param_dtype: of parameters, BatchNorm statistics and logits; float64 needs jax_enable_x64.
      **options: `axis_name`, and the further attributes of the network's class.

    Raises:
      ConfigError: for an unknown name or option, a number of leads below one, or float64 without jax_enable_x64.
      ecg.LeadError: for an unknown or repeated lead.
    """
    network = network_class(name)
    if isinstance(leads, int):
        if leads < 1:
            raise ConfigError(f"{name} needs at least one lead, not {leads}")
    else:
        check_leads(leads)
    known = set(inspect.signature(network).parameters) - {"num_classes", "dtype", "param_dtype", "parent", "name"}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ConfigError(f"{name} has no option {', '.join(unknown)}; its options are {', '.join(sorted(known))}")
    # JSON knows no tuples, and modules have to be hashable.
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    param_dtype = jnp.dtype(param_dtype)
    if jax.dtypes.canonicalize_dtype(param_dtype) != param_dtype:
        raise ConfigError(f"param_dtype {param_dtype} needs jax.config.update('jax_enable_x64', True)")
    dtype = param_dtype if dtype is None else jnp.dtype(dtype)
    return network(num_classes=num_classes, dtype=dtype, param_dtype=param_dtype, **options)


def count_parameters(params: Mapping[str, Any]) -> int:
    """Returns the number of trainable values in a tree of parameters."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def multiply_accumulates(name: str, leads: Sequence[str] | int, window: int, **options: Any) -> int:
    """Returns the multiplications of one record's forward pass: those of its convolutions and dense layers.

    Args:
      name, leads, **options: as of `create`.
      window: samples.
    """
    total = 0

    def count(call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        nonlocal total
        output = call(*args, **kwargs)
        layer = context.module
        if isinstance(layer, layers.Conv1D | layers.Dense):
            taps = layer.taps if isinstance(layer, layers.Conv1D) else 1
            total += output.size * taps * args[0].shape[-1]
        return output

    channels = leads if isinstance(leads, int) else len(leads)
    signal, demographics = jnp.zeros((1, window, channels)), jnp.zeros((1, len(DEMOGRAPHICS)))
    with nn.intercept_methods(count):
        jax.eval_shape(create(name, leads, **options).init, jax.random.key(0), signal, demographics)
    return total
