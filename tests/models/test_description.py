"""What networks say of themselves is true of their parameters, for every network that is registered."""

import functools

import jax
import jax.numpy as jnp
import pytest

from lrhnet_jax import models
from lrhnet_jax.models import Channels, Description, Fold, description, layers, registry

LEADS, CLASSES = 2, 7


@functools.cache
def shapes(name):
    """Of parameters and of an output."""
    own = models.describe(name)
    window = next(window for window in (64, 256, 4096) if own.reads(window))
    model = models.create(name, LEADS, num_classes=CLASSES)
    inputs = jnp.zeros((1, window, LEADS)), jnp.zeros((1, 5))
    output, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), *inputs)
    return variables["params"], output


def at(params, path):
    return functools.reduce(lambda tree, name: tree[name], path, params)


@pytest.mark.parametrize("name", models.NAMES)
def test_stem_and_head(name):
    params, output = shapes(name)
    own = models.describe(name)
    assert at(params, own.stem.split("/"))["kernel"].shape[1] == LEADS
    assert at(params, own.head.split("/"))["kernel"].shape[1] == CLASSES
    assert list(output.features)[-1] == "pooled"
    assert "layer1" in output.features


@pytest.mark.parametrize("name", models.NAMES)
def test_what_folds_is_there_and_fits(name):
    params, _ = shapes(name)
    norms = []
    for fold in models.describe(name).folds:
        found = description.find(params, fold)
        assert found, f"{fold} names nothing"
        for norm, conv, *reader in found:
            (features,) = at(params, norm)["scale"].shape
            assert at(params, conv)["kernel"].shape[2] == features
            assert all(at(params, path)["kernel"].shape[1] == features for path in reader)
            norms.append(norm)
    assert len(set(norms)) == len(norms)


@pytest.mark.parametrize("name", models.NAMES)
def test_channels_that_can_go_are_there_and_fit(name):
    params, _ = shapes(name)
    widths = {}
    for channels in models.describe(name).channels:
        found = description.find(params, channels)
        assert found, f"{channels} names nothing"
        for writer, norm, reader in found:
            widths[writer] = at(params, writer)["kernel"].shape[2]
            assert at(params, norm)["scale"].shape == (widths[writer],)
            assert at(params, reader)["kernel"].shape[1] == widths[writer]
    if widths:
        inner = [widths[writer] for writer in sorted(widths, key=description.by_number)]
        same = models.create(name, LEADS, num_classes=CLASSES, inner=inner)
        inputs = jnp.zeros((1, 4096, LEADS)), jnp.zeros((1, 5))
        again = jax.eval_shape(same.init, jax.random.key(0), *inputs)["params"]
        assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, params)


@pytest.mark.parametrize("name", models.NAMES)
def test_options_of_the_reference_are_options(name):
    models.create(name, LEADS, **models.describe(name).reference_options)


def test_every_line_of_the_registry_leads_to_a_network():
    assert all(issubclass(registry.network_class(name), layers.Network) for name in models.NAMES)
    assert models.prunable()[:4] == ("lrhnet", "seresnet", "cnn1d", "resnet34")


CONV, NORM = {"kernel": 0}, {"scale": 0, "bias": 0}
PARAMS = {
    "conv": CONV,
    "norm": NORM,
    "block_10": {"conv": CONV, "norm": NORM},
    "block_9": {"conv": CONV, "norm": NORM, "inside": {"conv": CONV, "norm": NORM}},
    "other": {"conv": CONV},
}


def test_a_star_is_any_block_in_the_order_of_numbers():
    assert description.find(PARAMS, Fold("norm", "conv")) == [(("norm",), ("conv",))]
    blocks = [("block_9",), ("block_9", "inside"), ("block_10",)]
    expected = [((*block, "norm"), (*block, "conv")) for block in blocks]
    assert description.find(PARAMS, Fold("*/norm", "*/conv")) == expected
    assert description.find(PARAMS, Channels("*/conv", "*/norm", "conv")) == [
        (conv, norm, ("conv",)) for norm, conv in expected
    ]
    assert description.find(PARAMS, Fold("*/norm", "*/conv", reader="*/absent")) == []
    assert description.find(PARAMS, Fold("block_9/inside/norm", "other/conv")) == [
        (("block_9", "inside", "norm"), ("other", "conv"))
    ]


@pytest.mark.parametrize(
    ("own", "window", "reads"),
    [
        (Description(), 1, True),
        (Description(shortest_window=5), 4, False),
        (Description(shortest_window=5), 10**9, True),
        (Description(shortest_window=5, longest_window=7), 7, True),
        (Description(shortest_window=5, longest_window=7), 8, False),
    ],
)
def test_windows_that_are_read(own, window, reads):
    assert own.reads(window) is reads


def test_pruned_widths_follow_the_numbers_of_blocks():
    from lrhnet_jax.compress import channels

    masks = {f"layer1_{n}/conv1": jnp.arange(20) < n + 1 for n in range(12)}
    assert channels.widths(masks) == tuple(range(1, 13))
