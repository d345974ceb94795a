"""The GPU kernels' code, interpreted: the same numbers as plain convolutions, alone, in programs, and over a mesh."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrhnet_jax import models
from lrhnet_jax.kernels import pallas_conv1d
from lrhnet_jax.kernels.conv1d import conv1d, laid_out, lax
from lrhnet_jax.runtime import devices
from lrhnet_jax.runtime.devices import Parallel, make_parallel
from tests.helpers import convolutions, fakes

ALONE, TWO = pallas_conv1d.Layout(), pallas_conv1d.Layout(networks=2)
NARROW = [
    "lrhnet_stem",
    "lrhnet_stem_odd",
    "lrhnet_conv",
    "lrhnet_halving",
    "lrhnet_halving_odd",
    "seresnet_conv",
    "seresnet_halving_odd",
    "no_padding",
    "one_output",
]


@pytest.fixture
def interpreted(monkeypatch):
    """Programs for CPUs take the form for NVIDIA's GPUs, and interpret the kernels; returns the kernels' calls."""
    calls = []

    def on_cuda(*operands, default=None, cuda=None, cpu=None):
        return (cuda or default)(*operands)

    def counted(name, function):
        def call(*arguments, **options):
            calls.append(name)
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(pallas_conv1d, "INTERPRET", True)
    monkeypatch.setattr(pallas_conv1d, "available", lambda device: True)
    monkeypatch.setattr(lax, "platform_dependent", on_cuda)
    for name in ("conv1d", "filter_gradient"):
        monkeypatch.setattr(pallas_conv1d, name, counted(name, getattr(pallas_conv1d, name)))
    return calls


def powers_of_two(layer):
    """A layer of `convolutions`, with as many outputs as the kernels take."""
    time, inputs, outputs, taps, stride, padding = convolutions.LAYERS[layer]
    return time, inputs, 1 << (outputs - 1).bit_length(), taps, stride, padding


def example(layer, dtype=jnp.float32, batch=3):
    time, inputs, outputs, taps, stride, padding = powers_of_two(layer)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(batch, time, inputs)), dtype)
    kernel = jnp.asarray(rng.normal(size=(taps, inputs, outputs)), dtype)
    gradient = jnp.asarray(rng.normal(size=(batch, (time + sum(padding) - taps) // stride + 1, outputs)), dtype)
    return x, kernel, gradient, stride, padding


def plain_gradients(x, kernel, gradient, stride, padding):
    y, pull = jax.vjp(lambda x, kernel: convolutions.plain(x, kernel, stride, padding), x, kernel)
    return y, *pull(gradient)


def error(ours, expected):
    assert ours.shape == expected.shape
    ours, expected = np.asarray(ours, np.float64), np.asarray(expected, np.float64)
    return np.linalg.norm(ours - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1e-6), ("bfloat16", 5e-3)])
@pytest.mark.parametrize("layer", NARROW)
def test_kernels_equal_the_plain_convolution(interpreted, layer, dtype, limit):
    x, kernel, gradient, stride, padding = example(layer, dtype)
    assert pallas_conv1d.suit(x, kernel, ALONE)
    y, _, by_kernel = plain_gradients(*(a.astype(jnp.float32) for a in (x, kernel, gradient)), stride, padding)
    ours = pallas_conv1d.conv1d(x, kernel, stride, padding, ALONE)
    assert ours.dtype == x.dtype and error(ours, y) < limit
    # Summed in float32, whatever the operands are.
    found = pallas_conv1d.filter_gradient(x, gradient, len(kernel), stride, padding, ALONE)
    assert found.dtype == jnp.float32 and error(found, by_kernel) < 1e-6


@pytest.mark.parametrize("layer", NARROW)
def test_gradients_of_the_operation_equal_the_plain_ones(interpreted, layer):
    x, kernel, gradient, stride, padding = example(layer)
    with laid_out(ALONE):
        y, pull = jax.vjp(lambda x, kernel: conv1d(x, kernel, stride=stride, padding=padding), x, kernel)
        ours = y, *pull(gradient)
    assert {"conv1d", "filter_gradient"} <= set(interpreted)
    for one, expected in zip(ours, plain_gradients(x, kernel, gradient, stride, padding), strict=True):
        assert error(one, expected) < 1e-6


def test_what_is_not_finite_stays_in_its_record(interpreted):
    x, kernel, _, stride, padding = example("lrhnet_conv")
    x = x.at[1, 10, 2].set(jnp.nan)
    y = pallas_conv1d.conv1d(x, kernel, stride, padding, ALONE)
    assert jnp.isnan(y[1]).any() and jnp.isfinite(y[jnp.array([0, 2])]).all()


def test_many_programs_share_out_a_sum(interpreted, monkeypatch):
    x, kernel, gradient, stride, padding = example("lrhnet_conv", batch=5)
    expected = plain_gradients(x, kernel, gradient, stride, padding)[2]
    monkeypatch.setattr(pallas_conv1d, "FILTER", {"float32": pallas_conv1d.Tiles(32, 16, 32, 4, 3)})
    for programs in (1, 7, 10**6):  # all blocks in one, a rest that is not whole, one each
        monkeypatch.setattr(pallas_conv1d, "PROGRAMS", {"float32": programs})
        found = pallas_conv1d.filter_gradient(x, gradient, len(kernel), stride, padding, ALONE)
        assert error(found, expected) < 1e-6


def test_wide_layers_and_other_dtypes_are_left_to_xla():
    x = jnp.zeros((2, 16, 16))
    assert pallas_conv1d.suit(x, jnp.zeros((8, 16, 16)), ALONE)
    for kernel in (jnp.zeros((8, 16, 64)), jnp.zeros((8, 16, 24)), jnp.zeros((1, 16, 16)), jnp.zeros((8, 64, 16))):
        assert not pallas_conv1d.suit(x, kernel, ALONE)
    assert pallas_conv1d.suit(x, jnp.zeros((8, 16, 64)), TWO)
    assert not pallas_conv1d.suit(x.astype(jnp.float16), jnp.zeros((8, 16, 16)), ALONE)
    huge = jax.ShapeDtypeStruct((1 << 15, 4096, 16), jnp.float32)
    assert not pallas_conv1d.suit(huge, jnp.zeros((8, 16, 16)), ALONE)


@pytest.mark.parametrize(
    ("platform", "capability", "switch", "expected"),
    [
        ("gpu", "9.0", None, True),
        ("gpu", "8.0", "1", True),
        ("gpu", "9.0", "0", False),
        ("gpu", "7.5", None, False),
        ("gpu", "gfx90a", None, False),
        ("cpu", None, None, False),
        ("tpu", None, None, False),
    ],
)
def test_where_kernels_run(monkeypatch, platform, capability, switch, expected):
    monkeypatch.delenv("LRHNET_GPU_KERNELS", raising=False)
    if switch:
        monkeypatch.setenv("LRHNET_GPU_KERNELS", switch)
    device = type("Device", (), {"platform": platform})()
    if capability:
        device.compute_capability = capability
    assert pallas_conv1d.available(device) is expected
    layout = Parallel("jit", (device,)).layout
    assert layout == (devices.ALONE if expected else None)


def taken_away(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax.experimental.pallas.triton", None)
    monkeypatch.delattr("jax.experimental.pallas.triton")


def without_its_load(monkeypatch):
    monkeypatch.delattr("jax.experimental.pallas.triton.load")


def refusing(monkeypatch):
    def refuse(*arguments, **options):
        raise NotImplementedError("The Pallas Triton backend has been removed")

    monkeypatch.setattr("jax.experimental.pallas.pallas_call", refuse)


@pytest.mark.parametrize("end", [taken_away, without_its_load, refusing])
def test_where_triton_is_gone_xla_takes_over_and_the_log_says_so_once(end, monkeypatch, caplog):
    from jax.experimental.pallas import triton  # noqa: F401  # loaded, so that it can be taken away

    monkeypatch.delenv("LRHNET_GPU_KERNELS", raising=False)
    device = type("Device", (), {"platform": "gpu", "compute_capability": "9.0"})()
    pallas_conv1d._supported.cache_clear()
    try:
        assert pallas_conv1d.available(device) and not caplog.records
        pallas_conv1d._supported.cache_clear()
        end(monkeypatch)
        parallel = Parallel("jit", (device,))
        assert parallel.layout is None and not pallas_conv1d.available(device)
        assert len(caplog.records) == 1 and "has no Pallas Triton backend" in caplog.text
        x, kernel, _, stride, padding = example("lrhnet_conv")
        with laid_out(parallel.layout):
            found = conv1d(x, kernel, stride=stride, padding=padding)
        assert error(found, convolutions.plain(x, kernel, stride, padding)) < 1e-6
    finally:
        pallas_conv1d._supported.cache_clear()


def test_programs_that_say_nothing_use_no_kernels(interpreted):
    x, kernel, *_ = example("lrhnet_conv")
    conv1d(x, kernel, padding=(3, 4))
    assert not interpreted


def loss(model, variables, signal, person):
    def of(params):
        output, _ = model.apply({**variables, "params": params}, signal, person, train=True, mutable=["batch_stats"])
        return jnp.square(output.logits).mean()

    return jax.value_and_grad(of)(variables["params"])


def differences(ours, expected):
    """The largest difference of each leaf of two trees, over the leaf's largest value."""
    return jax.tree.leaves(jax.tree.map(lambda a, b: float(abs(a - b).max() / (abs(b).max() + 1e-6)), ours, expected))


