"""BatchNorm folded into convolutions: the variables of a trained network, for deployment, with the same outputs.

In evaluation BatchNorm is s x + t, with s = scale / sqrt(var + eps) and t = bias - s mean. Where it follows a
convolution directly, s goes into the convolution's kernel and bias, and t is left: `layers.BatchNorm` then only adds.
Which BatchNorms these are, a network says in its description (`models.description.Fold`).

Where a ReLU lies before BatchNorm, as in LRH-Net, s relu(x) = sign(s) relu(|s| x). So |s| goes into the convolution
before, sign(s) into the kernel of the one behind, and sign(s) t is added. To fold t into that one's bias would not be
exact: the zeros with which it pads lie behind BatchNorm, and its first and last outputs do not see all of t.

What the folded network lacks are operations that a compiler fuses with others: see docs/speed.md for what that gains.
"""

from typing import Any

import numpy as np
from flax import traverse_util

from lrhnet_jax import models
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.models import description, layers
from lrhnet_jax.models.description import Path

Flat = dict[Path, np.ndarray]


def pairs(model: str, params: Any) -> dict[Path, Path]:
    """Returns what is folded: the path of each BatchNorm -> the path of the convolution that it goes into.

    Raises:
      ConfigError: for an unknown network.
    """
    return {norm: conv for norm, conv, *_ in _folds(model, params)}


def fold(model: str, variables: Any) -> dict[str, Any]:
    """Returns the variables of the folded network, which `model.apply` takes as it takes the others, to evaluate.

    Values are computed in float64, and are of the given types.

    Args:
      model: one of models.NAMES.
      variables: {"params", "batch_stats"} of a trained network.

    Raises:
      ConfigError: for an unknown network, one that describes nothing to fold, or variables that are folded already or
        of another network.
    """
    if not models.describe(model).folds:
        raise ConfigError(f"{model} has nothing to fold: its description names no BatchNorm that can be folded")
    params, stats = (
        {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(variables[name]).items()}
        for name in ("params", "batch_stats")
    )
    folds = _folds(model, variables["params"])
    if not folds:
        raise ConfigError(f"these variables have nothing to fold: they are folded already, or not of a {model}")
    for norm, conv, *reader in folds:
        bias = params.pop((*norm, "bias"))
        gain, shift = _affine(
            params.pop((*norm, "scale")), bias, *(stats.pop((*norm, leaf)) for leaf in ("mean", "var"))
        )
        if reader:  # behind a ReLU
            sign = np.where(gain < 0, -1.0, 1.0)
            gain, shift = abs(gain), sign * shift
            _scale(params, (*reader[0], "kernel"), sign[:, None])
        for leaf in ("kernel", "bias"):
            _scale(params, (*conv, leaf), gain)
        params[*norm, "shift"] = shift.astype(bias.dtype)
    return {"params": traverse_util.unflatten_dict(params), "batch_stats": traverse_util.unflatten_dict(stats)}


def _folds(model: str, params: Any) -> list[tuple[Path, ...]]:
    """The paths of each BatchNorm that is not folded yet, of the convolution before it and, past a ReLU, behind it."""
    folds = [paths for fold in models.describe(model).folds for paths in description.find(params, fold)]
    whole = {path[:-1] for path in traverse_util.flatten_dict(params) if path[-1] == "scale"}
    return [paths for paths in folds if paths[0] in whole]


def _affine(scale: np.ndarray, bias: np.ndarray, mean: np.ndarray, var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns s and t of BatchNorm's s x + t, in float64."""
    gain = scale.astype(np.float64) / np.sqrt(var.astype(np.float64) + layers.BatchNorm.epsilon)
    return gain, bias - gain * mean


def _scale(params: Flat, path: Path, gain: np.ndarray) -> None:
    if path in params:
        params[path] = (params[path] * gain).astype(params[path].dtype)
