"""SE-ResNet, the teacher: an 18-layer residual network with squeeze-and-excite blocks (Zhao et al., Challenge 2020).

In PyTorch: conv1, bn1; layer{1,2,3,4}.{0,1}: conv1, bn1, conv2, bn2, se.fc.0, se.fc.2, in layers 2 to 4 downsample.0 (a
convolution) and downsample.1 (its BatchNorm) of block 0; fc1 (age and sex, 5 -> 10), fc (522 -> classes).
"""

from collections import OrderedDict
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lrhnet_jax.models import dropout, layers, pooling
from lrhnet_jax.models.description import Channels, Description, Fold


class Block(layers.Layer):
    """conv -> BN -> ReLU -> dropout -> conv -> BN -> SE -> + shortcut -> ReLU."""

    features: int
    stride: int = 1
    dropout: float = 0.2
    inner: int | None = None  # channels between the convolutions; None: as many as `features`

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        conv = {"weight_init": "kaiming", **self.dtypes}
        shortcut = x
        x = layers.Conv1D(self.inner or self.features, 7, self.stride, (3, 3), name="conv1", **conv)(x)
        x = nn.relu(layers.BatchNorm(name="bn1", **self.norm)(x, train))
        x = dropout.Dropout(self.dropout)(x, train)
        x = layers.Conv1D(self.features, 7, 1, (3, 3), name="conv2", **conv)(x)
        x = layers.BatchNorm(name="bn2", **self.norm)(x, train)
        x = layers.SqueezeExcite(reduction=16, param_dtype=self.param_dtype, name="se")(x)
        if shortcut.shape != x.shape:
            shortcut = layers.Conv1D(self.features, 1, self.stride, name="downsample_0", **conv)(shortcut)
            shortcut = layers.BatchNorm(name="downsample_1", **self.norm)(shortcut, train)
        return nn.relu(x + shortcut)


class SEResNet(layers.Network):
    """SE-ResNet. 8,837,060 parameters for 12 leads and 24 classes.

    Attributes:
      dropout: rate inside every block, while training.
      inner: channels between the two convolutions of each of the eight blocks; () is as many as the block's outputs.
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
        demo_epochs=6,
    )

    dropout: float = 0.2
    inner: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, signal: jax.Array, demographics: jax.Array, train: bool = False) -> layers.Output:
        """(batch, time, leads), (batch, 5) -> logits (batch, classes).

        Features: stem, stem_pooled, layer1 to layer4, pooled.
        """
        features = OrderedDict()
        x = layers.Conv1D(64, 15, 2, (7, 7), weight_init="kaiming", name="conv1", **self.dtypes)(signal)
        x = nn.relu(layers.BatchNorm(name="bn1", **self.norm)(x, train))
        features["stem"] = x
        features["stem_pooled"] = x = pooling.max_pool(x, window=3, stride=2, padding=1)
        inner = iter(layers.inner_widths(self.inner, (64, 64, 128, 128, 256, 256, 512, 512)))
        for index, (width, stride) in enumerate([(64, 1), (128, 2), (256, 2), (512, 2)], start=1):
            for place in range(2):
                x = Block(
                    width,
                    stride if place == 0 else 1,
                    self.dropout,
                    inner=next(inner),
                    name=f"layer{index}_{place}",
                    **self.norm,
                )(x, train)
            features[f"layer{index}"] = x
        features["pooled"] = x = pooling.mean_over_time(x, self.param_dtype)
        person = layers.Dense(10, param_dtype=self.param_dtype, name="fc1")(demographics)
        x = jnp.concatenate([person, x], axis=1)
        logits = layers.Dense(self.num_classes, param_dtype=self.param_dtype, name="fc")(x)
        return layers.Output(logits, features)
