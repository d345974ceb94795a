"""Contrastive representation distillation (CRD, Tian et al. 2020), with the negatives of MVKT-ECG's CLT.

Student and teacher features of the same record should be told from those of other records. Linear maps embed both on
the unit sphere; memory banks hold every training record's embeddings, so that a step contrasts with many more records
than its batch. MVKT-ECG's disease-aware lead-information transferring (CLT) draws the negatives among records of
other diseases only: here, among those that share no label with the anchor.

    student, teacher = embeddings.apply(variables, student_features, teacher_features)
    negatives, valid = draw_negatives(key, labels, anchors, 1024)
    loss, bank, metrics = crd(bank, student, teacher, anchors, negatives, valid)

`CLT` does so in every training step.
"""

import dataclasses
import math
from typing import Any, ClassVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from lrhnet_jax.losses import maps, method
from lrhnet_jax.models import layers

HIGHEST = lax.Precision.HIGHEST  # similarities are divided by a small temperature


class Bank(flax.struct.PyTreeNode):
    """What contrastive distillation remembers of the n training records.

    Attributes:
      student, teacher: (n, dim) embeddings, running averages on the unit sphere.
      log_scale: (2,) logarithms of the mean exp(similarity / T) of the first batch, of the student's and the teacher's
        anchors; -inf before. With n they make up Tian et al.'s constant Z = n * scale.
    """

    student: jax.Array
    teacher: jax.Array
    log_scale: jax.Array


class Embeddings(nn.Module):
    """Linear maps of both networks' pooled features to unit vectors. They train with the student.

    Attributes:
      dim: of the embedding.
      layer: name of the feature, (batch, channels).
      param_dtype: of parameters and computation.
    """

    dim: int = 128
    layer: str = "pooled"
    param_dtype: layers.Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, student: maps.Features, teacher: maps.Features, train: bool = True
    ) -> tuple[jax.Array, jax.Array]:
        """Features by name -> embeddings of student and teacher, (batch, dim) each."""
        embed_student = layers.Dense(self.dim, param_dtype=self.param_dtype, name="student")
        embed_teacher = layers.Dense(self.dim, param_dtype=self.param_dtype, name="teacher")
        return (
            maps.l2_normalize(embed_student(student[self.layer])),
            maps.l2_normalize(embed_teacher(lax.stop_gradient(teacher[self.layer]))),
        )


def init_bank(key: jax.Array, records: int, dim: int = 128, dtype: layers.Dtype = jnp.float32) -> Bank:
    """Returns random banks: uniform, of about unit length, as Tian et al. begin.

    While anchors and banks have nothing to do with each other, the loss is 2 * (ln K + 1 + 1 / (2 T^2 dim)), since the
    similarities are normal of variance 1 / dim; 17.5 for K = 1024, T = .07, dim = 128. Where all similarities are equal
    it is 2 * (ln(1 + K) + K ln(1 + 1 / K)), which is 15.9.
    """
    bound = math.sqrt(3 / dim)
    student_key, teacher_key = jax.random.split(key)
    return Bank(
        student=jax.random.uniform(student_key, (records, dim), dtype, -bound, bound),
        teacher=jax.random.uniform(teacher_key, (records, dim), dtype, -bound, bound),
        log_scale=jnp.full((2,), -jnp.inf, dtype),
    )


