"""LRH-Net with a wide view: a student for deployment, of LRH-Net's size at a sixth of its arithmetic.

LRH-Net sees a third of a second and works mostly at the full rate. This network halves the rate five times, early, so
that its last channels see three seconds, several heartbeats; and it pools over time by the mean, which tells how often
something occurs, and by the maximum, which tells whether it does. Everything in it has a plain int8 form and can run
over a stream: convolutions with BatchNorm behind them, ReLU, maxima of two, means and maxima over time, dense layers.
How it was found: benchmarks/student_search.py.

In PyTorch: conv1, bn1; layer{1,2,3,4,5}.0: conv1, bn1, conv2, bn2, in layers 2 to 5 downsample.0 (a convolution) and
downsample.1 (its BatchNorm), with squeeze_excite se.fc.0, se.fc.2; fc1 (age and sex, 5 -> 10), fc (138 -> classes).
"""

from collections import OrderedDict
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lrhnet_jax.errors import ConfigError
from lrhnet_jax.models import layers, pooling
from lrhnet_jax.models.description import Channels, Description, Fold

CHANNELS = (16, 24, 32, 48, 64)  # of the blocks, at width 1; the stem has the first one's
TAPS = 5  # of the blocks' convolutions; odd


class Block(layers.Layer):
    """conv -> BN -> ReLU -> conv -> BN -> + shortcut -> ReLU; with `stride` 2 it halves the length, rounded up."""

    features: int
    stride: int = 1
    inner: int | None = None  # channels between the convolutions; None: as many as `features`
    taps: int = TAPS
    squeeze_excite: bool = False  # before the sum

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        conv = {"weight_init": "kaiming", **self.dtypes}
        padding = (self.taps // 2, self.taps // 2)
        shortcut = x
        x = layers.Conv1D(self.inner or self.features, self.taps, self.stride, padding, name="conv1", **conv)(x)
        x = nn.relu(layers.BatchNorm(name="bn1", **self.norm)(x, train))
        x = layers.Conv1D(self.features, self.taps, 1, padding, name="conv2", **conv)(x)
        x = layers.BatchNorm(name="bn2", **self.norm)(x, train)
        if self.squeeze_excite:
            x = layers.SqueezeExcite(reduction=8, param_dtype=self.param_dtype, name="se")(x)
        if shortcut.shape != x.shape:
            shortcut = layers.Conv1D(self.features, 1, self.stride, name="downsample_0", **conv)(shortcut)
            shortcut = layers.BatchNorm(name="downsample_1", **self.norm)(shortcut, train)
        return nn.relu(x + shortcut)


class LRHNetWide(layers.Network):
    """LRH-Net with a wide view. 84,500 parameters and 17.9 million MACs for 12 leads, 24 classes and 4096 samples.

    Attributes:
      width: what the numbers of channels are multiplied by; 2 makes a teacher of some 320,000 parameters.
      squeeze_excite: blocks weigh their channels by means over all time; not with a stream.
      inner: channels between the two convolutions of each block; () is as many as the block's outputs.
    """

    description: ClassVar[Description] = Description(
        folds=[
            Fold("bn1", "conv1"),
            Fold("*/bn1", "*/conv1"),
            Fold("*/bn2", "*/conv2"),
            Fold("*/downsample_1", "*/downsample_0"),
        ],
        channels=[Channels("*/conv1", "*/bn1", "*/conv2")],
        torch_names={},
    )

    width: int = 1
    squeeze_excite: bool = False
    inner: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, signal: jax.Array, demographics: jax.Array, train: bool = False) -> layers.Output:
        """(batch, time, leads), (batch, 5) -> logits (batch, classes).

        Features: stem, stem_pooled, layer1 to layer5, pooled (the means, then the maxima).

        Raises:
          ConfigError: for a width below one, or another number of inner widths than five.
        """
        if self.width < 1:
            raise ConfigError(f"lrhnet_wide needs a width of at least 1, not {self.width}")
        channels = tuple(self.width * count for count in CHANNELS)
        features = OrderedDict()
        x = layers.Conv1D(channels[0], 15, 2, (7, 7), weight_init="kaiming", name="conv1", **self.dtypes)(signal)
        features["stem"] = x = nn.relu(layers.BatchNorm(name="bn1", **self.norm)(x, train))
        features["stem_pooled"] = x = pooling.max_pool(x, window=2, stride=2)
        inner = layers.inner_widths(self.inner, channels)
        for index, count in enumerate(channels):
            block = Block(
                count,
                stride=2 if index else 1,
                inner=inner[index],
                squeeze_excite=self.squeeze_excite,
                name=f"layer{index + 1}_0",
                **self.norm,
            )
            features[f"layer{index + 1}"] = x = block(x, train)
        means, maxima = pooling.mean_over_time(x, self.param_dtype), pooling.max_over_time(x).astype(self.param_dtype)
        features["pooled"] = x = jnp.concatenate([means, maxima], axis=1)
        person = layers.Dense(10, param_dtype=self.param_dtype, name="fc1")(demographics)
        x = jnp.concatenate([person, x], axis=1)
        logits = layers.Dense(self.num_classes, param_dtype=self.param_dtype, name="fc")(x)
        return layers.Output(logits, features)
