"""xresnet1d: sizes by hand, lengths, options, its averages and its start; tests/parity compares it with PyTorch's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrhnet_jax import models
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.models import xresnet1d


def shapes(leads=12, window=256, size=1, **options):
    """The shapes of the output and of the variables."""
    module = models.create("xresnet1d", leads, **{"num_classes": 5, **options})
    inputs = jax.ShapeDtypeStruct((size, window, leads), jnp.float32), jax.ShapeDtypeStruct((size, 5), jnp.float32)
    return jax.eval_shape(functools.partial(module.init_with_output, train=False), jax.random.key(0), *inputs)


def count(**options):
    return models.count_parameters(shapes(**options)[1]["params"])


@pytest.mark.parametrize(
    ("depth", "leads", "expected"), [(101, 12, 1_807_237), (101, 1, 1_805_477), (50, 12, 888_965), (18, 2, 346_309)]
)
def test_parameter_counts(depth, leads, expected):
    assert count(depth=depth, leads=leads) == expected


def by_hand(depth, width, taps, doubling, leads, classes):
    """Counts weights layer by layer, without the closed form of the module's docstring."""

    def conv(inputs, outputs, taps):
        return taps * inputs * outputs + 2 * outputs  # and BatchNorm's scale and bias

    half = width // 2
    total = conv(leads, half, taps) + conv(half, half, taps) + conv(half, width, taps)
    inputs = width
    for stage, blocks in enumerate(xresnet1d.BLOCKS[depth]):
        filters = width * 2**stage if doubling else width
        outputs = 4 * filters if depth >= 50 else filters
        for _ in range(blocks):
            if depth >= 50:
                total += conv(inputs, filters, 1) + conv(filters, filters, taps) + conv(filters, outputs, 1)
            else:
                total += conv(inputs, filters, taps) + conv(filters, outputs, taps)
            total += conv(inputs, outputs, 1) if inputs != outputs else 0
            inputs = outputs
    return total + 2 * inputs * classes + classes


@pytest.mark.parametrize("depth", xresnet1d.BLOCKS)
@pytest.mark.parametrize("doubling", [False, True])
def test_parameters_by_hand(depth, doubling):
    options = {"depth": depth, "width": 8, "taps": 3, "doubling": doubling}
    assert count(leads=3, num_classes=7, **options) == by_hand(**options, leads=3, classes=7)


