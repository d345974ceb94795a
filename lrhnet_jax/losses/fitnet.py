"""Hints (FitNet, Romero et al. 2015), and what the reference code of LRH-Net computes under that name.

The hints' regressor trains with the student and is thrown away afterwards. No gradient flows to the teacher's features.
"""

import dataclasses
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from lrhnet_jax.losses import logits, maps, method
from lrhnet_jax.models import layers


class Hints(nn.Module):
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
    def __call__(
        self, student: maps.Features, teacher: maps.Features, train: bool = True
    ) -> tuple[jax.Array, jax.Array]:
        """Features by name -> the loss, a scalar, and the student's regressed map (batch, time, teacher's channels).

        Raises:
          ValueError: for a layer that a network does not have, or that is not a map.
        """
        hint, guided = maps.match_lengths(
            maps.map_over_time(student, self.student_layer, self.param_dtype),
            maps.map_over_time(teacher, self.teacher_layer, self.param_dtype),
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


@dataclasses.dataclass(frozen=True)
class FitNet(method.Method):
    """Trains with hints: in two stages as published, or jointly.

    Attributes:
      weight: of the hints beside the base loss, where both are trained on.
      hint_share: share of the epochs that train on the hints alone, after which they fall away; 0: both all along.
      student_layer, teacher_layer, taps: as of `Hints`.
    """

    metrics: ClassVar[tuple[str, ...]] = ("hint",)
    needs_teacher: ClassVar[bool] = True

    weight: float = 1.0
    hint_share: float = 0.3
    student_layer: str = "layer2"
    teacher_layer: str = "layer2"
    taps: int = 1

    @property
    def _hints(self) -> Hints:
        return Hints(self.student_layer, self.teacher_layer, self.taps)

    def init(self, key: jax.Array, inputs: method.MethodInputs) -> tuple[dict[str, Any], Any]:
        return method.init_module(self._hints, key, inputs.student.features, inputs.teacher.features), ()

    def loss(
        self, base: jax.Array, variables: dict[str, Any], memory: Any, inputs: method.MethodInputs
    ) -> method.Result:
        (hint, _), stats = method.apply(self._hints, variables, inputs.student.features, inputs.teacher.features)
        if self.hint_share:
            loss = jnp.where(inputs.epoch <= round(self.hint_share * inputs.epochs), hint, base)
        else:
            loss = base + self.weight * hint
        return method.Result(loss, stats, memory, {"hint": hint})


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


@dataclasses.dataclass(frozen=True)
class RandomMap(method.Method):
    """Adds weight * `random_map_kl`, with new maps in every epoch: the reference code's "FitNet".

    The reference has alpha = .3 of BCE, .35 of KL (`train.kl_weight`) and .35 of this, all at T = 7.
    """

    metrics: ClassVar[tuple[str, ...]] = ("random_map",)
    needs_teacher: ClassVar[bool] = True

    weight: float = 0.35
    temperature: float = 7.0
    hidden: int = 128

    def loss(
        self, base: jax.Array, variables: dict[str, Any], memory: Any, inputs: method.MethodInputs
    ) -> method.Result:
        student, teacher = (output.features["pooled"] for output in (inputs.student, inputs.teacher))
        divergence = random_map_kl(inputs.epoch_key, student, teacher, self.temperature, self.hidden)
        total = base + self.weight * divergence
        return method.Result(total, variables["batch_stats"], memory, {"random_map": divergence})
