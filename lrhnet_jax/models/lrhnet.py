"""LRH-Net, the student: a residual network of three small squeeze-and-excite blocks (LRH-Net paper, section 2.1).

In PyTorch: conv1; layer{1,2,3}.0: conv1, bn1, conv2, se.fc.0, se.fc.2, bn2, in layers 2 and 3 downsample (a
convolution); fc (age and sex, 5 -> 10), fc1 (74 -> 128), fc2 (128 -> classes).
"""

from collections import OrderedDict
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lrhnet_jax.models import layers, pooling
from lrhnet_jax.models.description import Channels, Description, Fold

TAPS = 8
SAME = (3, 4)  # PyTorch's padding="same" for eight taps


class Block(layers.Layer):
    """conv -> ReLU -> BN -> conv -> SE -> + shortcut -> ReLU -> BN; with `stride` 2 it halves the length."""

    features: int
    stride: int = 1
    inner: int | None = None  # channels between the convolutions; None: as many as `features`

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        padding = SAME if self.stride == 1 else (3, 3)
        shortcut = x
        x = layers.Conv1D(
            self.inner or self.features, TAPS, self.stride, padding, use_bias=True, name="conv1", **self.dtypes
        )(x)
        x = layers.BatchNorm(name="bn1", **self.norm)(nn.relu(x), train)
        x = layers.Conv1D(self.features, TAPS, 1, SAME, use_bias=True, name="conv2", **self.dtypes)(x)
        x = layers.SqueezeExcite(reduction=8, param_dtype=self.param_dtype, name="se")(x)
        if self.stride != 1:
            shortcut = layers.Conv1D(self.features, 1, self.stride, use_bias=True, name="downsample", **self.dtypes)(
                shortcut
            )
            # Of an odd length the convolution makes one sample less than the shortcut. The reference fails there.
            shortcut = shortcut[:, : x.shape[1]]
        return layers.BatchNorm(name="bn2", **self.norm)(nn.relu(x + shortcut), train)


class LRHNet(layers.Network):
    """LRH-Net. 84,516 parameters for 12 leads and 24 classes.

    Attributes:
      head_relu: a ReLU between the two dense layers, as in the paper; the reference code has none.
      inner: channels between the two convolutions of each block; () is as many as the block's outputs.
    """

    description: ClassVar[Description] = Description(
        head="fc2",
        folds=[Fold("*/bn1", "*/conv1", reader="*/conv2")],  # bn2 follows a sum
        channels=[Channels("*/conv1", "*/bn1", "*/conv2")],
        torch_names={},
        reference_options={"head_relu": False},
    )

    head_relu: bool = True
    inner: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, signal: jax.Array, demographics: jax.Array, train: bool = False) -> layers.Output:
        """(batch, time, leads), (batch, 5) -> logits (batch, classes), features stem, layer1 to layer3, pooled."""
        features = OrderedDict()
        x = layers.Conv1D(16, TAPS, 1, SAME, use_bias=True, name="conv1", **self.dtypes)(signal)
        features["stem"] = x = nn.relu(x)
        inner = layers.inner_widths(self.inner, (16, 32, 64))
        for index, (width, stride) in enumerate([(16, 1), (32, 2), (64, 2)], start=1):
            x = Block(width, stride, inner=inner[index - 1], name=f"layer{index}_0", **self.norm)(x, train)
            features[f"layer{index}"] = x
        features["pooled"] = x = pooling.mean_over_time(x, self.param_dtype)
        person = layers.Dense(10, param_dtype=self.param_dtype, name="fc")(demographics)
        x = layers.Dense(128, param_dtype=self.param_dtype, name="fc1")(jnp.concatenate([person, x], axis=1))
        if self.head_relu:
            x = nn.relu(x)
        logits = layers.Dense(self.num_classes, param_dtype=self.param_dtype, name="fc2")(x)
        return layers.Output(logits, features)