@pytest.fixture(scope="module")
def network():
    model = models.create("lrhnet", 3)
    rng = np.random.default_rng(0)
    signal = jnp.asarray(rng.normal(size=(8, 64, 3)), jnp.float32)
    person = jnp.asarray(rng.random((8, 5)), jnp.float32)
    variables = fakes.variables(model, signal[:1], person[:1], seed=0)
    return model, variables, signal, person, jax.jit(functools.partial(loss, model))(variables, signal, person)


@pytest.mark.slow
def test_a_network_has_the_same_gradients(interpreted, network):
    model, variables, signal, person, expected = network
    with laid_out(ALONE):
        found = jax.jit(functools.partial(loss, model))(variables, signal, person)
    assert interpreted.count("conv1d") > interpreted.count("filter_gradient") == 5
    assert max(differences(found, expected)) < 1e-4


@pytest.mark.slow
def test_over_a_mesh_each_device_has_its_part_of_the_batch(interpreted, network):
    model, variables, signal, person, expected = network
    parallel = make_parallel("jit", 4)

    def shared(variables, signal, person):
        with laid_out(parallel.layout):
            return loss(model, variables, *parallel.constrain_batch((signal, person)))

    compiled = jax.jit(shared).lower(*parallel.replicate((variables, signal, person))).compile()
    assert interpreted and parallel.layout.mesh is not None
    assert "f32[2,64,16]" in compiled.as_text()  # a quarter of the batch
    found = compiled(*parallel.replicate((variables, signal, person)))
    assert max(differences(jax.device_get(found), jax.device_get(expected))) < 1e-4


