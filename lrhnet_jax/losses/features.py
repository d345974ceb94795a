"""Losses that teach a network another network's features: hints (FitNet) and attention over layers (SemCKD).

A loss with parameters of its own is a Flax module, called on the features of both networks' `Output`; its parameters
train with the student's and are thrown away afterwards. No gradient flows to the teacher's features.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lrhnet_jax.losses import logits
from lrhnet_jax.models import layers

Features = Mapping[str, jax.Array]


class FitNet(nn.Module):
    """FitNet's hints (Romero et al. 2015, equation 3): a learned regressor from the student's layer to the teacher's.

    The regressor is a convolution. Where the layers differ in length, the longer is first average-pooled to the
    shorter. The loss is the mean squared difference; Romero et al. have half the sum. They train in two stages: this
    loss alone on the student up to its hint layer, then distillation by logits without it; adding both is the joint
    form.

    Attributes:
      student_layer, teacher_layer: names of the hint and of the guided feature map.
      taps: the regressor's, odd.
      param_dtype: of parameters and computation.
    """

    student_layer: str = "layer2"
    teacher_layer: str = "layer2"
    taps: int = 1
    param_dtype: layers.Dtype = jnp.float32

    @nn.compact
    def __call__(self, student: Features, teacher: Features, train: bool = True) -> tuple[jax.Array, jax.Array]:
        """Features by name -> the loss, a scalar, and the student's regressed map (batch, time, teacher's channels).

        Raises:
          ValueError: for a layer that a network has not, or that is no map.
        """
        hint, guided = match_lengths(
            _map(student, self.student_layer, self.param_dtype), _map(teacher, self.teacher_layer, self.param_dtype)
        )
        padding = (self.taps // 2, self.taps // 2)
        regressed = layers.Conv1D(
            guided.shape[-1],
            self.taps,
            1,
            padding,
            use_bias=True,
            dtype=self.param_dtype,
            param_dtype=self.param_dtype,
            name="regressor",
        )(hint)
        return jnp.square(regressed - lax.stop_gradient(guided)).mean(), regressed


class SemCKD(nn.Module):
    """Cross-layer distillation (SemCKD, Chen et al. 2021): every student layer learns from all the teacher's layers.

    How much a student layer learns from a teacher layer is learned too, for each record: a record's similarities to the
    batch, in either layer, go through a small network to a query and a key, whose product is the attention. The batch
    size is therefore fixed at initialisation. The loss is, with MSE the mean over time and channels,

        mean over batch and student layers of the sum over teacher layers of attention * MSE(projection, teacher).

    Chen et al. add 40 of it to the loss against labels and to KL with T = 4, times T^2.

    Attributes:
      expansion: width of the projections inside, in widths of the teacher's layer. The published 2 makes them costlier
        than the student by far: from SE-ResNet to LRH-Net 14.9 million parameters, and 28 times its multiplications.
      axis_name: the pmap axis over which BatchNorm takes its statistics.
      param_dtype: of parameters, statistics and computation.
    """

    expansion: float = 2.0
    axis_name: str | None = None
    param_dtype: layers.Dtype = jnp.float32

    @nn.compact
    def __call__(self, student: Features, teacher: Features, train: bool = True) -> tuple[jax.Array, jax.Array]:
        """Features by name -> the loss, a scalar, and the attention (batch, student layers, teacher layers).

        The layers are those of the names "layer1", "layer2" and so on: stem and pooled features are left out.

        Raises:
          ValueError: if a network has no such layer, or the batch is below four.
        """
        students, teachers = (
            [_map(of, name, self.param_dtype) for name in layer_names(of)] for of in (student, teacher)
        )
        teachers = [lax.stop_gradient(x) for x in teachers]
        queries = [Similarity(self.param_dtype, name=f"query{i}")(x) for i, x in enumerate(students)]
        keys = [Similarity(self.param_dtype, name=f"key{j}")(x) for j, x in enumerate(teachers)]
        attention = jax.nn.softmax(jnp.einsum("bsd,btd->bst", jnp.stack(queries, 1), jnp.stack(keys, 1)))
        errors = []
        for i, x in enumerate(students):
            for j, y in enumerate(teachers):
                source, target = match_lengths(x, y)
                hidden = max(1, round(self.expansion * y.shape[-1]))
                projection = Projection(
                    y.shape[-1], hidden, self.axis_name, self.param_dtype, name=f"projection{i}_{j}"
                )
                errors.append(jnp.square(projection(source, train) - target).mean((1, 2)))
        error = jnp.stack(errors, 1).reshape(attention.shape)
        return (attention * error).sum(-1).mean(), attention


class Similarity(nn.Module):
    """A layer's batch-by-batch similarities -> two dense layers -> unit vectors (batch, batch / 4)."""

    param_dtype: layers.Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = len(x) // 4
        if width < 1:
            raise ValueError(f"SemCKD needs a batch of 4 or more, not {len(x)}: raise the batch size")
        # Sums of tens of thousands of products, squared by what follows: not in an accelerator's fast arithmetic.
        similarity = jnp.einsum("itc,jtc->ij", x, x, precision=lax.Precision.HIGHEST)
        hidden = nn.relu(layers.Dense(2 * width, param_dtype=self.param_dtype, name="fc1")(similarity))
        return l2_normalize(layers.Dense(width, param_dtype=self.param_dtype, name="fc2")(hidden))


