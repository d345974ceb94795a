"""A network of any shape that an integer program can have: convolutions, pooling, squeeze-excite, shortcuts."""

from collections import OrderedDict

import flax.linen as nn
import jax.numpy as jnp

from lrhnet_jax.models import layers, pooling


class Block(layers.Layer):
    """conv -> BN -> ReLU -> conv -> BN -> [SE] -> + shortcut -> ReLU."""

    features: int
    taps: int
    stride: int
    squeeze: bool

    @nn.compact
    def __call__(self, x, train):
        edges = ((self.taps - 1) // 2, self.taps // 2)
        shortcut = x
        x = layers.Conv1D(self.features, self.taps, self.stride, edges, name="conv1", **self.dtypes)(x)
        x = nn.relu(layers.BatchNorm(name="bn1", **self.norm)(x, train))
        x = layers.Conv1D(self.features, self.taps, 1, edges, name="conv2", **self.dtypes)(x)
        x = layers.BatchNorm(name="bn2", **self.norm)(x, train)
        if self.squeeze:
            x = layers.SqueezeExcite(reduction=4, param_dtype=self.param_dtype, name="se")(x)
        if shortcut.shape != x.shape:
            shortcut = layers.Conv1D(self.features, 1, self.stride, name="downsample_0", **self.dtypes)(shortcut)
            shortcut = layers.BatchNorm(name="downsample_1", **self.norm)(shortcut, train)[:, : x.shape[1]]
        return nn.relu(x + shortcut)


class Sketch(layers.Network):
    """A stem, blocks of (features, taps, stride, squeeze), mean and maximum over time, demographics, a dense layer."""

    stem: tuple[int, int, int] = (8, 15, 2)  # features, taps, stride
    pool: tuple[int, int, int] = (2, 2, 0)  # window, stride, padding
    blocks: tuple[tuple[int, int, int, bool], ...] = ((8, 7, 1, True), (12, 7, 2, True))
    maximum: bool = True

    @nn.compact
    def __call__(self, signal, demographics, train=False):
        features, taps, stride = self.stem
        edges = ((taps - 1) // 2, taps // 2)
        x = layers.Conv1D(features, taps, stride, edges, name="conv1", **self.dtypes)(signal)
        x = nn.relu(layers.BatchNorm(name="bn1", **self.norm)(x, train))
        x = pooling.max_pool(x, *self.pool)
        for index, block in enumerate(self.blocks):
            x = Block(*block, name=f"layer{index + 1}_0", **self.norm)(x, train)
        over_time = [pooling.mean_over_time(x, self.param_dtype)]
        if self.maximum:
            over_time.append(pooling.max_over_time(x))
        person = layers.Dense(10, name="fc1")(demographics)
        x = jnp.concatenate([person, *over_time], axis=1)
        return layers.Output(layers.Dense(self.num_classes, name="fc")(x), OrderedDict())
