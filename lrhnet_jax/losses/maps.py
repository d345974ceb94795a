"""Feature maps of two networks made comparable: by name, in length, on the unit sphere."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lrhnet_jax.models import layers

Features = Mapping[str, jax.Array]


def match_lengths(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Average-pools the longer of two maps (batch, time, channels) to the length of the shorter."""
    length = min(a.shape[1], b.shape[1])
    return average_pool(a, length), average_pool(b, length)


def average_pool(x: jax.Array, length: int) -> jax.Array:
    """(batch, time, channels) -> (batch, length, channels), as torch.nn.AdaptiveAvgPool1d: bins may share a sample.

    Raises:
      ValueError: if x is shorter than `length`.
    """
    batch, time, channels = x.shape
    if time < length:
        raise ValueError(f"{time} samples cannot be pooled to {length}")
    if time % length == 0:
        return x.reshape(batch, length, time // length, channels).mean(2)
    bins = np.arange(length)
    starts, ends = bins * time // length, -(-(bins + 1) * time // length)
    widths = (ends - starts)[None, :, None]
    total = jnp.zeros((batch, length, channels), x.dtype)
    for shift in range(widths.max()):
        total += jnp.where(shift < widths, x[:, np.minimum(starts + shift, time - 1)], 0)
    return total / jnp.asarray(widths, x.dtype)


def l2_normalize(x: jax.Array) -> jax.Array:
    """Scales the last axis to length 1; zeros stay zeros, with a finite gradient."""
    squared = jnp.square(x).sum(-1, keepdims=True)
    return x * lax.rsqrt(jnp.where(squared > 0, squared, 1))


def layer_names(features: Features) -> list[str]:
    """Returns the names of the maps behind a network's stages: "layer1" and on, in the network's order.

    Raises:
      ValueError: if there is none.
    """
    names = [name for name in features if name.startswith("layer")]
    if not names:
        raise ValueError(f"no feature is named layer1, layer2, ...; there are {', '.join(features)}")
    return names


def map_over_time(features: Features, name: str, dtype: layers.Dtype) -> jax.Array:
    """Returns the feature map `name` (batch, time, channels), in `dtype`.

    Raises:
      ValueError: if the network has no such map, or it is not a map over time.
    """
    if name not in features or features[name].ndim != 3:
        maps = ", ".join(key for key, x in features.items() if x.ndim == 3)
        raise ValueError(f"the network has no feature map {name!r} over time; choose one of {maps}")
    return features[name].astype(dtype)
