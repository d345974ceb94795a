"""Folded networks compute what the plain ones do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from lrhnet_jax import models
from lrhnet_jax.deploy import fold_batchnorm
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.models import resnet34, xresnet1d
from tests.helpers import fakes

# leads, window, options, how many of the BatchNorms are folded
NETWORKS = {
    "lrhnet": (3, 33, {}, (3, 6)),
    "lrhnet_wide": (2, 600, {"inner": (4,) * 5}, (15, 15)),
    "seresnet": (2, 65, {"inner": (4,) * 8}, (20, 20)),
    "cnn1d": (1, 2149, {"inner": (8, 12, 8)}, (4, 4)),
    "resnet34": (1, 256, {"width": 2}, (17, 33)),
    "xresnet1d": (12, 64, {"width": 2, "doubling": True, "depth": 50}, (55, 55)),
}
# network, block, channels that it reads, samples
BLOCKS = {
    "resnet34 halving": ("resnet34", resnet34.Block(4, stride=2), 3, 33),
    "resnet34 first": ("resnet34", resnet34.Block(3, first=True, inner=5), 3, 16),
    "xresnet1d bottleneck": ("xresnet1d", xresnet1d.Block(3, bottleneck=True), 3, 17),
    "xresnet1d halving": ("xresnet1d", xresnet1d.Block(4, stride=2), 3, 17),
}


def make(name, dtype, leads=0, window=0, size=2):
    own_leads, own_window, options, _ = NETWORKS[name]
    random = np.random.default_rng(0)
    signal = jnp.asarray(random.normal(size=(size, window or own_window, leads or own_leads)), dtype)
    person = jnp.asarray(random.uniform(size=(size, 5)), dtype)
    model = models.create(name, leads or own_leads, num_classes=5, param_dtype=dtype, **options)
    return model, fakes.variables(model, signal, person), signal, person


def largest_error(name, model, variables, *inputs):
    """Of logits and features, each by its own largest value."""
    plain, folded = (jax.jit(model.apply)(tree, *inputs) for tree in (variables, fold_batchnorm.fold(name, variables)))
    pairs = list(zip(*map(jax.tree.leaves, (plain, folded)), strict=True))
    assert all(a.dtype == b.dtype and float(abs(a).max()) > 1e-3 for a, b in pairs)
    return max(float(abs(a - b).max() / abs(a).max()) for a, b in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seresnet", "cnn1d"])
def test_float64_equals_the_plain_network(name):
    with jax.enable_x64(True):
        assert largest_error(name, *make(name, jnp.float64)) < 1e-11


@pytest.mark.slow
def test_float32_equals_the_plain_network():
    assert largest_error("lrhnet", *make("lrhnet", jnp.float32, leads=12, window=64)) < 1e-4


@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_equal_the_plain_ones(kind):
    name, block, channels, time = BLOCKS[kind]
    with jax.enable_x64(True):
        block = block.clone(dtype=jnp.float64, param_dtype=jnp.float64)
        x = jnp.asarray(np.random.default_rng(0).normal(size=(2, time, channels)))
        variables = fakes.variables(block, x)
        of_network = {collection: {"layer1_0": tree} for collection, tree in variables.items()}
        folded = {
            collection: tree["layer1_0"] for collection, tree in fold_batchnorm.fold(name, of_network).items() if tree
        }
        plain = jax.jit(block.apply, static_argnames="train")(variables, x, train=False)
        assert float(abs(plain).max()) > 0.1
        np.testing.assert_allclose(
            jax.jit(block.apply, static_argnames="train")(folded, x, train=False), plain, rtol=1e-10, atol=1e-11
        )


@pytest.mark.slow
def test_a_trained_network():
    model = models.create("lrhnet", 2, num_classes=3)
    state = fakes.train(model).state
    with jax.enable_x64(True):
        _, _, signal, person = make("lrhnet", jnp.float64, leads=2)
        variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), state.variables)
        norm = variables["params"]["layer2_0"]["bn1"]
        assert (norm["scale"] < 0).any() and (norm["scale"] > 0).any()
        norm["scale"] = norm["scale"].at[3].set(0)  # a constant channel
        assert (
            largest_error("lrhnet", model.clone(dtype=jnp.float64, param_dtype=jnp.float64), variables, signal, person)
            < 1e-11
        )


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_folded(name):
    _, variables, *_ = make(name, jnp.float32)
    folded = fold_batchnorm.fold(name, variables)
    kinds = [path[-1] for path in traverse_util.flatten_dict(folded["params"])]
    count, total = NETWORKS[name][3]
    pairs = fold_batchnorm.pairs(name, variables["params"])
    assert len(pairs) == kinds.count("shift") == count
    assert (pairs.get(("bn1",)) == ("conv1",)) == (name not in ("lrhnet", "cnn1d"))
    assert kinds.count("scale") == total - count
    assert len(jax.tree.leaves(folded["batch_stats"])) == 2 * (total - count)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(folded))


def test_folded_variables_do_not_train():
    model, variables, signal, person = make("lrhnet", jnp.float32)
    folded = fold_batchnorm.fold("lrhnet", variables)
    with pytest.raises(ConfigError, match="take the variables before folding"):
        jax.eval_shape(lambda: model.apply(folded, signal, person, train=True, mutable=["batch_stats"]))
    with pytest.raises(ConfigError, match="folded already"):
        fold_batchnorm.fold("lrhnet", folded)
    with pytest.raises(ConfigError, match="unknown model 'resnet'; choose one of lrhnet"):
        fold_batchnorm.fold("resnet", variables)
