"""lrhnet_wide in NumPy answers as it does in Flax, whatever its options, and takes no other network's arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrhnet_jax import models
from lrhnet_jax.deploy import numpy_network
from lrhnet_jax.errors import CheckpointError
from lrhnet_jax.scoring import predict
from lrhnet_jax.training import checkpoint
from tests.helpers import fakes


def make(leads=2, classes=5, window=301, **options):
    model = models.create("lrhnet_wide", leads, num_classes=classes, **options)
    return model, fakes.variables(model, jnp.zeros((1, window, leads)), jnp.zeros((1, 5)))


@pytest.mark.parametrize(
    ("leads", "exclusive", "window", "options"),
    [(1, True, 301, {}), (3, False, 512, {"width": 2, "squeeze_excite": True, "inner": (4, 5, 6, 7, 8)})],
)
def test_the_answers_are_those_of_the_network_in_flax(leads, exclusive, window, options):
    model, variables = make(leads, **options)
    run = numpy_network.make(checkpoint.flatten(variables), leads, 5, exclusive)
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(3, window, leads)).astype(np.float32)
    person = rng.random((3, 5)).astype(np.float32)
    expected = predict.activate(jax.jit(model.apply)(variables, signal, person).logits, exclusive)
    for count in (1, 3):
        found = run(signal[:count], person[:count])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[:count], atol=2e-6)
    assert np.ptp(found, 0).max() > 1e-3  # of other windows, other answers


def test_arrays_of_another_network_are_refused():
    arrays = checkpoint.flatten(make()[1])
    for change, message in (
        ({"params/conv1/kernel": None}, "params/conv1/kernel has shape None"),
        ({"params/fc/bias": np.zeros(4, np.float32)}, r"params/fc/bias has shape \(4,\), where the network has \(5\)"),
        ({"params/layer2_0/bn1/scale": np.zeros((3, 3))}, r"layer2_0/bn1/scale has shape \(3, 3\)"),
        ({"params/layer6_0/conv1/kernel": np.zeros(3)}, "layer6_0/conv1/kernel belongs to no layer"),
        ({"params/layer1_0/conv1/kernel": np.zeros((4, 16, 16))}, "4 taps, where the network has an odd number"),
    ):
        changed = {name: array for name, array in {**arrays, **change}.items() if array is not None}
        with pytest.raises(CheckpointError, match=message):
            numpy_network.make(changed, 2, 5, False)
    with pytest.raises(CheckpointError, match=r"conv1/kernel has shape \(15, 2, 16\), where the network has"):
        numpy_network.make(arrays, 3, 5, False)
