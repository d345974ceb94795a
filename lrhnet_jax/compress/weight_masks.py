"""Unstructured pruning: masks over a network's weights, and training that keeps the masked ones at zero.

What can be pruned are the kernels of convolutions and dense layers, but not the output layer's; biases and BatchNorm
stay. Masks are a tree like the parameters': a boolean array of the kernel's shape, True where the weight is kept, and a
single True for every other parameter. On the host they are NumPy arrays.

Zeros in a kernel make a network smaller to store. They do not make it faster: dense arithmetic multiplies them like
other numbers, on accelerators as on microcontrollers. What makes it faster is removing channels: see `channels`.
"""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrhnet_jax.errors import CheckpointError, ConfigError
from lrhnet_jax.runtime.files import write_whole

Masks = Any


def dense_masks(params: Any, head: str) -> Masks:
    """Returns the masks of a network of which nothing is pruned.

    Args:
      params: its parameters, or their shapes.
      head: its output layer; see `models.head`.

    Raises:
      ConfigError: if it has no such layer.
    """
    kernels = {"/".join(entry.key for entry in path[:-1]) for path in _paths(params) if path[-1].key == "kernel"}
    if head not in kernels:
        raise ConfigError(f"the network has no output layer {head!r} among {', '.join(sorted(params))}")

    def mask(path: tuple[Any, ...], leaf: Any) -> np.ndarray:
        prunable = path[-1].key == "kernel" and "/".join(entry.key for entry in path[:-1]) != head
        return np.ones(leaf.shape if prunable else (), bool)

    return jax.tree.map_with_path(mask, params)


def total(masks: Masks) -> int:
    """Returns the number of weights that can be pruned."""
    return sum(mask.size for mask in jax.tree.leaves(masks) if mask.ndim)


def kept(masks: Masks) -> int:
    """Returns the number of prunable weights that are kept."""
    return sum(int(mask.sum()) for mask in jax.tree.leaves(masks) if mask.ndim)


def keep_largest(values: Any, masks: Masks, count: int) -> Masks:
    """Returns the masks of the `count` weights of largest magnitude over all layers, among those that `masks` keep.

    Of equal ones the earlier is kept: the number is exact, and the new masks lie within the old ones.

    Args:
      values: a tree like `masks`; the trained parameters.
    """
    flat = np.concatenate([np.abs(np.ravel(v))[np.ravel(m)] for v, m in _pairs(values, masks) if m.ndim])
    chosen = np.zeros(flat.size, bool)
    chosen[np.argsort(-flat, kind="stable")[:count]] = True
    start = 0

    def shrink(mask: np.ndarray) -> np.ndarray:
        nonlocal start
        if not mask.ndim:
            return mask
        smaller = mask.copy()
        size = int(mask.sum())
        smaller[mask] = chosen[start : start + size]
        start += size
        return smaller

    return jax.tree.map(shrink, masks)


def keep_random(key: jax.Array, masks: Masks, count: int) -> Masks:
    """Returns masks of `count` weights drawn evenly among those that `masks` keep."""
    # NumPy's generator: jax.random would be compiled for every shape.
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return keep_largest(jax.tree.map(lambda mask: random.random(mask.shape), masks), masks, count)


def _pairs(values: Any, masks: Masks) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(map(np.asarray, jax.tree.leaves(values)), jax.tree.leaves(masks), strict=True))


def apply(masks: Masks, tree: Any) -> Any:
    """Returns the parameters (or gradients, or updates) with zeros where the masks are False."""
    return jax.tree.map(lambda mask, leaf: jnp.where(mask, leaf, jnp.zeros_like(leaf)), masks, tree)


class MaskedState(NamedTuple):
    """The state of a `masked` optimiser: its masks, as arrays on the device, and the state of the inner optimiser."""

    masks: Any
    inner: Any


