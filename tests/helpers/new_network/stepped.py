"""A new network as one would write it: this file, and a line in the registry. Names of modules are its own."""

from collections import OrderedDict
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lrhnet_jax.models import layers, pooling
from lrhnet_jax.models.description import Channels, Description, Fold


class Block(layers.Layer):
    """conv -> BN -> ReLU -> conv -> + shortcut."""

    features: int
    inner: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        shortcut = x
        x = layers.Conv1D(self.inner, 3, 1, (1, 1), name="widen", **self.dtypes)(x)
        x = nn.relu(layers.BatchNorm(name="norm", **self.norm)(x, train))
        return shortcut + layers.Conv1D(self.features, 3, 1, (1, 1), use_bias=True, name="narrow", **self.dtypes)(x)


class Stepped(layers.Network):
    """A stem that reads every fourth sample, two blocks, and a dense layer.

    Attributes:
      inner: channels inside the two blocks; () is 8 each.
    """

    description: ClassVar[Description] = Description(
        stem="entry/conv",
        head="answer",
        folds=[Fold("entry/norm", "entry/conv"), Fold("*/norm", "*/widen")],
        channels=[Channels("*/widen", "*/norm", "*/narrow")],
        torch_names={"entry/conv": "stem.0", "entry/norm": "stem.1", "step_0": "first", "answer": "head.out"},
        shortest_window=4,
    )

    inner: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, signal: jax.Array, demographics: jax.Array, train: bool = False) -> layers.Output:
        """(batch, time, leads), (batch, 5) -> logits (batch, classes), features stem, layer1, layer2, pooled."""
        features = OrderedDict()
        features["stem"] = x = Entry(name="entry", **self.norm)(signal, train)
        for index, inner in enumerate(layers.inner_widths(self.inner, (8, 8))):
            x = Block(6, inner, name=f"step_{index}", **self.norm)(x, train)
            features[f"layer{index + 1}"] = x
        features["pooled"] = x = pooling.mean_over_time(x, self.param_dtype)
        x = jnp.concatenate([x, demographics], axis=1)
        logits = layers.Dense(self.num_classes, param_dtype=self.param_dtype, name="answer")(x)
        return layers.Output(logits, features)


class Entry(layers.Layer):
    """conv -> BN -> ReLU."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = layers.Conv1D(6, 4, 4, name="conv", **self.dtypes)(x)
        return nn.relu(layers.BatchNorm(name="norm", **self.norm)(x, train))
