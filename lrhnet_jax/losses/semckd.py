"""Cross-layer distillation (SemCKD, Chen et al. 2021): attention over all pairs of layers.

Its projections train with the student and are thrown away afterwards. No gradient flows to the teacher's features.
"""

import dataclasses
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from lrhnet_jax.losses import maps, method
from lrhnet_jax.models import layers


class CrossLayer(nn.Module):
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
    def __call__(
        self, student: maps.Features, teacher: maps.Features, train: bool = True
    ) -> tuple[jax.Array, jax.Array]:
        """Features by name -> the loss, a scalar, and the attention (batch, student layers, teacher layers).

        The layers are those of the names "layer1", "layer2" and so on: stem and pooled features are left out.

        Raises:
          ValueError: if a network has no such layer, or the batch is below four.
        """
        students, teachers = (
            [maps.map_over_time(of, name, self.param_dtype) for name in maps.layer_names(of)]
            for of in (student, teacher)
        )
        teachers = [lax.stop_gradient(x) for x in teachers]
        queries = [Similarity(self.param_dtype, name=f"query{i}")(x) for i, x in enumerate(students)]
        keys = [Similarity(self.param_dtype, name=f"key{j}")(x) for j, x in enumerate(teachers)]
        attention = jax.nn.softmax(jnp.einsum("bsd,btd->bst", jnp.stack(queries, 1), jnp.stack(keys, 1)))
        errors = []
        for i, x in enumerate(students):
            for j, y in enumerate(teachers):
                source, target = maps.match_lengths(x, y)
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
        return maps.l2_normalize(layers.Dense(width, param_dtype=self.param_dtype, name="fc2")(hidden))


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


@dataclasses.dataclass(frozen=True)
class SemCKD(method.Method):
    """Adds weight * `CrossLayer`; Chen et al. have BCE + T^2 KL at T = 4, and 40 of this.

    Attributes:
      expansion: as of `CrossLayer`.
    """

    metrics: ClassVar[tuple[str, ...]] = ("cross_layer",)
    needs_teacher: ClassVar[bool] = True
    across_records: ClassVar[bool] = True

    weight: float = 40.0
    expansion: float = 2.0

    @property
    def _cross_layer(self) -> CrossLayer:
        return CrossLayer(self.expansion)

    def init(self, key: jax.Array, inputs: method.MethodInputs) -> tuple[dict[str, Any], Any]:
        return method.init_module(self._cross_layer, key, inputs.student.features, inputs.teacher.features), ()

    def loss(
        self, base: jax.Array, variables: dict[str, Any], memory: Any, inputs: method.MethodInputs
    ) -> method.Result:
        (error, _), stats = method.apply(self._cross_layer, variables, inputs.student.features, inputs.teacher.features)
        return method.Result(base + self.weight * error, stats, memory, {"cross_layer": error})
