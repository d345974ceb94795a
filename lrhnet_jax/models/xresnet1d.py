"""xresnet1d, MVKT-ECG's backbone: ResNet with He et al.'s "bag of tricks" (2019), over time.

Three convolutions as the stem, a shortcut that halves the length by averaging, and residual branches that begin as
zero. The form is that of the PTB-XL benchmark (Strodthoff et al. 2021): five taps, and as many filters in each of the
four stages. MVKT-ECG's own has three taps and doubles the filters from stage to stage: `taps=3, doubling=True`. The
head is MVKT-ECG's: maximum and mean over time, and a dense layer; the benchmark's has BatchNorm, dropout and a hidden
layer of 128 between them.

With w filters, blocks of depth 50 and more are bottlenecks (w -> w -> w -> 4w channels, one, five and one taps).
xresnet1d101 of 3 + 4 + 23 + 3 blocks, for L leads and C classes:

  stem        5 (L w/2 + w/2 w/2 + w/2 w) + 2 (w/2 + w/2 + w)
  blocks      13 w^2 + 12 w each; the first reads w channels, not 4w, and its shortcut has weights: 14 w^2 + 20 w
  head        8 w C + C

With w = 64, 12 leads and 5 classes: 17,536 + 1,787,136 + 2,565 = 1,807,237.

In PyTorch: conv1, bn1 to conv3, bn3; layer{1,2,3,4}.{0,1,...}: conv1, bn1, conv2, bn2, in bottlenecks conv3, bn3, where
the number of channels changes downsample.0 (a convolution) and downsample.1 (its BatchNorm) of block 0; fc (pooled ->
classes); with use_demographics also fc1 (age and sex, 5 -> 10).
"""

from collections import OrderedDict
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lrhnet_jax.errors import ConfigError
from lrhnet_jax.models import dropout, layers, pooling
from lrhnet_jax.models.description import Description, Fold

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # of each stage, by depth
BOTTLENECK_FROM = 50  # depth
EXPANSION = 4  # of a bottleneck: its output's channels by its filters


class Block(layers.Layer):
    """conv -> BN -> ReLU -> conv -> BN -> + shortcut -> ReLU; a bottleneck has convolutions of one tap around one.

    The shortcut averages pairs of samples where the length is halved, then has a convolution and BN where the number of
    channels changes. The last BN of the branch starts with a scale of zero.
    """

    features: int
    stride: int = 1
    taps: int = 5
    bottleneck: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        outputs = self.features * (EXPANSION if self.bottleneck else 1)
        convolutions = [(self.features, self.taps, self.stride), (outputs, self.taps, 1)]
        if self.bottleneck:
            convolutions = [(self.features, 1, 1), (self.features, self.taps, self.stride), (outputs, 1, 1)]
        shortcut = x if self.stride == 1 else average_pairs(x)
        for index, (features, taps, stride) in enumerate(convolutions, start=1):
            last = index == len(convolutions)
            x = _convolve(self, x, features, taps, stride, f"conv{index}")
            x = layers.BatchNorm(initial_scale=float(not last), name=f"bn{index}", **self.norm)(x, train)
            x = x if last else nn.relu(x)
        if shortcut.shape[-1] != outputs:
            shortcut = _convolve(self, shortcut, outputs, 1, 1, "downsample_0")
            shortcut = layers.BatchNorm(name="downsample_1", **self.norm)(shortcut, train)
        return nn.relu(x + shortcut)


