"""Over time, (batch, time, channels): means, maxima, and maxima of windows."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from lrhnet_jax.kernels.conv1d import is_plain


def mean_over_time(x: jax.Array, dtype: Any) -> jax.Array:
    """(batch, time, channels) -> (batch, channels), summed in `dtype`."""
    return x.mean(1, dtype=dtype)


def max_over_time(x: jax.Array) -> jax.Array:
    """(batch, time, channels) -> (batch, channels). Of equal maxima, the first one gets the gradient.

    The gradient of x.max compares the maximum with the samples. XLA may have computed those twice, differently rounded:
    then none is equal, and the gradient is 0 / 0. Programs for converters have x.max, which they know.
    """
    if is_plain():
        return x.max(1)
    first = jnp.arange(x.shape[1])[None, :, None] == x.argmax(1)[:, None, :]
    return jnp.where(first, x, 0).sum(1)


def max_pool(x: jax.Array, window: int, stride: int, padding: int = 0) -> jax.Array:
    """Maximum over `window` samples every `stride`; `padding` samples of -inf on either side; a short rest is left out.

    Written as the maximum of shifted slices, which all platforms compute fast, and which is exported without loss to
    ONNX. Of equal maxima, the first one gets the gradient, as in PyTorch.
    """
    if padding:
        x = jnp.pad(x, ((0, 0), (padding, padding), (0, 0)), constant_values=-jnp.inf)
    return _max_pool(x, window, stride, x.shape[1])


def _shifts(x: jax.Array, window: int, stride: int) -> list[jax.Array]:
    """The windows' samples: the first of all windows, the second, ..."""
    end = (x.shape[1] - window) // stride * stride + 1
    return [x[:, shift : shift + end : stride] for shift in range(window)]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: jax.Array, window: int, stride: int, time: int) -> jax.Array:
    return functools.reduce(jnp.maximum, _shifts(x, window, stride))


def _max_pool_forward(x: jax.Array, window: int, stride: int, time: int) -> tuple[jax.Array, jax.Array]:
    first, *others = _shifts(x, window, stride)
    pooled, place = first, jnp.zeros(first.shape, jnp.int8)
    for shift, other in enumerate(others, start=1):
        place = jnp.where(other > pooled, jnp.int8(shift), place)
        pooled = jnp.maximum(pooled, other)
    return pooled, place


def _max_pool_backward(window: int, stride: int, time: int, place: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    """Every sample adds up what the windows over it give it: no window writes, so nothing is summed in memory.

    Sample stride * m + phase is number stride * q + phase of window m - q.
    """
    steps = gradient.shape[1]
    reach = -(-window // stride)  # windows over a sample, at most
    edges = ((0, 0), (reach - 1, reach - 1), (0, 0))
    place, gradient = jnp.pad(place, edges, constant_values=-1), jnp.pad(gradient, edges)
    phases = []
    for phase in range(stride):
        terms = [
            jnp.where(place == stride * q + phase, gradient, 0)[:, reach - 1 - q :][:, : steps + reach - 1]
            for q in range(reach)
            if stride * q + phase < window
        ]
        phases.append(sum(terms) if terms else jnp.zeros_like(gradient[:, : steps + reach - 1]))
    of_signal = jnp.stack(phases, axis=2)
    of_signal = of_signal.reshape(of_signal.shape[0], -1, of_signal.shape[3])[:, :time]
    return (jnp.pad(of_signal, ((0, 0), (0, time - of_signal.shape[1]), (0, 0))),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)
