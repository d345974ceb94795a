"""Weights to and from PyTorch: the state_dict of the reference implementation, key by key.

A key follows from the path of a Flax parameter. Modules are joined by dots; a number after an underscore is an index
into a torch Sequential: `layer1_0/se/fc_2/kernel` is `layer1.0.se.fc.2.weight`. Then:

  params       kernel of a convolution (taps, in, out)  ->  weight (out, in, taps)
               kernel of a dense layer (in, out)        ->  weight (out, in)
               scale, bias                              ->  weight, bias
  batch_stats  mean, var                                ->  running_mean, running_var, and num_batches_tracked; as the
               momentum is fixed, nothing depends on the last one: it is written as 0, and ignored when read

The modules of each network:

  lrhnet    conv1; layer{1,2,3}.0: conv1, bn1, conv2, se.fc.0, se.fc.2, bn2, in layers 2 and 3 downsample (a
            convolution); fc (age and sex, 5 -> 10), fc1 (74 -> 128), fc2 (128 -> classes)
  lrhnet_wide
            conv1, bn1; layer{1,2,3,4,5}.0: conv1, bn1, conv2, bn2, in layers 2 to 5 downsample.0 (a convolution) and
            downsample.1 (its BatchNorm), with squeeze_excite se.fc.0, se.fc.2; fc1 (age and sex, 5 -> 10), fc (138 ->
            classes)
  seresnet  conv1, bn1; layer{1,2,3,4}.{0,1}: conv1, bn1, conv2, bn2, se.fc.0, se.fc.2, in layers 2 to 4 downsample.0 (a
            convolution) and downsample.1 (its BatchNorm) of block 0; fc1 (age and sex, 5 -> 10), fc (522 -> classes)
  cnn1d     layer{1,2,3,4}.0: conv1, bn1; fc1 (age and sex, 5 -> 10), fc (522 -> classes)
  resnet34  conv1, bn1; layer{1,2,3,4}.{0,1,2,3}: bn1 (but for the first block), conv1, bn2, conv2; bn2, fc (256 ->
            classes)
  xresnet1d conv1, bn1 to conv3, bn3; layer{1,2,3,4}.{0,1,...}: conv1, bn1, conv2, bn2, in bottlenecks conv3, bn3, where
            the number of channels changes downsample.0 (a convolution) and downsample.1 (its BatchNorm) of block 0; fc
            (pooled -> classes)

With use_demographics, resnet34 and xresnet1d have an fc1 (age and sex, 5 -> 10) too.
"""

import pathlib
import pickle
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from lrhnet_jax import models
from lrhnet_jax.ecg.leads import DEMOGRAPHICS
from lrhnet_jax.errors import CheckpointError

_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_COUNTER = "num_batches_tracked"
_STEM = {
    "lrhnet": "conv1.weight",
    "lrhnet_wide": "conv1.weight",
    "seresnet": "conv1.weight",
    "cnn1d": "layer1.0.conv1.weight",
    "resnet34": "conv1.weight",
    "xresnet1d": "conv1.weight",
}
_HEAD = {
    "lrhnet": "fc2.weight",
    "lrhnet_wide": "fc.weight",
    "seresnet": "fc.weight",
    "cnn1d": "fc.weight",
    "resnet34": "fc.weight",
    "xresnet1d": "fc.weight",
}
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_WINDOW = 4096  # any length that all networks read: shapes of parameters do not depend on it


