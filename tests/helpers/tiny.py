"""A network that compiles fast."""

from collections import OrderedDict

import flax.linen as nn
import jax.numpy as jnp

from lrhnet_jax.data.batch import LeadNetwork
from lrhnet_jax.models import layers


class Tiny(layers.Network):
    """All that a step has to get right, and little to compile: convolutions, BatchNorm, dropout, features, a head."""

    dropout: float = 0.3

    @nn.compact
    def __call__(self, signal, demographics, train=False):
        features, x = OrderedDict(), signal
        for index, stride in ((1, 2), (2, 4)):
            x = layers.Conv1D(4 * index, 4, stride, (1, 1), name=f"layer{index}_0", **self.dtypes)(x)
            features[f"layer{index}"] = x = layers.BatchNorm(name=f"bn{index}", **self.norm)(nn.relu(x), train)
        features["pooled"] = x = x.mean(1)
        x = jnp.concatenate([x, demographics], 1)
        if self.dropout:
            x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return layers.Output(layers.Dense(self.num_classes, name="fc2")(x), features)


def lead_network(*columns):
    """A tiny network without dropout that reads these columns."""
    return LeadNetwork(Tiny(dropout=0.0), columns)