def test_the_closed_form_of_the_docstring():
    w, leads, classes = 64, 12, 5
    stem = 5 * (leads * w // 2 + w // 2 * w // 2 + w // 2 * w) + 2 * (w // 2 + w // 2 + w)
    blocks = 32 * (13 * w**2 + 12 * w) + 14 * w**2 + 20 * w
    head = 8 * w * classes + classes
    assert (stem, blocks, head) == (17_536, 1_787_136, 2_565)
    assert count() == stem + blocks + head == by_hand(101, w, 5, False, leads, classes)


@pytest.mark.parametrize("window", [1, 33, 1000, 1001, 4097])
@pytest.mark.parametrize("leads", [1, 12])
def test_any_length_is_read_and_halved_with_rounding_up(window, leads):
    output, _ = shapes(leads, window, size=3, depth=18, width=4, doubling=True)
    assert output.logits.shape == (3, 5)

    def halved(times):
        return -(-window // 2**times)

    expected = {"stem": (3, halved(1), 4)}
    expected |= {f"layer{i}": (3, halved(i + 1), 4 << i - 1) for i in (1, 2, 3, 4)}
    assert {name: value.shape for name, value in output.features.items()} == {**expected, "pooled": (3, 64)}


def small(window=37, size=3, **options):
    """A narrow network, its variables (drawn by NumPy: they need no compilation) and inputs."""
    module = models.create("xresnet1d", 2, num_classes=4, width=4, **{"depth": 18, **options})
    random = np.random.default_rng(0)
    signal, person = (jnp.asarray(random.normal(size=shape), jnp.float32) for shape in ((size, window, 2), (size, 5)))
    variables = jax.eval_shape(functools.partial(module.init, train=False), jax.random.key(0), signal, person)

    def draw(path, leaf):
        if path[-1].key == "kernel":
            return jnp.asarray(random.normal(0, (2 / np.prod(leaf.shape[:-1])) ** 0.5, leaf.shape), leaf.dtype)
        return jnp.full(leaf.shape, float(path[-1].key in ("scale", "var")), leaf.dtype)

    return module, jax.tree.map_with_path(draw, variables), signal, person


def test_pooled_are_the_maxima_and_the_means_of_the_last_layer():
    module, variables, signal, person = small()
    output = jax.jit(module.apply)(variables, signal, person)
    last = output.features["layer4"]
    assert last.shape[1] > 1
    np.testing.assert_allclose(output.features["pooled"], np.concatenate([last.max(1), last.mean(1)], 1), rtol=1e-6)
    dense = variables["params"]["fc"]
    np.testing.assert_allclose(
        output.logits, output.features["pooled"] @ dense["kernel"] + dense["bias"][None], rtol=1e-4
    )


@pytest.mark.slow
def test_demographics_count_only_where_they_are_asked_for():
    for asked in (False, True):
        module, variables, signal, person = small(use_demographics=asked)
        apply = jax.jit(module.apply)
        one, other = (apply(variables, signal, p).logits for p in (person, 1 - person))
        assert bool(np.any(one != other)) is asked


@pytest.mark.parametrize("time", [1, 2, 7])
def test_average_of_pairs(time):
    x = np.random.default_rng(0).normal(size=(2, time, 3)).astype(np.float32)
    expected = np.stack([x[:, i : i + 2].mean(1) for i in range(0, time, 2)], axis=1)
    np.testing.assert_allclose(xresnet1d.average_pairs(jnp.asarray(x)), expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_block_starts_as_its_shortcut(bottleneck):
    channels = 8
    x = jax.random.normal(jax.random.key(0), (2, 9, channels))
    block = xresnet1d.Block(channels // 4 if bottleneck else channels, stride=2, bottleneck=bottleneck)
    variables = block.init(jax.random.key(1), x, False)
    y, _ = block.apply(variables, x, True, mutable=["batch_stats"])
    np.testing.assert_allclose(y, jax.nn.relu(xresnet1d.average_pairs(x)), atol=1e-6)
    zero = [path[0].key for path, leaf in jax.tree.leaves_with_path(variables["params"]) if not np.any(leaf)]
    assert sorted(set(zero)) == (["bn1", "bn2", "bn3"] if bottleneck else ["bn1", "bn2"])  # their biases
    last = variables["params"]["bn3" if bottleneck else "bn2"]
    assert not np.any(last["scale"]) and np.all(variables["params"]["bn1"]["scale"] == 1)


def test_convolutions_start_with_the_deviation_of_he_et_al():
    module = xresnet1d.Block(96, taps=5)
    kernel = module.init(jax.random.key(0), jnp.zeros((1, 8, 96)), False)["params"]["conv1"]["kernel"]
    assert np.std(kernel) == pytest.approx((2 / (5 * 96)) ** 0.5, rel=0.02)


@pytest.mark.slow
def test_dropout_acts_in_training_only():
    module, variables, signal, person = small(dropout=1.0)
    train = jax.jit(functools.partial(module.apply, train=True, mutable=["batch_stats"]))
    output, _ = train(variables, signal, person, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(output.logits, np.zeros((3, 4)))  # what the bias is
    assert np.all(np.abs(jax.jit(module.apply)(variables, signal, person).logits) > 0)


@pytest.mark.slow
def test_it_learns_from_its_own_start():
    """Zeros in every branch do not keep it from learning: after a few steps they are none any more."""
    module, _, signal, person = small(size=4)
    variables = jax.jit(functools.partial(module.init, train=False))(jax.random.key(0), signal, person)
    target = jnp.asarray([0, 1, 2, 3])

    def loss(params):
        output, _ = module.apply({**variables, "params": params}, signal, person, train=True, mutable=["batch_stats"])
        return -jnp.take_along_axis(jax.nn.log_softmax(output.logits), target[:, None], 1).mean()

    adam = optax.adam(0.01)

    @jax.jit
    def step(params, state):
        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = adam.update(gradients, state)
        return optax.apply_updates(params, updates), state, value, gradients

    params = variables["params"]
    state, values = adam.init(params), []
    for _ in range(15):
        params, state, value, gradients = step(params, state)
        values.append(float(value))
    assert values[-1] < values[0] / 2
    assert np.any(params["layer1_0"]["bn2"]["scale"])
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 20}, "xresnet1d has no depth 20; choose 18, 34, 50, 101"),
        ({"width": 0}, "even width of at least two filters, not 0"),
        ({"width": 7}, "even width of at least two filters, not 7"),
        ({"taps": 4}, "odd number of taps, not 4"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        shapes(**options)
