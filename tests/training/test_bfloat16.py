"""Training in bfloat16 beside float32, from the same start on the same windows: it drifts by rounding, no further."""

from collections import OrderedDict

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrhnet_jax import models
from lrhnet_jax.models import layers, pooling, seresnet
from tests.helpers import fakes


class SmallSEResNet(layers.Network):
    """SE-ResNet's stem and two of its blocks, narrow: the whole takes long to compile."""

    @nn.compact
    def __call__(self, signal, demographics, train=False):
        x = layers.Conv1D(16, 15, 2, (7, 7), weight_init="kaiming", name="conv1", **self.dtypes)(signal)
        x = nn.relu(layers.BatchNorm(name="bn1", **self.norm)(x, train))
        x = pooling.max_pool(x, window=3, stride=2, padding=1)
        x = seresnet.Block(16, dropout=0.0, name="layer1_0", **self.norm)(x, train)
        x = seresnet.Block(32, 2, dropout=0.0, name="layer2_0", **self.norm)(x, train)
        x = pooling.mean_over_time(x, self.param_dtype)
        logits = layers.Dense(self.num_classes, param_dtype=self.param_dtype, name="fc")(x)
        return layers.Output(logits, OrderedDict(pooled=x))


NETWORKS = {"lrhnet": models.create("lrhnet", 2, num_classes=3), "seresnet": SmallSEResNet(num_classes=3)}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_learns_as_float32_does(name):
    model = NETWORKS[name]
    exact, half = (fakes.train(model.clone(dtype=dtype)) for dtype in (jnp.float32, jnp.bfloat16))
    for losses in (exact.losses, half.losses):
        assert losses.dtype == np.float32
        assert losses[-5:].mean() < 0.9 * losses[:5].mean()
    floats = [leaf for leaf in jax.tree.leaves(half.state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in floats} == {jnp.dtype(jnp.float32)}  # parameters, statistics, moments, sums
    assert half.logits.dtype == np.float32
    drift = abs(half.losses - exact.losses)
    apart = np.sqrt(np.square(half.logits - exact.logits).mean()) / exact.logits.std()
    assert 0 < drift[0] < 2e-3 and drift[:5].max() < 0.01 and drift.max() < 0.05
    assert 0 < apart < 0.3
