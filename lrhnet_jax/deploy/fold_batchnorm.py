"""BatchNorm folded into convolutions: the variables of a trained network, for deployment, with the same outputs.

In evaluation BatchNorm is s x + t, with s = scale / sqrt(var + eps) and t = bias - s mean. Where it follows a
convolution directly, s goes into the convolution's kernel and bias, and t is left: `layers.BatchNorm` then only adds.

  lrhnet_wide, seresnet,
  cnn1d, xresnet1d             every BatchNorm
  resnet34                     after the stem and between a block's convolutions; before a block's first convolution,
                               where the shortcut branches off, and before the head there is a sum, not a convolution
  lrhnet                       between a block's convolutions; behind the shortcut is a sum and a ReLU

LRH-Net has a ReLU before BatchNorm: s relu(x) = sign(s) relu(|s| x). So |s| goes into the convolution before, sign(s)
into the kernel of the one behind, and sign(s) t is added. To fold t into that one's bias would not be exact: the zeros
with which it pads lie behind BatchNorm, and its first and last outputs do not see all of t.

What the folded network lacks are operations that a compiler fuses with others: see docs/speed.md for what that gains.
"""

from typing import Any

import numpy as np
from flax import traverse_util

from lrhnet_jax.errors import ConfigError
from lrhnet_jax.models import NAMES, layers

Path = tuple[str, ...]
Flat = dict[Path, np.ndarray]

_NUMBERED = {"bn1": "conv1", "bn2": "conv2", "bn3": "conv3", "downsample_1": "downsample_0"}
# BatchNorm -> the convolution before it, in the network itself and in its blocks.
_BEFORE: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "lrhnet_wide": (_NUMBERED, _NUMBERED),
    "seresnet": (_NUMBERED, _NUMBERED),
    "cnn1d": (_NUMBERED, _NUMBERED),
    "xresnet1d": (_NUMBERED, _NUMBERED),
    "resnet34": ({"bn1": "conv1"}, {"bn2": "conv1"}),
    "lrhnet": ({}, {"bn1": "conv1"}),
}


def pairs(model: str, params: Any) -> dict[Path, Path]:
    """Returns what is folded: the path of each BatchNorm -> the path of the convolution that it goes into.

    Raises:
      ConfigError: for an unknown network.
    """
    if model not in _BEFORE:
        raise ConfigError(f"unknown model {model!r}; choose one of {', '.join(NAMES)}")
    norms = [path[:-1] for path in traverse_util.flatten_dict(params) if path[-1] == "scale"]
    before = {norm: _BEFORE[model][len(norm) > 1].get(norm[-1]) for norm in norms}
    return {norm: (*norm[:-1], conv) for norm, conv in before.items() if conv}


def fold(model: str, variables: Any) -> dict[str, Any]:
    """Returns the variables of the folded network, which `model.apply` takes as it takes the others, to evaluate.

    Values are computed in float64, and are of the given types.

    Args:
      model: one of models.NAMES.
      variables: {"params", "batch_stats"} of a trained network.

    Raises:
      ConfigError: for an unknown network, or variables that are folded already or of another network.
    """
    params, stats = (
        {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(variables[name]).items()}
        for name in ("params", "batch_stats")
    )
    found = pairs(model, variables["params"])
    if not found:
        raise ConfigError(f"these variables have nothing to fold: they are folded already, or not of a {model}")
    for norm, conv in found.items():
        bias = params.pop((*norm, "bias"))
        gain, shift = _affine(
            params.pop((*norm, "scale")), bias, *(stats.pop((*norm, leaf)) for leaf in ("mean", "var"))
        )
        if model == "lrhnet":
            sign = np.where(gain < 0, -1.0, 1.0)
            gain, shift = abs(gain), sign * shift
            _scale(params, (*norm[:-1], "conv2", "kernel"), sign[:, None])
        for leaf in ("kernel", "bias"):
            _scale(params, (*conv, leaf), gain)
        params[*norm, "shift"] = shift.astype(bias.dtype)
    return {"params": traverse_util.unflatten_dict(params), "batch_stats": traverse_util.unflatten_dict(stats)}


def _affine(scale: np.ndarray, bias: np.ndarray, mean: np.ndarray, var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns s and t of BatchNorm's s x + t, in float64."""
    gain = scale.astype(np.float64) / np.sqrt(var.astype(np.float64) + layers.BatchNorm.epsilon)
    return gain, bias - gain * mean


def _scale(params: Flat, path: Path, gain: np.ndarray) -> None:
    if path in params:
        params[path] = (params[path] * gain).astype(params[path].dtype)
