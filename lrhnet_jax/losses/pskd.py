"""Self-distillation: a network's targets mixed with what it predicted an epoch before (PS-KD, Kim et al. 2021).

A table holds one row of probabilities for every training record, on the device. A step reads the rows of its batch,
mixes them with the labels, takes its loss against the mixture, and puts this epoch's probabilities in their place:

    targets = mix_targets(labels, table[index], schedule(0.8, epoch, epochs))
    loss = bce(logits, targets)
    table = update_table(table, index, logits)

`PSKD` does so in every training step.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import gammaln

from lrhnet_jax.losses import method


def schedule(final: float, epoch: jax.Array | int, epochs: int, compounding: bool = False) -> jax.Array:
    """Returns the weight of a network's own predictions in an epoch, () float32: final * epoch / epochs.

    Args:
      final: the weight in the last epoch; Kim et al. have 0.8.
      epoch: counted from 1.
      epochs: their number.
      compounding: the mistake of LRH-Net's reference code, which multiplies the weight *of the epoch before* by
        epoch / epochs. The product, final * epoch! / epochs^epoch, is highest in the first epoch, which has no earlier
        predictions, and soon next to nothing: of 90 epochs the second has .0002. That is training from labels alone.
    """
    epoch = jnp.asarray(epoch, jnp.float32)
    if compounding:
        return final * jnp.exp(gammaln(epoch + 1) - epoch * jnp.log(jnp.float32(epochs)))
    return final * epoch / epochs


def mix_targets(labels: jax.Array, previous: jax.Array, weight: jax.Array | float) -> jax.Array:
    """Returns (1 - weight) * labels + weight * previous, (batch, classes) of PS-KD, without a gradient.

    Args:
      labels: (batch, classes), 0 or 1.
      previous: (batch, classes), the network's probabilities an epoch before.
      weight: scalar in [0, 1].

    Raises:
      ValueError: if the shapes differ.
    """
    if labels.shape != previous.shape:
        raise ValueError(
            f"labels of shape {labels.shape} and predictions of shape {previous.shape} must have the same shape"
        )
    weight = jnp.asarray(weight, previous.dtype)
    return lax.stop_gradient((1 - weight) * labels.astype(previous.dtype) + weight * previous)


def init_table(labels: jax.Array) -> jax.Array:
    """Returns the table before the first epoch, (records, classes) float32: the labels, so that mixing changes none."""
    return jnp.array(labels, jnp.float32)


def update_table(table: jax.Array, index: jax.Array, logits: jax.Array, exclusive: bool = False) -> jax.Array:
    """Returns the table with the rows `index` replaced by sigmoid(logits), or softmax(logits) if `exclusive`.

    An epoch must show a record once at most. One that it leaves out keeps its older prediction.

    Args:
      table: (records, classes).
      index: (batch,) int32, rows of the table.
      logits: (batch, classes), in training mode, of whichever window the step saw.
    """
    probabilities = (jax.nn.softmax if exclusive else jax.nn.sigmoid)(logits.astype(table.dtype))
    return table.at[index].set(lax.stop_gradient(probabilities))


@dataclasses.dataclass(frozen=True)
class PSKD(method.Method):
    """Trains on targets mixed with the network's own predictions of the epoch before.

    Attributes:
      final: the weight of those predictions in the last epoch.
      compounding: as of `schedule`: the mistake of LRH-Net's reference code.
    """

    across_records: ClassVar[bool] = True

    final: float = 0.8
    compounding: bool = False

    def init(self, key: jax.Array, inputs: method.MethodInputs) -> tuple[dict[str, Any], Any]:
        return {"params": {}, "batch_stats": {}}, init_table(inputs.all_labels)

    def targets(self, memory: jax.Array, inputs: method.MethodInputs) -> jax.Array:
        weight = schedule(self.final, inputs.epoch, inputs.epochs, self.compounding)
        return mix_targets(inputs.labels, memory[inputs.rows], weight)

    def loss(
        self, base: jax.Array, variables: dict[str, Any], memory: jax.Array, inputs: method.MethodInputs
    ) -> method.Result:
        table = update_table(memory, inputs.rows, inputs.student.logits, inputs.exclusive)
        return method.Result(base, variables["batch_stats"], table, {})
