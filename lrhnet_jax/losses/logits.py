"""Losses that teach a network another network's logits."""

import jax
import jax.numpy as jnp
from jax import lax

from lrhnet_jax.losses import supervised


def softmax_kl(
    teacher_logits: jax.Array, student_logits: jax.Array, temperature: float, t_squared: bool = False
) -> jax.Array:
    """Returns KL(softmax(teacher / T) || softmax(student / T)), summed over classes, mean over the batch: a scalar.

    This is torch.nn.KLDivLoss(reduction="batchmean") as the reference code calls it. LRH-Net's equations 2 to 4, read
    literally, divide *probabilities* by the temperature: KL(softmax(z_t) / T || softmax(z_s) / T). That is the plain KL
    divided by T, which softens nothing; the reference code does not compute it, and neither does this function.

    No gradient flows to the teacher.

    Args:
      teacher_logits, student_logits: (batch, classes).
      temperature: T, above 0.
      t_squared: multiplies by T^2, which keeps the gradient's size independent of T (Hinton et al. 2015).

    Raises:
      ValueError: if the shapes differ.
    """
    if teacher_logits.shape != student_logits.shape:
        raise ValueError(
            f"teacher logits of shape {teacher_logits.shape} and student logits of shape {student_logits.shape} "
            "must have the same shape"
        )
    dtype = jnp.promote_types(student_logits.dtype, jnp.float32)
    teacher = jax.nn.log_softmax(lax.stop_gradient(teacher_logits).astype(dtype) / temperature)
    student = jax.nn.log_softmax(student_logits.astype(dtype) / temperature)
    divergence = (jnp.exp(teacher) * (teacher - student)).sum(-1).mean()
    return divergence * temperature**2 if t_squared else divergence


def multi_teacher_kl(
    teacher_logits: jax.Array,
    weights: jax.Array,
    student_logits: jax.Array,
    temperature: float,
    t_squared: bool = False,
) -> jax.Array:
    """Returns the weighted sum of `softmax_kl` over teachers, a scalar (LRH-Net, equations 2 to 5).

    Args:
      teacher_logits: (teachers, batch, classes).
      weights: (teachers,): the paper's beta and 1 - beta for two teachers, in the order of the logits.
      student_logits: (batch, classes).
      temperature, t_squared: as in `softmax_kl`.

    Raises:
      ValueError: if the shapes do not fit.
    """
    weights = jnp.asarray(weights)
    if weights.shape != teacher_logits.shape[:1]:
        raise ValueError(
            f"weights of shape {weights.shape} do not fit teacher logits of shape {teacher_logits.shape}: "
            "give one weight per teacher, and logits as (teachers, batch, classes)"
        )
    each = jax.vmap(lambda teacher: softmax_kl(teacher, student_logits, temperature, t_squared))(teacher_logits)
    return (weights.astype(each.dtype) * each).sum()


def distillation(
    logits: jax.Array,
    labels: jax.Array,
    teacher_logits: jax.Array,
    weights: jax.Array,
    *,
    alpha: float = 0.3,
    temperature: float = 7.0,
    t_squared: bool = False,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns alpha * BCE + (1 - alpha) * KL, and both terms by name (LRH-Net, equation 5).

    One teacher is vanilla distillation, several are multi-level distillation. Shapes as in `multi_teacher_kl`; labels
    (batch, classes).
    """
    bce = supervised.bce(logits, labels)
    kl = multi_teacher_kl(teacher_logits, weights, logits, temperature, t_squared)
    return alpha * bce + (1 - alpha) * kl, {"bce": bce, "kl": kl}
