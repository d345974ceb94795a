import ctypes
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from lrhnet_jax.kernels.conv1d import conv1d
from tests.helpers.convolutions import LAYERS, plain


# time, in, out, taps, stride, padding: every layer of the three networks, narrower, at even and odd lengths.
def example(layer, dtype):
    time, inputs, outputs, taps, stride, padding = LAYERS[layer]
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, time, inputs)), dtype)
    kernel = jnp.asarray(rng.normal(size=(taps, inputs, outputs)), dtype)
    weights = jnp.asarray(rng.normal(size=(3, (time + sum(padding) - taps) // stride + 1, outputs)), dtype)
    return x, kernel, weights, stride, padding


def value_and_gradients(conv, x, kernel, weights):
    """Of a function around the convolution, so that XLA has elementwise work to fuse on either side."""

    @jax.jit
    def run(x, kernel, weights):
        def loss(x, kernel):
            y = conv(jnp.maximum(2 * x, 0), kernel)
            return (jnp.tanh(y) * weights).sum(), y

        (_, y), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(x, kernel)
        return y, *gradients

    return run(x, kernel, weights)


def largest_errors(layer, dtype):
    x, kernel, weights, stride, padding = example(layer, dtype)
    ours = value_and_gradients(lambda x, k: conv1d(x, k, stride=stride, padding=padding), x, kernel, weights)
    expected = value_and_gradients(lambda x, k: plain(x, k, stride, padding), x, kernel, weights)
    for a, b in zip(ours, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    return [float(abs(a - b).max() / abs(b).max()) for a, b in zip(ours, expected, strict=True)]


@pytest.mark.parametrize("layer", LAYERS)
def test_float64_equals_the_plain_convolution(layer):
    with jax.enable_x64(True):
        assert max(largest_errors(layer, jnp.float64)) < 1e-12


@pytest.mark.parametrize("layer", LAYERS)
def test_float32_equals_the_plain_convolution(layer):
    assert max(largest_errors(layer, jnp.float32)) < 1e-5


@pytest.mark.parametrize("layer", ["lrhnet_conv", "lrhnet_halving", "lrhnet_shortcut_odd"])
def test_bfloat16_equals_the_plain_convolution(layer):
    assert max(largest_errors(layer, jnp.bfloat16)) < 0.03


def test_a_gradient_is_that_of_finite_differences():
    with jax.enable_x64(True):
        x, kernel, weights, stride, padding = example("lrhnet_halving_odd", jnp.float64)

        def loss(x, kernel):
            return (jnp.sin(conv1d(x, kernel, stride=stride, padding=padding)) * weights).sum()

        check_grads(loss, (x, kernel), order=1, modes=["rev"], eps=1e-5, rtol=1e-6)


def test_not_a_number_stays_one():
    x, kernel, weights, stride, padding = example("lrhnet_halving", jnp.float32)
    x = x.at[1, 10, 2].set(jnp.nan)

    def loss(x):
        y = conv1d(x, kernel, stride=stride, padding=padding)
        return (y * weights).sum(), y

    (_, y), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(x)
    np.testing.assert_array_equal(jnp.isnan(y), jnp.isnan(plain(x, kernel, stride, padding)))
    assert jnp.isnan(y).any()
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("layer", ["lrhnet_conv", "lrhnet_halving", "lrhnet_shortcut"])
def test_sharded_gradients_equal_those_of_one_device(layer):
    _, kernel, _, stride, padding = example(layer, jnp.float32)
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(8, LAYERS[layer][0], kernel.shape[1])), jnp.float32)

    def loss(kernel, x):
        return jnp.sin(conv1d(x, kernel, stride=stride, padding=padding)).mean()

    expected = jax.grad(lambda k, x: jnp.sin(plain(x, k, stride, padding)).mean(), argnums=(0, 1))(kernel, x)
    both = jax.grad(loss, argnums=(0, 1))

    results = {}
    for name, axis_type in (("auto", jax.sharding.AxisType.Auto), ("explicit", jax.sharding.AxisType.Explicit)):
        mesh = jax.make_mesh((4,), ("data",), axis_types=(axis_type,), devices=jax.devices()[:4])
        with jax.set_mesh(mesh):
            placed = jax.device_put(kernel, jax.P()), jax.device_put(x, jax.P("data"))
            results[name] = jax.jit(both)(*placed)
            # The loss is averaged inside what is differentiated, so that shard_map sums the kernel's gradient.
            mapped = jax.shard_map(
                jax.grad(lambda kernel, x: lax.pmean(loss(kernel, x), "data"), argnums=(0, 1)),
                mesh=mesh,
                in_specs=(jax.P(), jax.P("data")),
                out_specs=(jax.P(), jax.P("data")),
            )
            results[f"shard_map, {name}"] = jax.jit(mapped)(*placed)
    pmapped = jax.pmap(lambda k, x: lax.pmean(jax.grad(loss)(k, x), "data"), "data", in_axes=(None, 0))
    per_device = pmapped(kernel, x.reshape(4, 2, *x.shape[1:]))
    for gradient in per_device:
        np.testing.assert_allclose(gradient, expected[0], atol=1e-6)
    for name, gradients in results.items():
        for ours, theirs in zip(gradients, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6, err_msg=name)


def convolutions(platform):
    """The convolutions of a strided layer's exported training step, and its comparisons (what keeps from fusion)."""
    x, kernel, weights, stride, padding = example("lrhnet_halving", jnp.float32)

    def loss(x, kernel):
        return (conv1d(x, kernel, stride=stride, padding=padding) * weights).sum()

    exported = jax.export.export(jax.jit(jax.grad(loss, argnums=(0, 1))), platforms=[platform])(x, kernel)
    lines = exported.mlir_module().splitlines()
    return [line for line in lines if "stablehlo.convolution" in line], [line for line in lines if "compare" in line]


def test_accelerators_get_plain_convolutions():
    for platform in ("tpu", "cuda"):
        written, comparisons = convolutions(platform)
        assert any("lhs_dilate = [2]" in line for line in written)
        assert not comparisons


def test_cpus_get_no_dilated_input():
    written, comparisons = convolutions("cpu")
    assert written
    assert not any("lhs_dilate = [2]" in line for line in written)
    assert comparisons


def test_few_outputs_are_grouped_on_cpus_only():
    x, kernel, _, stride, padding = example("lrhnet_conv", jnp.float32)
    for platform, written in (("cpu", "1x9x16x32xf32"), ("cuda", "8x16x16xf32"), ("tpu", "8x16x16xf32")):
        function = jax.jit(lambda x, kernel: conv1d(x, kernel, stride=stride, padding=padding))
        module = jax.export.export(function, platforms=[platform])(x, kernel).mlir_module()
        (line,) = [line for line in module.splitlines() if "stablehlo.convolution" in line]
        assert written in line


@pytest.mark.parametrize("layer", ["lrhnet_conv", "lrhnet_halving"])
def test_inference_is_exported_for_any_batch_and_platform(layer):
    x, kernel, _, stride, padding = example(layer, jnp.float32)
    (batch,) = jax.export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)
    function = jax.jit(lambda x: conv1d(x, kernel, stride=stride, padding=padding))
    exported = jax.export.export(function, platforms=["cpu", "cuda", "tpu"])(shape)
    for size in (1, 3):
        np.testing.assert_allclose(exported.call(x[:size]), plain(x[:size], kernel, stride, padding), atol=1e-4)


FAULTS = """
import ctypes, resource
from lrhnet_jax.runtime import host
assert host.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
size = 64 << 20
for use in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(ctypes.c_size_t(size))
    ctypes.memset(block, 1, size)
    libc.free(block)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's malloc only"
)
def test_freed_memory_is_kept():
    # In a process of its own: it cannot be taken back.
    run = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    first, *later = map(int, run.stdout.split())
    assert first > 10
    assert max(later) < first / 10
