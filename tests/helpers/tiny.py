"""A network that compiles fast."""

from collections import OrderedDict

import flax.linen as nn
import jax.numpy as jnp

from lrhnet_jax.models import layers


class Tiny(layers.Network):
    """All that a step has to get right in a vectorised network, and little to compile."""

    @nn.compact
    def __call__(self, signal, demographics, train=False):
        x = layers.Conv1D(4, 4, 2, (1, 1), **self.dtypes)(signal)
        x = layers.BatchNorm(**self.norm)(nn.relu(x), train).mean(1)
        x = nn.Dropout(0.3)(jnp.concatenate([x, demographics], 1), deterministic=not train)
        return layers.Output(layers.Dense(self.num_classes)(x), OrderedDict())