class XResNet1D(layers.Network):
    """xresnet1d. 1,807,237 parameters for 12 leads and five classes; see above.

    Convolutions start as He et al.'s normal distribution in fan-in mode, as published but for its tails, which are cut
    off; the dense layer starts as PyTorch's.

    Attributes:
      depth: 18, 34, 50 or 101.
      width: filters of the first stage; the stem's first two convolutions have half of them.
      taps: of the convolutions that have more than one; odd.
      doubling: every stage has twice as many filters as the one before it.
      dropout: rate before the dense layer, while training.
      use_demographics: the age/sex vector joins the dense layer's input; else it is ignored, as in MVKT-ECG.
    """

    description: ClassVar[Description] = Description(
        folds=[
            *(Fold(f"bn{n}", f"conv{n}") for n in (1, 2, 3)),
            *(Fold(f"*/bn{n}", f"*/conv{n}") for n in (1, 2, 3)),
            Fold("*/downsample_1", "*/downsample_0"),
        ],
        torch_names={},
    )

    depth: int = 101
    width: int = 64
    taps: int = 5
    doubling: bool = False
    dropout: float = 0.0
    use_demographics: bool = False

    @nn.compact
    def __call__(self, signal: jax.Array, demographics: jax.Array, train: bool = False) -> layers.Output:
        """(batch, time, leads), (batch, 5) -> logits (batch, classes).

        Features: stem, layer1 to layer4, pooled (the maxima, then the means).

        Raises:
          ConfigError: for a depth that there is not, an odd or too small width, or an even number of taps.
        """
        self._check()
        features = OrderedDict()
        x = signal
        for index, width in enumerate((self.width // 2, self.width // 2, self.width), start=1):
            x = _convolve(self, x, width, self.taps, 2 if index == 1 else 1, f"conv{index}")
            x = nn.relu(layers.BatchNorm(name=f"bn{index}", **self.norm)(x, train))
        features["stem"] = x
        x = pooling.max_pool(x, window=3, stride=2, padding=1)
        for stage, blocks in enumerate(BLOCKS[self.depth]):
            for index in range(blocks):
                x = Block(
                    self.width << stage * self.doubling,
                    stride=2 if stage and not index else 1,
                    taps=self.taps,
                    bottleneck=self.depth >= BOTTLENECK_FROM,
                    name=f"layer{stage + 1}_{index}",
                    **self.norm,
                )(x, train)
            features[f"layer{stage + 1}"] = x
        maxima, means = pooling.max_over_time(x).astype(self.param_dtype), pooling.mean_over_time(x, self.param_dtype)
        features["pooled"] = x = jnp.concatenate([maxima, means], axis=1)
        x = dropout.Dropout(self.dropout)(x, train)
        if self.use_demographics:
            person = layers.Dense(10, param_dtype=self.param_dtype, name="fc1")(demographics)
            x = jnp.concatenate([person, x], axis=1)
        logits = layers.Dense(self.num_classes, param_dtype=self.param_dtype, name="fc")(x)
        return layers.Output(logits, features)

    def _check(self) -> None:
        if self.depth not in BLOCKS:
            raise ConfigError(f"xresnet1d has no depth {self.depth}; choose {', '.join(map(str, BLOCKS))}")
        if self.width < 2 or self.width % 2:
            raise ConfigError(f"xresnet1d needs an even width of at least two filters, not {self.width}")
        if self.taps < 1 or self.taps % 2 == 0:
            raise ConfigError(f"xresnet1d needs an odd number of taps, not {self.taps}")


def average_pairs(x: jax.Array) -> jax.Array:
    """The mean of every two samples, (batch, time, channels) -> (batch, ceil(time / 2), channels).

    Of an odd length the last sample stays alone, as in PyTorch's AvgPool1d(2, ceil_mode=True).
    """
    if x.shape[1] % 2:
        x = jnp.concatenate([x, x[:, -1:]], axis=1)
    return (x[:, ::2] + x[:, 1::2]) / 2


def _convolve(layer: layers.Layer, x: jax.Array, features: int, taps: int, stride: int, name: str) -> jax.Array:
    """A convolution of `layer` that keeps the length, or halves it, rounded up."""
    padding = (taps // 2, taps // 2)
    return layers.Conv1D(features, taps, stride, padding, weight_init="he_normal", name=name, **layer.dtypes)(x)
