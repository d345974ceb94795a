"""The ResNet-34 of Hannun et al.; tests/parity compares its numbers with PyTorch's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrhnet_jax import models
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.models import layers, resnet34


def shapes(window=256, leads=1, **options):
    module = models.create("resnet34", leads, **options)
    return jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, window, leads)), jnp.zeros((1, 5)))


def small(window=512, size=2, **options):
    """A narrow network, its variables (drawn by NumPy: they need no compilation) and inputs."""
    module = models.create("resnet34", 1, num_classes=4, width=2, **options)
    random = np.random.default_rng(0)
    inputs = (random.normal(size=(size, window, 1)), random.uniform(size=(size, 5)))
    signal, demographics = (jnp.asarray(array, jnp.float32) for array in inputs)
    shapes = jax.eval_shape(functools.partial(module.init, train=False), jax.random.key(0), signal, demographics)

    def draw(path, leaf):
        if path[-1].key == "kernel":
            return jnp.asarray(random.normal(0, (2 / np.prod(leaf.shape[:-1])) ** 0.5, leaf.shape), leaf.dtype)
        return jnp.full(leaf.shape, float(path[-1].key in ("scale", "var")), leaf.dtype)

    return module, jax.tree.map_with_path(draw, shapes), signal, demographics


def test_the_published_configuration_has_10_466_148_parameters():
    variables = shapes(num_classes=4)
    assert models.count_parameters(variables["params"]) == 10_466_148
    kernels = [leaf.shape for leaf in jax.tree.leaves(variables["params"]) if len(leaf.shape) == 3]
    assert len(kernels) == 33 and {shape[0] for shape in kernels} == {16}
    # Keras' total has the running statistics too; it is not the published number.
    assert models.count_parameters(variables["batch_stats"]) == 2 * 3872


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"leads": 2}, {"num_classes": 14}, {"width": 16}, {"use_demographics": True}])
def test_no_other_configuration_has_them(change):
    assert models.count_parameters(shapes(**{"num_classes": 4, **change})["params"]) != 10_466_148


def test_multiply_accumulates_by_hand():
    total, length, inputs = 512 * 16 * 1 * 4, 512, 4  # the stem
    for channels in (4, 8, 16, 32):
        square = 16 * channels * channels
        total += length * (16 * inputs * channels + square)
        total += length // 2 * 2 * square + length // 2 * 2 * square + length // 4 * 2 * square
        length, inputs = length // 4, channels
    assert models.multiply_accumulates("resnet34", 1, 512, width=4, num_classes=3) == total + 32 * 3


@pytest.mark.parametrize("window", [256, 511, 1000, 18286])
def test_any_length_from_256_samples_is_read(window):
    module = models.create("resnet34", 1, num_classes=4, sequence=True)
    signal = jax.ShapeDtypeStruct((3, window, 1), jnp.float32)
    person = jax.ShapeDtypeStruct((3, 5), jnp.float32)
    output, _ = jax.eval_shape(
        functools.partial(module.init_with_output, train=False), jax.random.key(0), signal, person
    )
    assert output.logits.shape == (3, window // 256, 4)
    assert [output.features[f"layer{i}"].shape for i in (1, 2, 3, 4)] == [
        (3, window >> 2 * i, 16 << i) for i in (1, 2, 3, 4)
    ]


def test_a_window_of_which_nothing_is_left_is_refused():
    with pytest.raises(ConfigError, match="give it 256 samples, not 255"):
        shapes(window=255)
    with pytest.raises(ConfigError, match="at least one filter, not 0"):
        shapes(width=0)


@pytest.mark.slow
def test_record_logits_are_the_mean_of_the_steps_and_demographics_count_where_they_are_asked_for():
    module, variables, signal, demographics = small(use_demographics=True)
    steps = jax.jit(module.clone(sequence=True).apply)(variables, signal, demographics).logits
    assert steps.shape == (2, 2, 4)
    assert np.abs(steps[:, 0] - steps[:, 1]).max() > 1e-3
    apply = jax.jit(module.apply)
    # Logits of over a hundred: float32 has steps of 1e-5 there.
    np.testing.assert_allclose(apply(variables, signal, demographics).logits, steps.mean(1), rtol=1e-5, atol=1e-5)
    assert not np.allclose(apply(variables, signal, 1 - demographics).logits, steps.mean(1), atol=1e-2)


@pytest.mark.slow
def test_demographics_are_ignored_by_default():
    module, variables, signal, demographics = small()
    apply = jax.jit(module.apply)
    one, other = (apply(variables, signal, person).logits for person in (demographics, 1 - demographics))
    np.testing.assert_array_equal(one, other)


def run_block(x, features, stride, first=False, train=False):
    """A block whose second convolution is zero but for its bias, 1: what is left is the shortcut plus 1."""
    module = resnet34.Block(features, stride, first)
    variables = module.init(jax.random.key(0), x, False)
    conv = variables["params"]["conv2"]
    conv["kernel"], conv["bias"] = jnp.zeros_like(conv["kernel"]), jnp.ones_like(conv["bias"])
    return module.apply(variables, x, train) - 1


@pytest.mark.slow
def test_shortcut_pools_maxima_and_pads_channels_with_zeros():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 3)), jnp.float32)
    np.testing.assert_allclose(run_block(x, 3, 1), x, atol=1e-6)
    pooled = np.maximum(x[:, 0:6:2], x[:, 1:6:2])
    halved = run_block(x, 6, 2)
    np.testing.assert_allclose(halved[..., :3], pooled, atol=1e-6)
    np.testing.assert_allclose(halved[..., 3:], 0, atol=1e-6)


@pytest.mark.slow
def test_a_block_activates_before_it_convolves_and_the_first_one_does_not():
    signal = jnp.full((1, 32, 1), -1.0)  # ReLU leaves nothing of it
    for first, reaches in ((True, True), (False, False)):
        module = resnet34.Block(2, 1, first)
        variables = module.init(jax.random.key(0), signal, False)
        _, state = module.apply(variables, signal, False, capture_intermediates=True, mutable=["intermediates"])
        assert bool(np.any(state["intermediates"]["conv1"]["__call__"][0] != 0)) is reaches


def test_dropout_lies_between_the_convolutions_and_acts_in_training_only():
    x = jax.random.normal(jax.random.key(0), (2, 16, 4))
    module = resnet34.Block(4, dropout=1.0)  # everything is dropped: the second bias, zero, and the shortcut are left
    variables = module.init(jax.random.key(0), x, False)
    dropped, _ = module.apply(variables, x, True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)})
    np.testing.assert_array_equal(dropped, x)
    assert not np.allclose(module.apply(variables, x, False), x, atol=0.1)


def test_convolutions_start_as_keras_starts_them():
    module = layers.Conv1D(200, 16, use_bias=True, weight_init="he_normal")
    params = module.init(jax.random.key(0), jnp.zeros((1, 20, 9)))["params"]
    std = (2 / (16 * 9)) ** 0.5
    kernel = np.asarray(params["kernel"])
    assert kernel.std() == pytest.approx(std, rel=0.02)
    assert np.abs(kernel).max() == pytest.approx(2 * std / 0.87963, rel=0.01)  # cut off at two of the uncut normal
    np.testing.assert_array_equal(params["bias"], 0)


@pytest.mark.slow
def test_it_learns():
    """A few steps of gradient descent on two records tell them apart: every layer passes a gradient on."""
    module, variables, signal, demographics = small(dropout=0.0)
    target = jnp.asarray([0, 3])

    def loss(params):
        output, _ = module.apply(
            {**variables, "params": params}, signal, demographics, train=True, mutable=["batch_stats"]
        )
        return -jnp.take_along_axis(jax.nn.log_softmax(output.logits), target[:, None], 1).mean()

    step = jax.jit(jax.value_and_grad(loss))
    params = variables["params"]
    first, gradients = step(params)
    useless = ("conv1", "bias")  # a BatchNorm follows, which takes every constant away
    for path, leaf in jax.tree.leaves_with_path(gradients):
        names = tuple(key.key for key in path)
        assert names[-2:] == useless or np.abs(leaf).max() > 0, names
    for _ in range(10):
        value, gradients = step(params)
        params = jax.tree.map(lambda p, g: p - 0.05 * g, params, gradients)
    assert value < first / 2
