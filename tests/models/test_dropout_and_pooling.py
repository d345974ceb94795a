"""Pooling, and dropout; tests/parity compares other layers with PyTorch's, inside the networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lrhnet_jax.models import dropout, pooling


@pytest.mark.parametrize(("window", "stride", "padding"), [(3, 2, 1), (4, 4, 0), (5, 2, 2), (2, 3, 0)])
@pytest.mark.parametrize("time", [7, 8, 9])
def test_max_pool(window, stride, padding, time):
    rng = np.random.default_rng(time)
    x = rng.integers(-4, 0, size=(2, time, 3)).astype(np.float32)  # with equal maxima, all below the zeros of a padding
    padded = np.pad(x, ((0, 0), (padding, padding), (0, 0)), constant_values=-np.inf)
    starts = range(0, padded.shape[1] - window + 1, stride)
    expected = np.stack([padded[:, start : start + window].max(1) for start in starts], 1)
    pool = functools.partial(pooling.max_pool, window=window, stride=stride, padding=padding)
    output, gradient_of = jax.vjp(pool, jnp.asarray(x))
    np.testing.assert_array_equal(output, expected)

    upstream = rng.normal(size=expected.shape).astype(np.float32)
    gradient = np.zeros_like(padded)
    for step, start in enumerate(starts):
        first = np.arange(window)[None, :, None] == padded[:, start : start + window].argmax(1)[:, None]
        gradient[:, start : start + window] += first * upstream[:, step, None]
    np.testing.assert_allclose(gradient_of(jnp.asarray(upstream))[0], gradient[:, padding : padding + time], atol=1e-6)


def test_max_over_time():
    x = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    x[1, 2] = x[1, 5] = 9  # equal maxima
    np.testing.assert_array_equal(pooling.max_over_time(jnp.asarray(x)), x.max(1))
    gradient = jax.grad(lambda x: (pooling.max_over_time(x) * jnp.arange(1.0, 4)[None]).sum())(jnp.asarray(x))
    first = np.arange(7)[None, :, None] == x.argmax(1)[:, None]
    np.testing.assert_array_equal(gradient, first * np.arange(1, 4))
    assert np.isnan(pooling.max_over_time(jnp.full((1, 3, 1), jnp.nan)))


def dropped(x, rate=0.2, key=0, train=True):
    return dropout.Dropout(rate).apply({}, x, train, rngs={"dropout": jax.random.key(key)})


def test_dropout_keeps_the_mean_and_scales_what_it_keeps():
    x = jnp.full((64, 128, 16), 3.0)
    values, counts = np.unique(dropped(x), return_counts=True)
    np.testing.assert_allclose(values, [0, 3 / 0.8], rtol=1e-6)
    deviation = (x.size * 0.2 * 0.8) ** 0.5
    assert abs(counts[0] - 0.2 * x.size) < 4 * deviation
    np.testing.assert_array_equal(dropped(x, train=False), x)
    np.testing.assert_array_equal(dropped(x, rate=0.0), x)
    assert not dropped(x, rate=1.0).any()
    assert dropped(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_dropout_masks_are_independent():
    x = jnp.ones((64, 128, 16))
    mask, other = (np.asarray(dropped(x, key=key)) > 0 for key in (0, 1))
    pairs = [(mask, other), *((np.delete(mask, 0, axis), np.delete(mask, -1, axis)) for axis in range(3))]
    for first, second in pairs:
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4 / first.size**0.5
    for axis in range(3):  # no record, sample or channel loses more than chance has it
        size = x.size // x.shape[axis]
        rates = 1 - mask.mean(tuple({0, 1, 2} - {axis}))
        assert np.abs(rates - 0.2).max() < 5 * (0.2 * 0.8 / size) ** 0.5


def test_random_bits_are_even():
    bits = np.asarray(dropout.random_bits(jax.random.key(5), (256, 256)))
    assert len(np.unique(bits)) == bits.size  # places are told apart, and not two of them alike
    ones = np.unpackbits(bits.view(np.uint8).reshape(-1, 4), axis=1).mean(0)
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / bits.size**0.5
    bytes_ = np.bincount(bits.view(np.uint8).reshape(-1, 4)[:, 3], minlength=256)
    expected = bits.size / 256
    assert ((bytes_ - expected) ** 2 / expected).sum() < 255 + 5 * (2 * 255) ** 0.5  # chi-square


def test_a_mask_is_the_same_over_several_devices():
    x = jnp.ones((8, 64, 4))
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    shared = jax.jit(dropped, in_shardings=sharding, out_shardings=sharding)(x)
    np.testing.assert_array_equal(shared, dropped(x))
