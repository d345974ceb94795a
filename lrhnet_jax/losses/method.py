"""What a distillation method is: a loss beyond labels and teachers' logits, with parameters and a memory of its own.

A method is a frozen dataclass of numbers and names, so that it can be part of a compiled step. To add one, write it
beside its loss and name it in `losses.METHODS`; docs/methods.md has a worked example.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import flax.struct
import jax

from lrhnet_jax.models import layers


class MethodInputs(flax.struct.PyTreeNode):
    """What a method sees of a training step.

    Attributes:
      student: the `models.Output` that the student returned, in training mode.
      teacher: that of the method's teacher on the same windows, in evaluation mode; None without one.
      labels: (batch, classes) float32.
      rows: (batch,) int32, which of the n training records these are, each at most once an epoch.
      all_labels: (n, classes) float32, the labels of all training records.
      key: of this step.
      epoch_key: the same throughout an epoch.
      epoch: () int32, counted from 1.
      epochs: their number.
      exclusive: a record has exactly one class, and probabilities are a softmax.
    """

    student: Any
    teacher: Any
    labels: jax.Array
    rows: jax.Array
    all_labels: jax.Array
    key: jax.Array
    epoch_key: jax.Array
    epoch: jax.Array
    epochs: int = flax.struct.field(pytree_node=False, default=1)
    exclusive: bool = flax.struct.field(pytree_node=False, default=False)


class Result(NamedTuple):
    """What a method makes of a step.

    Attributes:
      loss: what is trained on, a scalar.
      batch_stats: its new BatchNorm statistics.
      memory: its new memory.
      metrics: scalars for the log, named as in `Method.metrics`.
    """

    loss: jax.Array
    batch_stats: Any
    memory: Any
    metrics: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Method:
    """A distillation method; its fields are set from a config's `train.method`.

    Attributes:
      metrics: the names of what it logs.
      needs_teacher: it reads a teacher's features, so that the teacher runs in every step.
      across_records: it compares the records of a batch or remembers them, so that a step needs the whole batch: not
        under pmap, where every device sees its share alone.
    """

    metrics: ClassVar[tuple[str, ...]] = ()
    needs_teacher: ClassVar[bool] = False
    across_records: ClassVar[bool] = False

    def init(self, key: jax.Array, inputs: MethodInputs) -> tuple[dict[str, Any], Any]:
        """Returns its variables {"params", "batch_stats"} and its memory before the first step.

        Args:
          inputs: arrays of the right shapes; only the values of `all_labels` mean anything.

        Raises:
          ValueError: if the networks or the batch do not suit it.
        """
        return {"params": {}, "batch_stats": {}}, ()

    def targets(self, memory: Any, inputs: MethodInputs) -> jax.Array:
        """Returns what the student's logits are compared with, (batch, classes): the labels, or better."""
        return inputs.labels

    def loss(self, base: jax.Array, variables: dict[str, Any], memory: Any, inputs: MethodInputs) -> Result:
        """Returns the loss and what has changed.

        Args:
          base: the loss against targets and teachers' logits, a scalar.
          variables: its {"params", "batch_stats"}; gradients flow to the parameters and to `inputs.student`.
          memory: as `init` or the step before left it.
        """
        return Result(base, variables["batch_stats"], memory, {})


def apply(module: Any, variables: dict[str, Any], student: Any, teacher: Any) -> tuple[tuple[Any, Any], Any]:
    """Calls a loss module in training mode on two networks' features; returns its output and its new statistics."""
    output, mutated = module.apply(variables, student, teacher, mutable=["batch_stats"])
    return output, mutated.get("batch_stats", {})


def init_module(module: Any, key: jax.Array, student: Any, teacher: Any) -> dict[str, Any]:
    """Returns a loss module's variables for two networks' features."""
    variables = layers.initialize(module, key, student, teacher)
    return {"params": variables.get("params", {}), "batch_stats": variables.get("batch_stats", {})}
