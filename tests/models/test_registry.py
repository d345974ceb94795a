"""The networks: sizes, features, options, layers; tests/parity compares their numbers with PyTorch's."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrhnet_jax import models
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.models import layers, seresnet

PARAMETERS = {
    "lrhnet": {12: 84_516, 6: 83_748, 3: 83_364, 2: 83_236, 1: 83_108},
    "lrhnet_wide": {12: 84_500, 6: 83_060, 3: 82_340, 2: 82_100, 1: 81_860},
    "seresnet": {12: 8_837_060, 6: 8_831_300, 3: 8_828_420, 2: 8_827_460, 1: 8_826_500},
    "cnn1d": {12: 1_055_300, 6: 993_860, 3: 963_140, 2: 952_900, 1: 942_660},
}
FEATURES = {
    "lrhnet_wide": {
        "stem": (2048, 16),
        "stem_pooled": (1024, 16),
        "layer1": (1024, 16),
        "layer2": (512, 24),
        "layer3": (256, 32),
        "layer4": (128, 48),
        "layer5": (64, 64),
        "pooled": (128,),
    },
    "lrhnet": {
        "stem": (4096, 16),
        "layer1": (4096, 16),
        "layer2": (2048, 32),
        "layer3": (1024, 64),
        "pooled": (64,),
    },
    "seresnet": {
        "stem": (2048, 64),
        "stem_pooled": (1024, 64),
        "layer1": (1024, 64),
        "layer2": (512, 128),
        "layer3": (256, 256),
        "layer4": (128, 512),
        "pooled": (512,),
    },
    "cnn1d": {"layer1": (125, 128), "layer2": (32, 256), "layer3": (8, 256), "layer4": (2, 512), "pooled": (512,)},
    "resnet34": {
        "stem": (4096, 32),
        "layer1": (1024, 32),
        "layer2": (256, 64),
        "layer3": (64, 128),
        "layer4": (16, 256),
        "pooled": (256,),
    },
    "xresnet1d": {
        "stem": (2048, 64),
        "layer1": (1024, 256),
        "layer2": (512, 256),
        "layer3": (256, 256),
        "layer4": (128, 256),
        "pooled": (512,),
    },
}


def inputs(leads, window, size=2, seed=0):
    keys = jax.random.split(jax.random.key(seed))
    return jax.random.normal(keys[0], (size, window, leads)), jax.random.uniform(keys[1], (size, 5))


def random_variables(module, *inputs):
    """Variables drawn by NumPy: they need no compilation. Statistics are those of a fresh network."""
    shapes = jax.eval_shape(functools.partial(module.init, train=False), jax.random.key(0), *inputs)
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(random.normal(0, 0.2, leaf.shape), leaf.dtype), shapes["params"])
    stats = jax.tree.map_with_path(
        lambda path, leaf: jnp.full(leaf.shape, float(path[-1].key == "var"), leaf.dtype), shapes["batch_stats"]
    )
    return {"params": params, "batch_stats": stats}


@pytest.mark.parametrize(("name", "leads"), [(name, leads) for name in PARAMETERS for leads in PARAMETERS[name]])
def test_parameter_counts(name, leads):
    shapes = jax.eval_shape(models.create(name, leads).init, jax.random.key(0), *inputs(leads, 4096))
    assert models.count_parameters(shapes["params"]) == PARAMETERS[name][leads]


@pytest.mark.slow
@pytest.mark.parametrize("name", FEATURES)
def test_features_in_order(name):
    module = models.create(name, 2, num_classes=9)
    variables = jax.eval_shape(module.init, jax.random.key(0), *inputs(2, 4096))
    output = jax.eval_shape(jax.jit(module.apply), variables, *inputs(2, 4096))
    assert output.logits.shape == (2, 9)
    assert [(key, value.shape[1:]) for key, value in output.features.items()] == list(FEATURES[name].items())


@pytest.mark.parametrize(
    ("name", "millions"), [("lrhnet", 101.7), ("lrhnet_wide", 18.81), ("seresnet", 1609), ("cnn1d", 93.5)]
)
def test_multiply_accumulates(name, millions):
    assert models.multiply_accumulates(name, LEADS, 4096) / 1e6 == pytest.approx(millions, rel=5e-4)


def test_multiply_accumulates_by_hand():
    stem, block1 = 64 * 8 * 2 * 16, 64 * 8 * (16 * 16 + 16 * 16) + 2 * 16 * 2
    block2 = 32 * (8 * (16 * 32 + 32 * 32) + 16 * 32) + 2 * 32 * 4
    block3 = 16 * (8 * (32 * 64 + 64 * 64) + 32 * 64) + 2 * 64 * 8
    head = 5 * 10 + 74 * 128 + 128 * 24
    assert models.multiply_accumulates("lrhnet", 2, 64) == stem + block1 + block2 + block3 + head


def test_lrhnet_wide_keeps_its_budget():
    """No larger than LRH-Net, a quarter of its arithmetic, and an arena of 64 KiB for int8 activations on two leads."""
    assert PARAMETERS["lrhnet_wide"][12] <= PARAMETERS["lrhnet"][12]
    assert models.multiply_accumulates("lrhnet_wide", LEADS, 4096) <= 25e6
    sizes = [time * channels for time, channels in list(FEATURES["lrhnet_wide"].values())[:-1]]
    assert 4096 * 2 + max(map(sum, itertools.pairwise([4096 * 2, *sizes]))) <= 64 * 1024


@pytest.mark.parametrize("window", [514, 515, 600, 2570, 15_420])
def test_lrhnet_wide_reads_any_window_from_two_seconds(window):
    module = models.create("lrhnet_wide", 1, num_classes=4)
    variables = jax.eval_shape(module.init, jax.random.key(0), *inputs(1, window))
    assert models.count_parameters(variables["params"]) < PARAMETERS["lrhnet_wide"][1]
    output = jax.eval_shape(module.apply, variables, *inputs(1, window))
    assert output.features["layer5"].shape[1] == -(-(((window + 1) // 2) // 2) // 16)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("lrhnett", 2), {}, "unknown model 'lrhnett'; choose one of lrhnet, seresnet, cnn1d"),
        (("lrhnet", 0), {}, "at least one lead"),
        (("lrhnet", ("I", "V9")), {}, "unknown lead 'V9'"),
        (("lrhnet", ("I", "I")), {}, "named twice"),
        (("lrhnet", 2), {"dropout": 0.1}, "lrhnet has no option dropout; its options are axis_name, head_relu"),
        (("seresnet", 2), {"param_dtype": "float64"}, "jax_enable_x64"),
    ],
)
def test_create_refuses(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        models.create(*arguments, **options)


@pytest.mark.parametrize(
    ("options", "message"), [({"inner": (3, 4)}, "5 widths of at least 1, not"), ({"width": 0}, "at least 1, not 0")]
)
def test_lrhnet_wide_refuses_sizes(options, message):
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(models.create("lrhnet_wide", 2, **options).init, jax.random.key(0), *inputs(2, 600))


@pytest.mark.parametrize("window", [2145, 6242])
def test_cnn1d_refuses_windows_that_its_head_cannot_read(window):
    with pytest.raises(ConfigError, match=f"2146 to 6241 samples, not {window}"):
        jax.eval_shape(models.create("cnn1d", 1).init, jax.random.key(0), *inputs(1, window))


@pytest.mark.parametrize("window", [2146, 6241])
def test_cnn1d_reads_the_shortest_and_the_longest_window(window):
    module = models.create("cnn1d", 1)
    variables = jax.eval_shape(module.init, jax.random.key(0), *inputs(1, window))
    assert models.count_parameters(variables["params"]) == PARAMETERS["cnn1d"][1]


@pytest.mark.slow
def test_bfloat16_keeps_parameters_statistics_and_logits_in_float32():
    signal, demographics = inputs(2, 32)
    exact, half = models.create("lrhnet", 2), models.create("lrhnet", 2, dtype="bfloat16")
    variables = random_variables(half, signal, demographics)
    results = []
    for module in (exact, half):
        apply = jax.jit(functools.partial(module.apply, train=True, mutable=["batch_stats"]))
        output, changes = apply(variables, signal, demographics)
        assert {leaf.dtype for leaf in jax.tree.leaves((variables, changes, output.logits))} == {jnp.dtype("float32")}
        results.append((output, changes))
    (exact_output, exact_changes), (half_output, half_changes) = results
    assert exact_output.features["layer1"].dtype == jnp.float32
    assert half_output.features["layer1"].dtype == jnp.bfloat16
    difference = np.abs(exact_output.logits - half_output.logits).max()
    assert 0 < difference < 0.02 * np.abs(exact_output.logits).max()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.02, rtol=0.02), exact_changes, half_changes)


@pytest.mark.slow
def test_dropout_acts_in_training_only():
    signal, demographics = inputs(1, 2146)
    module = models.create("cnn1d", 1, logit_dropout=0.6, num_classes=400)
    variables = random_variables(module, signal, demographics)
    apply = functools.partial(module.apply, variables, signal, demographics)

    @jax.jit
    def train(key):
        return apply(train=True, mutable=["batch_stats"], rngs={"dropout": key})[0].logits

    first, again, other = (train(jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.mean(first == 0) == pytest.approx(0.6, abs=0.08)
    assert np.all(apply(train=False).logits != 0)


def test_dropout_of_the_teacher_lies_before_the_second_convolution():
    signal, _ = inputs(16, 12)
    module = seresnet.Block(16, dropout=1.0)  # everything is dropped: the branch is SE of its last BatchNorm's bias
    variables = random_variables(module, signal)
    dropped, _ = module.apply(variables, signal, True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)})
    bias = variables["params"]["bn2"]["bias"]
    gates = variables["params"]["se"]
    gate = jax.nn.sigmoid(jax.nn.relu(bias @ gates["fc_0"]["kernel"]) @ gates["fc_2"]["kernel"])
    np.testing.assert_allclose(dropped, jax.nn.relu(signal + (bias * gate)[None, None, :]), atol=1e-6)
    assert not np.allclose(module.apply(variables, signal, False), dropped, atol=1e-2)


def batch_norm(x, train=True, **options):
    module = layers.BatchNorm(**options)
    variables = module.init(jax.random.key(0), x, train)
    return module.apply(variables, x, train, mutable=["batch_stats"])


@pytest.mark.parametrize("offset", [0.0, 300.0, -1e4])
def test_batch_norm_is_stable_far_from_zero(offset):
    x = np.random.default_rng(0).normal(offset, 2.0, (4, 50, 3)).astype(np.float32)
    y, changes = batch_norm(jnp.asarray(x))
    wide = x.astype(np.float64)
    mean, var = wide.mean((0, 1)), wide.var((0, 1))
    np.testing.assert_allclose(y, (wide - mean) / np.sqrt(var + 1e-5), atol=2e-3 if offset == -1e4 else 1e-4)
    np.testing.assert_allclose(changes["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(changes["batch_stats"]["var"], 0.9 + 0.1 * var * 200 / 199, rtol=1e-5)


def test_batch_norm_of_a_constant_channel():
    y, changes = batch_norm(jnp.full((2, 8, 1), 7.3))
    np.testing.assert_allclose(y, 0, atol=1e-3)
    np.testing.assert_allclose(changes["batch_stats"]["var"], 0.9, atol=1e-6)


def test_batch_norm_refuses_a_single_value():
    with pytest.raises(ValueError, match="larger batch or window"):
        batch_norm(jnp.ones((1, 1, 3)))


@pytest.mark.slow
def test_batch_norm_over_a_pmap_axis_is_that_of_the_whole_batch():
    x = jax.random.normal(jax.random.key(0), (4, 3, 10, 2)) * 3 + jnp.arange(4.0)[:, None, None, None]
    target = jax.random.normal(jax.random.key(1), x.shape)
    single, parallel = layers.BatchNorm(), layers.BatchNorm(axis_name="batch")
    variables = random_variables(single, x[0])

    def loss(params, x, target, module):
        variables_ = {**variables, "params": params}
        y, changes = module.apply(variables_, x, True, mutable=["batch_stats"])
        return (jnp.sin(y) * target).mean(), (y, changes)

    whole, together = (array.reshape(12, 10, 2) for array in (x, target))
    gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
    (params, signal), (y, changes) = gradient(variables["params"], whole, together, single)

    def on_device(x, target):
        (params, signal), aux = gradient(variables["params"], x, target, parallel)
        return (jax.lax.pmean(params, "batch"), signal), aux

    (params4, signal4), (y4, changes4) = jax.pmap(on_device, axis_name="batch")(x, target)
    np.testing.assert_allclose(y4.reshape(y.shape), y, atol=1e-5)
    jax.tree.map(lambda many, one: np.testing.assert_allclose(many[2], one, rtol=1e-5), changes4, changes)
    jax.tree.map(lambda many, one: np.testing.assert_allclose(many[0], one, atol=1e-6), params4, params)
    # A device differentiates the sum of all devices' losses, which is four times their mean.
    np.testing.assert_allclose(signal4.reshape(signal.shape) / 4, signal, atol=1e-6)