def from_torch(name: str, state_dict: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """Returns the variables {"params", "batch_stats"} of network `name` that hold the weights of a torch state_dict.

    The numbers of leads and classes are read from the weights. Values keep their precision: float32, or float64 under
    jax_enable_x64; lower ones become float32.

    Args:
      name: one of models.NAMES.
      state_dict: key -> torch tensor or NumPy array. `num_batches_tracked` may be absent.
      **options: of models.create, where they change the parameters (the width of a resnet34).

    Raises:
      ConfigError: for an unknown name or option.
      CheckpointError: for a missing or unexpected key, a wrong shape, or a value that is not finite.
    """
    models.create(name, 1, **options)  # raises for what it does not know
    arrays = {key: _numpy(value) for key, value in state_dict.items() if key.split(".")[-1] != _COUNTER}
    sizes = []
    for key, axis in ((_STEM[name], 1), (_HEAD[name], 0)):
        if key not in arrays:
            raise _key_error(name, "lacks", {key}, arrays)
        sizes.append(arrays[key].shape[axis] if arrays[key].ndim > axis else 1)
    expected = _flat_shapes(name, *sizes, **options)
    keys = {path: _key(path) for path in expected}
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
        if not np.isfinite(value).all():
            raise CheckpointError(f"{keys[path]} holds values that are not finite: take an earlier checkpoint")
        flat[path] = jnp.array(value.T)  # a copy: torch may go on training its own
    return traverse_util.unflatten_dict(flat)


def to_torch(name: str, variables: Mapping[str, Any], **options: Any) -> dict[str, np.ndarray]:
    """Returns the torch state_dict of the variables of network `name`, as NumPy arrays, `num_batches_tracked` included.

    It loads with `module.load_state_dict({key: torch.from_numpy(value) for key, value in state_dict.items()})`.
    The options are those of `from_torch`.

    Raises:
      CheckpointError: if the variables are not those of `name`.
    """
    flat = traverse_util.flatten_dict(
        {collection: variables.get(collection, {}) for collection in ("params", "batch_stats")}
    )
    state_dict = {}
    for path, value in flat.items():
        state_dict[_key(path)] = np.array(np.asarray(value).T, order="C")
        if path[-1] == "var":
            state_dict[_key((*path[:-1], _COUNTER))] = np.zeros((), np.int64)
    from_torch(name, state_dict, **options)  # checks every key and shape
    return state_dict


def load_pth(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Reads a .pth file of PyTorch into a state_dict of NumPy arrays. Nothing in the file is executed.

    It takes a bare state_dict, or one wrapped as {"state_dict": ...}, "model_state_dict" or "model", and removes the
    "module." that DataParallel puts before every key.

    Raises:
      CheckpointError: if PyTorch is not installed, or the file is missing or holds something else.
    """
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(f"{path}: reading a .pth file needs PyTorch: pip install torch") from error
    if not pathlib.Path(path).is_file():
        raise CheckpointError(f"{path}: there is no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a file of weights. If it holds a whole module, load it where its code is and save it again "
            "with torch.save(module.state_dict(), path)"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise CheckpointError(f"{path}: holds no state_dict; save one with torch.save(module.state_dict(), path)")
    return {str(key).removeprefix("module."): _numpy(value) for key, value in content.items()}


def _key(path: tuple[str, ...]) -> str:
    """The torch key of a path (collection, module, ..., leaf)."""
    modules = [re.sub(r"_(\d+)$", r".\1", module) for module in path[1:-1]]
    return ".".join([*modules, _LEAVES.get(path[-1], path[-1])])


def _flat_shapes(name: str, leads: int, classes: int, **options: Any) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    module = models.create(name, leads, num_classes=classes, **options)
    inputs = jnp.zeros((1, _WINDOW, leads)), jnp.zeros((1, len(DEMOGRAPHICS)))
    return traverse_util.flatten_dict(jax.eval_shape(module.init, jax.random.key(0), *inputs))


def _numpy(value: Any) -> np.ndarray:
    """A torch tensor or an array as NumPy, float32 at least: NumPy knows no bfloat16 of torch."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() and value.element_size() < 4 else value
        value = value.numpy()
    value = np.asarray(value)
    return value.astype(np.float32) if value.dtype.itemsize < 4 else value


def _key_error(name: str, problem: str, keys: set[str], found: Mapping[str, Any]) -> CheckpointError:
    listed = sorted(keys)
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    prefix = " (every key begins with 'module.': remove it)" if all(key.startswith("module.") for key in found) else ""
    return CheckpointError(
        f"the state_dict {problem} {', '.join(listed[:5])}{more}: these are not the weights of {name}{prefix}; "
        f"the keys of each network are listed in {__name__}"
    )
