"""Channels that go: the shrunk network is the one with silent channels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrhnet_jax import models
from lrhnet_jax.compress import channels, weight_masks
from lrhnet_jax.errors import ConfigError
from tests.helpers import fakes

# window, options, inner channels of the dense network
NETWORKS = {
    "lrhnet": (64, {}, (16, 32, 64)),
    "seresnet": (64, {}, (64, 64, 128, 128, 256, 256, 512, 512)),
    "cnn1d": (2146, {}, (128, 256, 256)),
    "resnet34": (256, {"width": 2}, (2,) * 4 + (4,) * 4 + (8,) * 4 + (16,) * 4),
}


def make(name, leads=2, seed=0, **options):
    """A network with random variables and inputs."""
    window, own, _ = NETWORKS[name]
    model = models.create(name, leads, num_classes=5, **own, **options)
    random = np.random.default_rng(seed)
    signal = jnp.asarray(random.normal(size=(2, window, leads)), jnp.float32)
    person = jnp.asarray(random.uniform(size=(2, 5)), jnp.float32)
    return model, fakes.variables(model, signal, person, seed=seed), signal, person


def drop(name, variables, share):
    """Channel masks that drop a share of the inner channels, and the dense ones."""
    dense = channels.dense_masks(name, variables["params"])
    count = round(weight_masks.total(dense) * (1 - share))
    values = channels.importance(name, variables["params"], dense)
    return weight_masks.keep_largest(values, dense, count), dense


def run(model, variables, signal, person):
    # What runs only once is compiled without optimisation: in a fraction of the time.
    apply = jax.jit(model.apply)
    return apply(variables, signal, person)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_shrunk_network_computes_what_the_one_with_silent_channels_does(name):
    model, variables, signal, person = make(name)
    masks, dense = drop(name, variables, 0.4)
    assert channels.widths(dense) == NETWORKS[name][2]
    assert weight_masks.kept(masks) == round(0.6 * weight_masks.total(dense))
    smaller = models.create(name, 2, num_classes=5, **NETWORKS[name][1], inner=channels.widths(masks))
    shrunk = channels.shrink(name, variables, masks)
    template = jax.eval_shape(functools.partial(smaller.init, train=False), jax.random.key(0), signal, person)
    assert jax.tree.map(np.shape, shrunk) == jax.tree.map(np.shape, template)
    assert models.count_parameters(shrunk["params"]) < 0.85 * models.count_parameters(variables["params"])
    silent = run(model, channels.silence(name, variables, masks), signal, person)
    small = run(smaller, shrunk, signal, person)
    np.testing.assert_allclose(small.logits, silent.logits, rtol=1e-4, atol=1e-4)
    assert not np.allclose(small.logits, run(model, variables, signal, person).logits, atol=1e-3)
    if name != "cnn1d":  # whose features are the inner channels
        for feature, value in small.features.items():
            np.testing.assert_allclose(value, silent.features[feature], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_shrinking_twice_is_shrinking_once(name):
    _, variables, *_ = make(name)
    first, _ = drop(name, variables, 0.3)
    once = channels.shrink(name, variables, first)
    values = channels.importance(name, once["params"], first)
    second = weight_masks.keep_largest(values, first, round(weight_masks.kept(first) * 0.7))
    twice = channels.shrink(name, once, {block: second[block][first[block]] for block in second})
    jax.tree.map(np.testing.assert_array_equal, twice, channels.shrink(name, variables, second))
    assert all(not (second[block] & ~first[block]).any() for block in second)


def test_macs_shrink_with_the_channels():
    dense = models.multiply_accumulates("lrhnet", 2, 64)
    half = models.multiply_accumulates("lrhnet", 2, 64, inner=(8, 16, 32))
    convolutions = 8 * (64 * 2 * 16 * 16 + 32 * (16 * 32 + 32 * 32) + 16 * (32 * 64 + 64 * 64))
    assert dense - half == convolutions // 2


def test_unimportant_channels_go_first_and_one_of_a_block_always_stays():
    _, variables, *_ = make("lrhnet")
    params = variables["params"]
    params["layer2_0"]["bn1"]["scale"] = params["layer2_0"]["bn1"]["scale"].at[jnp.array([3, 7])].set(0)
    params["layer3_0"]["conv2"]["kernel"] = params["layer3_0"]["conv2"]["kernel"].at[:, 5].set(0)
    dense = channels.dense_masks("lrhnet", params)
    values = channels.importance("lrhnet", params, dense)
    masks = weight_masks.keep_largest(values, dense, weight_masks.total(dense) - 3)
    assert [list(np.flatnonzero(~masks[block])) for block in sorted(masks)] == [[], [3, 7], [5]]
    least = weight_masks.keep_largest(values, dense, 3)
    assert channels.widths(least) == (1, 1, 1)
    best = [np.argmax(values[block]) for block in sorted(values)]
    assert [int(np.flatnonzero(least[block])[0]) for block in sorted(least)] == best


def test_channels_that_nothing_reads_can_go_without_any_change():
    model, variables, signal, person = make("lrhnet")
    kernel = variables["params"]["layer3_0"]["conv2"]["kernel"]
    variables["params"]["layer3_0"]["conv2"]["kernel"] = kernel.at[:, :50].set(0)
    variables["params"]["layer1_0"]["conv2"]["kernel"] *= 0
    keep = channels.unread("lrhnet", variables["params"])
    assert channels.widths(keep) == (1, 32, 14)
    smaller = models.create("lrhnet", 2, num_classes=5, inner=channels.widths(keep))
    found = run(smaller, channels.shrink("lrhnet", variables, keep), signal, person)
    np.testing.assert_allclose(found.logits, run(model, variables, signal, person).logits, atol=1e-5)


def test_wrong_widths_and_networks_are_named():
    with pytest.raises(ConfigError, match=r"inner: the network needs 3 widths of at least 1, not \[4, 4\]"):
        models.multiply_accumulates("lrhnet", 2, 64, inner=(4, 4))
    with pytest.raises(ConfigError, match=r"needs 3 widths of at least 1, not \[4, 0, 4\]"):
        models.multiply_accumulates("lrhnet", 2, 64, inner=[4, 0, 4])
    with pytest.raises(ConfigError, match="mlp cannot be pruned by channels; these can: lrhnet, seresnet, cnn1d, res"):
        channels.groups("mlp", {})
