"""The 34-layer residual network of Hannun et al. (Nature Medicine 25, 2019), which LTH-ECG prunes.

33 convolutions of 16 taps and a dense layer: a stem, and 16 pre-activation blocks of two convolutions. Every fourth
block doubles the filters, every second block halves the length, so that one step of the output sees 256 samples more
than the one before it; the published network gives a softmax for each of these steps.

LTH-ECG's 10,466,148 parameters are one lead, four classes, a bias in every convolution, and what gradients change (not
BatchNorm's running statistics, which Keras counts too). With 32, 64, 128 and 256 filters:

  kernels   16 (1 32 + 8 32^2 + (32 64 + 7 64^2) + (64 128 + 7 128^2) + (128 256 + 7 256^2))  =  10,453,504
  biases    32 + 8 (32 + 64 + 128 + 256)                                                      =       3,872
  BatchNorm 2 * 3,872: one before every convolution but the first two, after the stem, before the head  =  7,744
  dense     256 * 4 + 4                                                                       =       1,028

In PyTorch: conv1, bn1; layer{1,2,3,4}.{0,1,2,3}: bn1 (but for the first block), conv1, bn2, conv2; bn2, fc (256 ->
classes); with use_demographics also fc1 (age and sex, 5 -> 10).
"""

from collections import OrderedDict
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lrhnet_jax.errors import ConfigError
from lrhnet_jax.models import dropout, layers, pooling
from lrhnet_jax.models.description import Channels, Description, Fold

STAGES, BLOCKS = 4, 4  # stages of one width, and blocks in each; every second block halves the length
STEP = 2 ** (STAGES * BLOCKS // 2)  # samples from one step of the output to the next


class Block(layers.Layer):
    """[BN -> ReLU ->] conv -> BN -> ReLU -> dropout -> conv -> + shortcut.

    The shortcut has no weights: the larger of two samples where the length is halved, channels of zeros where they are
    doubled. Both paths drop the last sample of an odd length.

    Attributes:
      first: follows the stem, whose BN and ReLU are the ones in brackets.
    """

    features: int
    stride: int = 1
    first: bool = False
    dropout: float = 0.2
    inner: int | None = None  # channels between the convolutions; None: as many as `features`

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        conv = {"use_bias": True, "weight_init": "he_normal", **self.dtypes}
        shortcut = x if self.stride == 1 else pooling.max_pool(x, window=self.stride, stride=self.stride)
        shortcut = jnp.pad(shortcut, ((0, 0), (0, 0), (0, self.features - x.shape[-1])))
        if not self.first:
            x = nn.relu(layers.BatchNorm(name="bn1", **self.norm)(x, train))
        padding = (7, 8) if self.stride == 1 else (7, 7)
        x = layers.Conv1D(self.inner or self.features, 16, self.stride, padding, name="conv1", **conv)(x)
        x = nn.relu(layers.BatchNorm(name="bn2", **self.norm)(x, train))
        x = dropout.Dropout(self.dropout)(x, train)
        x = layers.Conv1D(self.features, 16, 1, (7, 8), name="conv2", **conv)(x)
        return x + shortcut


class ResNet34(layers.Network):
    """The network of Hannun et al. 10,466,148 parameters for one lead and four classes; see above.

    Convolutions start as published (Keras' he_normal, biases of zero); BatchNorm's constants and the dense layer's
    start are PyTorch's, as everywhere here.

    Attributes:
      width: filters of the stem; the last blocks have eight times as many. A quarter of the width is about a sixteenth
        of the parameters and of the work.
      dropout: rate inside every block, while training.
      sequence: logits of every step of 256 samples, as published, instead of their mean over time: one per record.
      use_demographics: the age/sex vector joins the last layer's input, as in the other networks; else it is ignored.
      inner: channels between the two convolutions of each of the 16 blocks; () is as many as the block's outputs.
    """

    description: ClassVar[Description] = Description(
        # Before a block's first convolution, where the shortcut branches off, and before the head there is a sum.
        folds=[Fold("bn1", "conv1"), Fold("*/bn2", "*/conv1")],
        channels=[Channels("*/conv1", "*/bn2", "*/conv2")],
        torch_names={},
        shortest_window=STEP,
    )

    width: int = 32
    dropout: float = 0.2
    sequence: bool = False
    use_demographics: bool = False
    inner: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, signal: jax.Array, demographics: jax.Array, train: bool = False) -> layers.Output:
        """(batch, time, leads), (batch, 5) -> logits (batch, classes), or (batch, time // 256, classes).

        Features: stem, layer1 to layer4 (four blocks each), pooled.

        Raises:
          ConfigError: for a window below 256 samples, of which nothing is left in the end, or a width below one.
        """
        if not self.description.reads(signal.shape[1]):
            raise ConfigError(f"resnet34 halves its input eight times: give it {STEP} samples, not {signal.shape[1]}")
        if self.width < 1:
            raise ConfigError(f"resnet34 needs a width of at least one filter, not {self.width}")
        features = OrderedDict()
        x = layers.Conv1D(
            self.width, 16, 1, (7, 8), use_bias=True, weight_init="he_normal", name="conv1", **self.dtypes
        )(signal)
        features["stem"] = x = nn.relu(layers.BatchNorm(name="bn1", **self.norm)(x, train))
        widths = [self.width << stage for stage in range(STAGES) for _ in range(BLOCKS)]
        inner = iter(layers.inner_widths(self.inner, widths))
        for stage in range(STAGES):
            for index in range(BLOCKS):
                x = Block(
                    self.width << stage,
                    stride=1 + index % 2,
                    first=stage == index == 0,
                    dropout=self.dropout,
                    inner=next(inner),
                    name=f"layer{stage + 1}_{index}",
                    **self.norm,
                )(x, train)
            features[f"layer{stage + 1}"] = x
        x = nn.relu(layers.BatchNorm(name="bn2", **self.norm)(x, train))
        features["pooled"] = pooled = pooling.mean_over_time(x, self.param_dtype)
        # The dense layer is linear: the mean of its outputs is its output for the mean.
        x = x.astype(self.param_dtype) if self.sequence else pooled[:, None]
        if self.use_demographics:
            person = layers.Dense(10, param_dtype=self.param_dtype, name="fc1")(demographics)
            person = jnp.broadcast_to(person[:, None], (*x.shape[:2], person.shape[1]))
            x = jnp.concatenate([person, x], axis=2)
        dense = layers.Dense(self.num_classes, param_dtype=self.param_dtype, name="fc")
        logits = dense(x.reshape(-1, x.shape[2])).reshape(*x.shape[:2], self.num_classes)
        return layers.Output(logits if self.sequence else logits[:, 0], features)