@pytest.mark.slow
def test_networks_at_once_have_kernels_of_their_own(interpreted, network):
    model, variables, signal, person, expected = network
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), variables)
    with laid_out(TWO):
        found = jax.jit(jax.vmap(functools.partial(loss, model), in_axes=(0, None, None)))(both, signal, person)
    assert interpreted.count("filter_gradient") == 7  # all but the shortcuts
    for i in range(2):
        assert max(differences(jax.tree.map(lambda leaf, i=i: leaf[i], found), expected)) < 1e-4


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")
@pytest.mark.parametrize(("dtype", "limit"), [("float32", 2e-3), ("bfloat16", 1e-2)])
@pytest.mark.parametrize("layer", ["stem", "conv", "halving"])
def test_on_a_gpu(layer, dtype, limit):
    """Compiled for the GPU at hand, at LRH-Net's own sizes, against float32 at full precision."""
    inputs, outputs, stride = {"stem": (12, 16, 1), "conv": (32, 32, 1), "halving": (16, 32, 2)}[layer]
    padding = (3, 4) if stride == 1 else (3, 3)
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (64, 4096, inputs), dtype)
    kernel = jax.random.normal(keys[1], (8, inputs, outputs), dtype)
    gradient = jax.random.normal(keys[2], (64, 4096 // stride, outputs), dtype)

    def run(x, kernel, gradient):
        with laid_out(ALONE):
            y, pull = jax.vjp(lambda x, kernel: conv1d(x, kernel, stride=stride, padding=padding), x, kernel)
        return y, *pull(gradient)

    compiled = jax.jit(run).lower(x, kernel, gradient).compile()
    assert "triton" in compiled.as_text().lower()
    with jax.default_matmul_precision("highest"):
        exact = jax.jit(functools.partial(plain_gradients, stride=stride, padding=padding))
        expected = exact(*(a.astype(jnp.float32) for a in (x, kernel, gradient)))
    for ours, theirs in zip(compiled(x, kernel, gradient), expected, strict=True):
        assert error(ours, theirs) < limit


def test_the_kernels_lower_for_a_gpu_that_is_not_here():
    if not hasattr(jax.sharding, "AbstractDevice"):
        pytest.skip("this JAX lowers Pallas kernels only where there is a GPU")
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H100", num_cores=132, platform="gpu")
    mesh = jax.sharding.AbstractMesh((1,), ("x",), abstract_device=device)
    x = jax.ShapeDtypeStruct((4, 4096, 16), jnp.bfloat16)
    kernel = jax.ShapeDtypeStruct((8, 16, 16), jnp.bfloat16)

    def gradients(x, kernel):
        with laid_out(ALONE):
            return jax.grad(lambda x, kernel: conv1d(x, kernel, padding=(3, 4)).sum(), argnums=(0, 1))(x, kernel)

    with jax.sharding.use_abstract_mesh(mesh):
        lowered = jax.jit(gradients).trace(x, kernel).lower(lowering_platforms=("cuda",))
    assert lowered.as_text().count("@__gpu$xla.gpu.triton") == 2  # by the input, and by the kernel
