"""The 1D-CNN baseline: four strided stages without shortcuts, made for one window length.

In PyTorch: layer{1,2,3,4}.0: conv1, bn1; fc1 (age and sex, 5 -> 10), fc (522 -> classes).
"""

from collections import OrderedDict
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lrhnet_jax.errors import ConfigError
from lrhnet_jax.models import dropout, layers, pooling
from lrhnet_jax.models.description import Channels, Description, Fold


class Stage(layers.Layer):
    """conv -> BN -> maximum of four samples -> ReLU."""

    features: int
    taps: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = layers.Conv1D(
            self.features, self.taps, self.stride, (3, 3), weight_init="kaiming", name="conv1", **self.dtypes
        )(x)
        x = layers.BatchNorm(name="bn1", **self.norm)(x, train)
        return nn.relu(pooling.max_pool(x, window=4, stride=4))


class CNN1D(layers.Network):
    """The 1D-CNN baseline. 1,055,300 parameters for 12 leads and 24 classes.

    Attributes:
      logit_dropout: rate of dropout on the logits, while training: the reference code has .6 there, which is a fault.
      inner: filters of the first three stages; () is the published 128, 256 and 256. The last one keeps its 512.
    """

    description: ClassVar[Description] = Description(
        stem="layer1_0/conv1",
        folds=[Fold("*/bn1", "*/conv1")],
        channels=[  # without shortcuts, whole stages
            Channels("layer1_0/conv1", "layer1_0/bn1", "layer2_0/conv1"),
            Channels("layer2_0/conv1", "layer2_0/bn1", "layer3_0/conv1"),
            Channels("layer3_0/conv1", "layer3_0/bn1", "layer4_0/conv1"),
        ],
        torch_names={},
        shortest_window=2146,  # of such windows the stages leave two or three samples, which the last average pool
        longest_window=6241,  # turns into one
        reference_options={"logit_dropout": 0.6},
    )

    logit_dropout: float = 0.0
    inner: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, signal: jax.Array, demographics: jax.Array, train: bool = False) -> layers.Output:
        """(batch, time, leads), (batch, 5) -> logits (batch, classes) and features layer1 to layer4, pooled.

        Raises:
          ConfigError: for a window that its fixed head cannot read.
        """
        own = self.description
        if not own.reads(signal.shape[1]):
            raise ConfigError(
                f"cnn1d reads windows of {own.shortest_window} to {own.longest_window} samples, not {signal.shape[1]}: "
                "change the window, or take lrhnet or seresnet, which read any length"
            )
        features = OrderedDict()
        x = signal
        widths = (*layers.inner_widths(self.inner, (128, 256, 256)), 512)
        for index, (taps, stride) in enumerate([(80, 8), (4, 1), (4, 1), (4, 1)], start=1):
            x = Stage(widths[index - 1], taps, stride, name=f"layer{index}_0", **self.norm)(x, train)
            features[f"layer{index}"] = x
        features["pooled"] = x = pooling.mean_over_time(x[:, :2], self.param_dtype)
        person = layers.Dense(10, param_dtype=self.param_dtype, name="fc1")(demographics)
        x = jnp.concatenate([person, x], axis=1)
        logits = layers.Dense(self.num_classes, param_dtype=self.param_dtype, name="fc")(x)
        return layers.Output(dropout.Dropout(self.logit_dropout)(logits, train), features)
