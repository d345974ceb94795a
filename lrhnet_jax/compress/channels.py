"""Structured pruning: whole channels go, and with them rows and columns of the kernels, so that a network is faster.

What can go are inner channels: those that one convolution writes, one BatchNorm scales, and one convolution reads.
Shortcuts never see them, so that the topology of a residual network stays as it is. In a block these are the channels
between its two convolutions; in the 1D-CNN, which has no shortcuts, those between two stages. A network says which they
are in its description (`models.description.Channels`).

A channel that the second convolution does not read has no effect: the shrunk network computes exactly what the network
with these rows of the kernel at zero does. Channel masks are a dict: the convolution that writes the channels, such as
"layer1_0/conv1" -> (channels of the dense network,) bool.
"""

from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from lrhnet_jax import models
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.models import description
from lrhnet_jax.models.description import Path

Masks = dict[str, np.ndarray]


class Group(NamedTuple):
    """Where inner channels pass: paths of the convolution that writes them, a BatchNorm, the one that reads them."""

    writer: Path
    norm: Path
    reader: Path


def groups(model: str, params: Any) -> dict[str, Group]:
    """Returns a network's groups of inner channels by what writes them, in the order of its option `inner`.

    Raises:
      ConfigError: for a network whose inner channels are not known.
    """
    if model not in models.prunable():
        raise ConfigError(f"{model} cannot be pruned by channels; these can: {', '.join(models.prunable())}")
    names = models.describe(model).channels
    channel_groups = [Group(*paths) for channels in names for paths in description.find(params, channels)]
    channel_groups.sort(key=lambda group: description.by_number(group.writer))
    return {"/".join(group.writer): group for group in channel_groups}


def dense_masks(model: str, params: Any) -> Masks:
    """Returns the masks of a network that has all its inner channels."""
    flat = traverse_util.flatten_dict(params)
    channel_groups = groups(model, params)
    return {name: np.ones(flat[*group.writer, "kernel"].shape[-1], bool) for name, group in channel_groups.items()}


def widths(masks: Masks) -> tuple[int, ...]:
    """Returns the option `inner` of the network that keeps these channels."""
    names = sorted(masks, key=lambda name: description.by_number(name.split("/")))
    return tuple(int(masks[name].sum()) for name in names)


def importance(model: str, params: Any, masks: Masks) -> Masks:
    """Returns how much each channel matters, a value for each of the dense network's; 0 where it is gone.

    That is |BatchNorm's scale| times the L1 norm of the kernel that reads the channel, over the root of its mean square
    in the block, so that blocks compare. Each block's most important channel has an infinite one: it cannot go.

    Args:
      params: of the network that has the channels of `masks` left.
    """
    flat = {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(params).items()}
    values = {}
    for name, group in groups(model, params).items():
        read = np.abs(flat[*group.reader, "kernel"]).sum((0, 2))
        worth = np.abs(flat[*group.norm, "scale"]) * read
        worth = worth / max(float(np.sqrt(np.mean(np.square(worth)))), 1e-30)
        worth[worth.argmax()] = np.inf
        values[name] = np.zeros(len(masks[name]))
        values[name][masks[name]] = worth
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
    for name, group in groups(model, variables["params"]).items():
        for flat in edited.values():
            for path in list(flat):
                if path[:-1] in (group.writer, group.norm):
                    flat[path] = change(flat[path], flat[path].ndim - 1 if path[-1] == "kernel" else 0, keep[name])
                elif path == (*group.reader, "kernel"):
                    flat[path] = change(flat[path], 1, keep[name])
    return {collection: traverse_util.unflatten_dict(flat) for collection, flat in edited.items()}


def unread(model: str, params: Any) -> Masks:
    """Returns which inner channels are read at all: the others can go without any change; one a block stays."""
    flat = traverse_util.flatten_dict(params)
    keep = {}
    for name, group in groups(model, params).items():
        read = np.abs(np.asarray(flat[*group.reader, "kernel"])).sum((0, 2)) > 0
        keep[name] = read if read.any() else np.arange(len(read)) == 0
    return keep
