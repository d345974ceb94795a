"""Structured pruning: whole channels go, and with them rows and columns of the kernels, so that a network is faster.

What can go are inner channels: those that one convolution writes, one BatchNorm scales, and one convolution reads.
Shortcuts never see them, so that the topology of a residual network stays as it is. In a block these are the channels
between its two convolutions; in the 1D-CNN, which has no shortcuts, those between two stages.

A channel that the second convolution does not read has no effect: the shrunk network computes exactly what the network
with these rows of the kernel at zero does. Channel masks are a dict: block -> (channels of the dense network,) bool.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from lrhnet_jax.errors import ConfigError

Masks = dict[str, np.ndarray]
Path = tuple[str, ...]

_NORMS = {
    "lrhnet": "bn1",
    "seresnet": "bn1",
    "resnet34": "bn2",
    "lrhnet_wide": "bn1",
}  # what lies between a block's convolutions
NAMES = ("cnn1d", *_NORMS)


class Group(NamedTuple):
    """Where inner channels pass: paths among the parameters."""

    writer: Path
    norm: Path
    lead_network: Path


def groups(model: str, params: Any) -> dict[str, Group]:
    """Returns a network's groups of inner channels by their block's name, in the order of its option `inner`.

    Raises:
      ConfigError: for a network whose inner channels are not known.
    """
    if model == "cnn1d":
        stages = [f"layer{index}_0" for index in range(1, 5)]
        return {
            stage: Group((stage, "conv1"), (stage, "bn1"), (after, "conv1"))
            for stage, after in itertools.pairwise(stages)
        }
    if model not in _NORMS:
        raise ConfigError(f"{model} cannot be pruned by channels; these can: {', '.join(NAMES)}")
    blocks = sorted(name for name, module in params.items() if {"conv1", "conv2"} <= set(module))
    return {block: Group((block, "conv1"), (block, _NORMS[model]), (block, "conv2")) for block in blocks}


def dense_masks(model: str, params: Any) -> Masks:
    """Returns the masks of a network that has all its inner channels."""
    flat = traverse_util.flatten_dict(params)
    found = groups(model, params)
    return {block: np.ones(flat[*group.writer, "kernel"].shape[-1], bool) for block, group in found.items()}


def widths(masks: Masks) -> tuple[int, ...]:
    """Returns the option `inner` of the network that keeps these channels."""
    return tuple(int(masks[block].sum()) for block in sorted(masks))


def importance(model: str, params: Any, masks: Masks) -> Masks:
    """Returns how much each channel matters, a value for each of the dense network's; 0 where it is gone.

    That is |BatchNorm's scale| times the L1 norm of the kernel that reads the channel, over the root of its mean square
    in the block, so that blocks compare. Each block's most important channel has an infinite one: it cannot go.

    Args:
      params: of the network that has the channels of `masks` left.
    """
    flat = {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(params).items()}
    values = {}
    for block, group in groups(model, params).items():
        read = np.abs(flat[*group.lead_network, "kernel"]).sum((0, 2))
        found = np.abs(flat[*group.norm, "scale"]) * read
        found = found / max(float(np.sqrt(np.mean(np.square(found)))), 1e-30)
        found[found.argmax()] = np.inf
        values[block] = np.zeros(len(masks[block]))
        values[block][masks[block]] = found
    return values


def shrink(model: str, variables: dict[str, Any], keep: Masks) -> dict[str, Any]:
    """Returns the variables without the channels that `keep` drops, with smaller shapes.

    Args:
      keep: a bool for each inner channel that `variables` have.
    """
    return _edit(model, variables, keep, lambda leaf, axis, kept: np.compress(kept, leaf, axis))


def silence(model: str, variables: dict[str, Any], keep: Masks) -> dict[str, Any]:
    """Returns the variables with zeros where the dropped channels are read: what `shrink` equals, in the old shapes."""

    def zero(leaf: np.ndarray, axis: int, kept: np.ndarray) -> np.ndarray:
        return np.where(kept[None, :, None], leaf, 0) if axis == 1 else leaf

    return _edit(model, variables, keep, zero)


def _edit(model: str, variables: dict[str, Any], keep: Masks, change: Any) -> dict[str, Any]:
    """Applies `change(leaf, axis of the channels, keep)` wherever inner channels are an axis."""
    edited = {
        collection: {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(tree).items()}
        for collection, tree in variables.items()
    }
    for block, group in groups(model, variables["params"]).items():
        for flat in edited.values():
            for path in list(flat):
                if path[:-1] in (group.writer, group.norm):
                    flat[path] = change(flat[path], flat[path].ndim - 1 if path[-1] == "kernel" else 0, keep[block])
                elif path == (*group.lead_network, "kernel"):
                    flat[path] = change(flat[path], 1, keep[block])
    return {collection: traverse_util.unflatten_dict(flat) for collection, flat in edited.items()}


def unread(model: str, params: Any) -> Masks:
    """Returns which inner channels are read at all: the others can go without any change; one a block stays."""
    flat = traverse_util.flatten_dict(params)
    keep = {}
    for block, group in groups(model, params).items():
        read = np.abs(np.asarray(flat[*group.lead_network, "kernel"])).sum((0, 2)) > 0
        keep[block] = read if read.any() else np.arange(len(read)) == 0
    return keep
