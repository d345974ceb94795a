"""Weights to and from PyTorch: the state_dict of the reference implementation, key by key.

A key follows from the path of a Flax parameter. Modules are joined by dots; a number after an underscore is an index
into a torch Sequential: `layer1_0/se/fc_2/kernel` is `layer1.0.se.fc.2.weight`. Then:

  params       kernel of a convolution (taps, in, out)  ->  weight (out, in, taps)
               kernel of a dense layer (in, out)        ->  weight (out, in)
               scale, bias                              ->  weight, bias
  batch_stats  mean, var                                ->  running_mean, running_var, and num_batches_tracked; as the
               momentum is fixed, nothing depends on the last one: it is written as 0, and ignored when read

Where a network of another project calls its modules otherwise, `Description.torch_names` says how. The modules of each
network are listed at the head of its file.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from lrhnet_jax import models
from lrhnet_jax.ecg.leads import DEMOGRAPHICS
from lrhnet_jax.errors import CheckpointError, ConfigError
from lrhnet_jax.models.description import Description
from lrhnet_jax.models.pth import SUFFIXES, load_pth, some, to_numpy
from lrhnet_jax.models.registry import network_class

__all__ = ["SUFFIXES", "from_torch", "load_pth", "to_torch"]

_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_COUNTER = "num_batches_tracked"


def from_torch(name: str, state_dict: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """Returns the variables {"params", "batch_stats"} of network `name` that hold the weights of a torch state_dict.

    The numbers of leads and classes are read from the weights. Values keep their precision: float32, or float64 under
    jax_enable_x64; lower ones become float32.

    Args:
      name: one of models.NAMES.
      state_dict: key -> torch tensor or NumPy array. `num_batches_tracked` may be absent.
      **options: of models.create, where they change the parameters (the width of a resnet34).

    Raises:
      ConfigError: for an unknown name or option, or a network without a counterpart in PyTorch.
      CheckpointError: for a missing or unexpected key, a wrong shape, or a value that is not finite.
    """
    models.create(name, 1, **options)  # raises for what it does not know
    own = _with_counterpart(name)
    arrays = {key: to_numpy(value) for key, value in state_dict.items() if key.split(".")[-1] != _COUNTER}
    sizes = []
    for module, axis in ((own.stem, 1), (own.head, 0)):
        key = _key(own, ("params", *module.split("/"), "kernel"))
        if key not in arrays:
            raise _key_error(name, "lacks", {key}, arrays)
        sizes.append(arrays[key].shape[axis] if arrays[key].ndim > axis else 1)
    expected = _flat_shapes(name, *sizes, **options)
    keys = {path: _key(own, path) for path in expected}
    if missing := set(keys.values()) - set(arrays):
        raise _key_error(name, "lacks", missing, arrays)
    if unexpected := set(arrays) - set(keys.values()):
        raise _key_error(name, "has unexpected", unexpected, arrays)

    flat = {}
    for path, leaf in expected.items():
        shape, value = leaf.shape[::-1], arrays[keys[path]]
        if value.shape != shape:
            raise CheckpointError(
                f"{keys[path]} has shape {value.shape}, but {name} with {sizes[0]} leads and {sizes[1]} classes needs "
                f"{shape}: these are not the weights of {name}, or they are of another version of it"
            )
        if value.dtype.kind != "f":
            raise CheckpointError(f"{keys[path]} holds {value.dtype}, not floating-point numbers: these are no weights")
        if not np.isfinite(value).all():
            raise CheckpointError(f"{keys[path]} holds values that are not finite: take an earlier checkpoint")
        flat[path] = jnp.array(value.T)  # a copy: torch may go on training its own
    return traverse_util.unflatten_dict(flat)


def to_torch(name: str, variables: Mapping[str, Any], **options: Any) -> dict[str, np.ndarray]:
    """Returns the torch state_dict of the variables of network `name`, as NumPy arrays, `num_batches_tracked` included.

    It loads with `module.load_state_dict({key: torch.fromto_numpy(value) for key, value in state_dict.items()})`.
    The options are those of `from_torch`.

    Raises:
      ConfigError: for a network without a counterpart in PyTorch.
      CheckpointError: if the variables are not those of `name`.
    """
    own = _with_counterpart(name)
    flat = traverse_util.flatten_dict(
        {collection: variables.get(collection, {}) for collection in ("params", "batch_stats")}
    )
    state_dict = {}
    for path, value in flat.items():
        state_dict[_key(own, path)] = np.array(np.asarray(value).T, order="C")
        if path[-1] == "var":
            state_dict[_key(own, (*path[:-1], _COUNTER))] = np.zeros((), np.int64)
    from_torch(name, state_dict, **options)  # checks every key and shape
    return state_dict


def _with_counterpart(name: str) -> Description:
    own = models.describe(name)
    if own.torch_names is None:
        raise ConfigError(f"{name} has no counterpart in PyTorch: its description has no torch_names")
    return own


def _key(own: Description, path: tuple[str, ...]) -> str:
    """The torch key of a path (collection, module, ..., leaf)."""
    modules, leaf = path[1:-1], path[-1]
    given: tuple[str, ...] = ()
    for length in range(len(modules), 0, -1):  # the longest path that the description names
        if (name := (own.torch_names or {}).get("/".join(modules[:length]))) is not None:
            given, modules = (name,) if name else (), modules[length:]
            break
    return ".".join([*given, *(re.sub(r"_(\d+)$", r".\1", module) for module in modules), _LEAVES.get(leaf, leaf)])


def _flat_shapes(name: str, leads: int, classes: int, **options: Any) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    module = models.create(name, leads, num_classes=classes, **options)
    own = models.describe(name)
    window = min(max(4096, own.shortest_window), own.longest_window or 4096)  # no parameter's shape depends on it
    inputs = jnp.zeros((1, window, leads)), jnp.zeros((1, len(DEMOGRAPHICS)))
    return traverse_util.flatten_dict(jax.eval_shape(module.init, jax.random.key(0), *inputs))


def _key_error(name: str, problem: str, keys: set[str], given: Mapping[str, Any]) -> CheckpointError:
    first = {key.partition(".")[0] for key in given}
    prefix = f" (every key begins with '{first.pop()}.': remove it)" if len(first) == 1 and len(given) > 1 else ""
    return CheckpointError(
        f"the state_dict {problem} {some(keys)}: these are not the weights of {name}{prefix}; it has "
        f"{some(given) or 'no key'}, and the keys of {name} are listed in {network_class(name).__module__}"
    )