def draw_negatives(key: jax.Array, labels: jax.Array, anchors: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Draws, for each anchor, records that share no label with it, uniformly and with replacement.

    NCE's noise is independent draws from one distribution, so replacement is right for it; an anchor with fewer than
    `count` such records needs no other rule. Each draw is a rank among the admissible records, looked up by bisection
    in their running count: exact, and in all batch * (n + count * log n) work, where Gumbel noise takes batch * n
    logarithms and a sort, and rejection as many rounds as the commonest label asks for.

    Args:
      labels: (n, classes), bool or 0 and 1. A record without a label is a negative of every other.
      anchors: (batch,) int32, rows of `labels`. An anchor is not its own negative.
      count: negatives an anchor.

    Returns:
      negatives: (batch, count) int32, rows of `labels`.
      valid: (batch,) bool; False: no record is admissible and the row of `negatives` means nothing.
    """
    n = len(labels)
    labels = labels.astype(jnp.float32)
    own = jnp.arange(n)[None, :] == anchors[:, None]
    admissible = (labels[anchors] @ labels.T == 0) & ~own
    ranks = jnp.cumsum(admissible, axis=1, dtype=jnp.int32)
    total = ranks[:, -1]
    draws = jax.random.randint(key, (len(anchors), count), 0, jnp.maximum(total, 1)[:, None])
    negatives = jax.vmap(lambda row, draw: jnp.searchsorted(row, draw, side="right"))(ranks, draws)
    return jnp.minimum(negatives, n - 1).astype(jnp.int32), total > 0


def crd(
    bank: Bank,
    student: jax.Array,
    teacher: jax.Array,
    anchors: jax.Array,
    negatives: jax.Array,
    valid: jax.Array,
    *,
    temperature: float = 0.07,
    momentum: float = 0.5,
) -> tuple[jax.Array, Bank, dict[str, jax.Array]]:
    """Returns the contrastive loss, the banks after the step, and metrics (Tian et al. 2020, equation 18).

    For each anchor, with h = e / (e + K * scale) of e = exp(similarity / T), the loss is -log h of the anchor's own
    record in the other network's bank, minus the sum of log(1 - h) over the K negatives there; the mean over anchors,
    added up for the student's embeddings as anchors and for the teacher's. `scale` is the mean e of the first batch,
    and stays. (In Tian et al.'s h = (e / Z) / (e / Z + K / n) the n of Z cancels.)

    An anchor that is not `valid` counts in no mean; if none is, the loss is zero. Its bank row is updated all the same.

    Args:
      bank: of n records; no gradient flows to it.
      student, teacher: (batch, dim), unit vectors; gradients flow to both.
      anchors: (batch,) int32, the records' rows in the bank, all different.
      negatives, valid: from `draw_negatives`.
      temperature: T.
      momentum: the share of the old row in the new: normalised momentum * old + (1 - momentum) * embedding.

    Returns:
      The loss, a scalar; the new bank; "mutual_information", the mean of both anchors' bounds log K - loss, in nats,
      which is a bound for negatives drawn from all records and an indicator for those of other labels; "anchors", the
      share that is valid.

    Raises:
      ValueError: if the shapes do not fit.
    """
    dim = bank.student.shape[1]
    if student.shape != teacher.shape or student.shape != (len(anchors), dim) or len(negatives) != len(anchors):
        raise ValueError(
            f"embeddings of shape {student.shape} and {teacher.shape}, {len(anchors)} anchors and negatives of shape "
            f"{negatives.shape} do not fit each other and a bank of {dim} dimensions"
        )
    bank, dtype, count = lax.stop_gradient(bank), bank.student.dtype, negatives.shape[1]
    student, teacher = student.astype(dtype), teacher.astype(dtype)
    rows = jnp.concatenate([anchors[:, None], negatives], axis=1)
    anchors_valid = valid.sum().astype(dtype)
    losses, scales = [], []
    for anchor, others, log_scale in zip((student, teacher), (bank.teacher, bank.student), bank.log_scale, strict=True):
        scores = jnp.einsum("bd,bkd->bk", anchor, others[rows], precision=HIGHEST) / temperature
        log_scale = jnp.where(jnp.isneginf(log_scale), _log_mean_exp(lax.stop_gradient(scores), valid), log_scale)
        # Where no anchor was ever valid there is no scale yet: any finite one, since nothing counts.
        odds = scores - jnp.where(jnp.isneginf(log_scale), 0, log_scale) - math.log(count)
        each = jax.nn.softplus(-odds[:, 0]) + jax.nn.softplus(odds[:, 1:]).sum(1)
        losses.append(jnp.where(valid, each, 0).sum() / jnp.maximum(anchors_valid, 1))
        scales.append(log_scale)
    loss = losses[0] + losses[1]
    bank = Bank(
        student=_remember(bank.student, anchors, student, momentum),
        teacher=_remember(bank.teacher, anchors, teacher, momentum),
        log_scale=jnp.stack(scales),
    )
    bound = jnp.where(anchors_valid > 0, math.log(count) - loss / 2, 0)
    return loss, bank, {"mutual_information": lax.stop_gradient(bound), "anchors": anchors_valid / len(anchors)}


def _log_mean_exp(scores: jax.Array, valid: jax.Array) -> jax.Array:
    """log of the mean of exp(scores) over the valid rows; -inf if there are none."""
    weights = jnp.broadcast_to(valid[:, None], scores.shape).astype(scores.dtype)
    return jax.nn.logsumexp(scores, b=weights) - jnp.log(jnp.maximum(weights.sum(), 1))


def _remember(bank: jax.Array, anchors: jax.Array, embedding: jax.Array, momentum: float) -> jax.Array:
    mixed = momentum * bank[anchors] + (1 - momentum) * lax.stop_gradient(embedding)
    return bank.at[anchors].set(maps.l2_normalize(mixed))


@dataclasses.dataclass(frozen=True)
class CLT(method.Method):
    """Adds weight * `crd`, with negatives of other diseases: MVKT-ECG's contrastive lead-information transferring.

    Attributes:
      weight: MVKT-ECG's beta.
      dim: of the embeddings; layer: the feature that is embedded.
      negatives, temperature, momentum: K, T and the momentum of `crd`.
      any_negative: draw the negatives from all other records, as Tian et al. do.
    """

    metrics: ClassVar[tuple[str, ...]] = ("contrastive", "mutual_information")
    needs_teacher: ClassVar[bool] = True
    across_records: ClassVar[bool] = True

    weight: float = 0.8
    dim: int = 128
    layer: str = "pooled"
    negatives: int = 1024
    temperature: float = 0.07
    momentum: float = 0.5
    any_negative: bool = False

    @property
    def _embeddings(self) -> Embeddings:
        return Embeddings(self.dim, self.layer)

    def init(self, key: jax.Array, inputs: method.MethodInputs) -> tuple[dict[str, Any], Any]:
        module_key, bank_key = jax.random.split(key)
        variables = method.init_module(self._embeddings, module_key, inputs.student.features, inputs.teacher.features)
        return variables, init_bank(bank_key, len(inputs.all_labels), self.dim)

    def loss(
        self, base: jax.Array, variables: dict[str, Any], memory: Bank, inputs: method.MethodInputs
    ) -> method.Result:
        embedded, stats = method.apply(self._embeddings, variables, inputs.student.features, inputs.teacher.features)
        labels = jnp.zeros_like(inputs.all_labels) if self.any_negative else inputs.all_labels
        negatives, valid = draw_negatives(inputs.key, labels, inputs.rows, self.negatives)
        loss, bank, parts = crd(
            memory, *embedded, inputs.rows, negatives, valid, temperature=self.temperature, momentum=self.momentum
        )
        metrics = {"contrastive": loss, "mutual_information": parts["mutual_information"]}
        return method.Result(base + self.weight * loss, stats, bank, metrics)