class Projection(nn.Module):
    """conv1 -> BN -> ReLU -> conv3 -> BN -> ReLU -> conv1, `hidden` wide inside and `features` at the end."""

    features: int
    hidden: int
    axis_name: str | None = None
    param_dtype: layers.Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        dtypes = {"dtype": self.param_dtype, "param_dtype": self.param_dtype}
        x = layers.Conv1D(self.hidden, 1, name="conv1", **dtypes)(x)
        x = nn.relu(layers.BatchNorm(axis_name=self.axis_name, name="bn1", **dtypes)(x, train))
        x = layers.Conv1D(self.hidden, 3, 1, (1, 1), name="conv2", **dtypes)(x)
        x = nn.relu(layers.BatchNorm(axis_name=self.axis_name, name="bn2", **dtypes)(x, train))
        return layers.Conv1D(self.features, 1, name="conv3", **dtypes)(x)


def random_map_kl(
    key: jax.Array, student: jax.Array, teacher: jax.Array, temperature: float, hidden: int = 128
) -> jax.Array:
    """Returns what the reference code of LRH-Net computes under the name FitNet, a scalar; not FitNet.

    The teacher's pooled features go through two untrained linear maps, to `hidden` and to the student's width, and
    `softmax_kl` compares them with the student's. The reference draws the maps anew in every epoch (give a key of the
    epoch), and trains on alpha * BCE + (1 - alpha) / 2 * this + (1 - alpha) / 2 * KL of the logits, all at one T.

    Args:
      key: draws the maps, as PyTorch initialises its linear layers.
      student, teacher: pooled features, (batch, channels) each.
      temperature: as in `softmax_kl`.
      hidden: width between the two maps.
    """
    x = teacher.astype(jnp.promote_types(teacher.dtype, jnp.float32))
    for layer_key, width in zip(jax.random.split(key), (hidden, student.shape[-1]), strict=True):
        kernel_key, bias_key = jax.random.split(layer_key)
        init = layers.uniform_init(x.shape[-1])
        x = x @ init(kernel_key, (x.shape[-1], width), x.dtype) + init(bias_key, (1, width), x.dtype)
    return logits.softmax_kl(x, student, temperature)


def match_lengths(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Average-pools the longer of two maps (batch, time, channels) to the length of the shorter."""
    length = min(a.shape[1], b.shape[1])
    return average_pool(a, length), average_pool(b, length)


def average_pool(x: jax.Array, length: int) -> jax.Array:
    """(batch, time, channels) -> (batch, length, channels), as torch.nn.AdaptiveAvgPool1d: bins may share a sample.

    Raises:
      ValueError: if x is shorter than `length`.
    """
    batch, time, channels = x.shape
    if time < length:
        raise ValueError(f"{time} samples cannot be pooled to {length}")
    if time % length == 0:
        return x.reshape(batch, length, time // length, channels).mean(2)
    bins = np.arange(length)
    starts, ends = bins * time // length, -(-(bins + 1) * time // length)
    widths = (ends - starts)[None, :, None]
    total = jnp.zeros((batch, length, channels), x.dtype)
    for shift in range(widths.max()):
        total += jnp.where(shift < widths, x[:, np.minimum(starts + shift, time - 1)], 0)
    return total / jnp.asarray(widths, x.dtype)


def l2_normalize(x: jax.Array) -> jax.Array:
    """Scales the last axis to length 1; zeros stay zeros, with a finite gradient."""
    squared = jnp.square(x).sum(-1, keepdims=True)
    return x * lax.rsqrt(jnp.where(squared > 0, squared, 1))


def layer_names(features: Features) -> list[str]:
    """Returns the names of the maps behind a network's stages: "layer1" and on, in the network's order.

    Raises:
      ValueError: if there is none.
    """
    names = [name for name in features if name.startswith("layer")]
    if not names:
        raise ValueError(f"no feature is named layer1, layer2, ...; there are {', '.join(features)}")
    return names


def _map(features: Features, name: str, dtype: layers.Dtype) -> jax.Array:
    if name not in features or features[name].ndim != 3:
        maps = ", ".join(key for key, x in features.items() if x.ndim == 3)
        raise ValueError(f"the network has no feature map {name!r} over time; choose one of {maps}")
    return features[name].astype(dtype)
