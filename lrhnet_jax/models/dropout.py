"""Dropout whose masks cost less than the memory that they are read and written with."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax


class Dropout(nn.Module):
    """Sets a share `rate` of the values to zero while training, and scales the rest up to the same mean.

    Which ones is a hash of their places under a key of `random_bits`: JAX's own generator takes some 75 integer
    operations a value, which on a GPU last three times as long as to read and write it.
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if not train or self.rate == 0:
            return x
        if self.rate == 1:
            return jnp.zeros_like(x)
        keep = random_bits(self.make_rng("dropout"), x.shape) < jnp.uint32(min((1 - self.rate) * 2**32, 2**32 - 1))
        return jnp.where(keep, x / (1 - self.rate), 0)


def random_bits(key: jax.Array, shape: Sequence[int]) -> jax.Array:
    """uint32 values that look random, each a function of its place and the key: the same however they are shared out.

    Two rounds of a bijective 32-bit mixing function, in the manner of MurmurHash3's finaliser, with half of the key
    before each. Good enough to drop values; to draw anything else use jax.random.
    """
    seeds = jax.random.bits(key, (2,))
    bits = jnp.zeros((), jnp.uint32)
    for axis, size in enumerate(shape):
        bits = bits * jnp.uint32(size) + lax.broadcasted_iota(jnp.uint32, shape, axis)
    for seed in seeds:
        bits = bits ^ seed
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
        bits = bits ^ (bits >> 16)
    return bits