def masked(optimizer: optax.GradientTransformation, masks: Masks) -> optax.GradientTransformation:
    """Returns an optimiser that leaves pruned weights at exactly zero, where they have to start.

    Gradients are masked before the inner optimiser, so that its moments and its (coupled) weight decay never see a
    pruned weight, and updates after it. The masks are part of the state: they are saved with it, and a step compiled
    for one set of masks serves every other.

    Parameters of another tree than the masks' (those of a distillation method) are trained as without masks.
    """

    def init(params: Any) -> MaskedState:
        own = _paths(params) == _paths(masks)
        # Copies, since a step donates them.
        chosen = jax.tree.map(lambda leaf: jnp.array(leaf, bool), masks if own else _all_kept(params))
        return MaskedState(chosen, optimizer.init(params))

    return optax.GradientTransformation(init, _masked_update(optimizer.update))


@functools.cache  # the same function for every set of masks, so that their runs share compiled steps
def _masked_update(update: Any) -> Any:
    def masked_update(gradients: Any, state: Any, params: Any = None) -> tuple[Any, MaskedState]:
        updates, inner = update(apply(state.masks, gradients), state.inner, params)
        return apply(state.masks, updates), MaskedState(state.masks, inner)

    return masked_update


def _paths(tree: Any) -> list[Any]:
    return [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def _all_kept(params: Any) -> Masks:
    return jax.tree.map(lambda _: True, params)


def save(path: pathlib.Path, masks: Masks) -> None:
    """Writes masks, a bit a weight; whole or not at all."""
    arrays: dict[str, Any] = {}
    for key, mask in jax.tree_util.tree_leaves_with_path(masks):
        name = jax.tree_util.keystr(key, simple=True, separator="/")
        arrays[name], arrays[f"{name}:shape"] = np.packbits(mask), np.array(mask.shape, np.int64)
    write_whole(path, lambda scratch: np.savez(scratch, allow_pickle=False, **arrays))


def load(path: pathlib.Path, like: Masks) -> Masks:
    """Reads masks.

    Args:
      like: masks of the same network.

    Raises:
      CheckpointError: if they are missing, or another network's.
    """
    try:
        with np.load(path) as file:
            stored = dict(file)
    except OSError as error:
        raise CheckpointError(f"{path}: masks cannot be read ({error})") from error

    def read(key: tuple[Any, ...], mask: np.ndarray) -> np.ndarray:
        name = jax.tree_util.keystr(key, simple=True, separator="/")
        if name not in stored or tuple(stored[f"{name}:shape"]) != mask.shape:
            raise CheckpointError(f"{path}: holds no mask of shape {mask.shape} for {name}; it is another network's")
        return np.unpackbits(stored[name], count=max(mask.size, 1)).astype(bool).reshape(mask.shape)

    return jax.tree.map_with_path(read, like)


def sizes(variables: dict[str, Any], masks: Masks) -> dict[str, Any]:
    """Returns what a pruned network takes to store.

    Returns:
      "weights", "kept": prunable weights, all and kept; "parameters", "parameters_kept": those, and all others.
      "dense_bytes": parameters and BatchNorm statistics in float32.
      "sparse_bytes": the same, but of the prunable kernels only what is kept, and where it is, by the shorter of two
        codes. "bitmap": a bit a weight. "gaps": the number of zeros before each kept weight, in bytes of seven bits
        (LEB128).
      "sparse_code": which one it is.
    """
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    statistics = sum(leaf.size for leaf in jax.tree.leaves(variables["batch_stats"]))
    prunable = [mask.ravel() for mask in jax.tree.leaves(masks) if mask.ndim]
    weights, left = total(masks), kept(masks)
    codes = {
        "bitmap": sum(-(-mask.size // 8) for mask in prunable),
        "gaps": sum(_gap_bytes(mask) for mask in prunable),
    }
    code = min(codes, key=lambda name: codes[name])
    return {
        "weights": weights,
        "kept": left,
        "parameters": parameters,
        "parameters_kept": parameters - weights + left,
        "dense_bytes": 4 * (parameters + statistics),
        "sparse_bytes": 4 * (parameters - weights + left + statistics) + codes[code],
        "sparse_code": code,
    }


def _gap_bytes(mask: np.ndarray) -> int:
    gaps = np.diff(np.flatnonzero(mask), prepend=-1) - 1
    return int(sum((gaps >= 128**digits).sum() for digits in range(1, 6)) + gaps.size)
