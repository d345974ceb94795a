"""Losses that teach a network another network's logits."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from lrhnet_jax.errors import choose
from lrhnet_jax.losses.supervised import bce


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
    teacher_logits, student_logits = _softened(teacher_logits, student_logits, temperature)
    teacher, student = jax.nn.log_softmax(teacher_logits), jax.nn.log_softmax(student_logits)
    divergence = (jnp.exp(teacher) * (teacher - student)).sum(-1).mean()
    return divergence * temperature**2 if t_squared else divergence


def sigmoid_kl(
    teacher_logits: jax.Array, student_logits: jax.Array, temperature: float, t_squared: bool = False
) -> jax.Array:
    """Returns KL(Bernoulli(sigmoid(teacher / T)) || Bernoulli(sigmoid(student / T))), mean over batch and classes.

    Each class is a yes or no of its own, as the labels are: the softmax of `softmax_kl` makes classes compete that go
    together. Times T^2 it is the multi-label knowledge distillation of MVKT-ECG. A mean over the classes, where
    `softmax_kl` is a sum, it is the smaller of the two by about their number.

    Arguments and errors as in `softmax_kl`. The gradient by the student's logits is, without T^2,
    (sigmoid(student / T) - sigmoid(teacher / T)) / (T * batch * classes).
    """
    teacher, student = _softened(teacher_logits, student_logits, temperature)
    # Logarithms of both answers, neither as one minus the other: no logit is too large.
    yes = jax.nn.sigmoid(teacher) * (jax.nn.log_sigmoid(teacher) - jax.nn.log_sigmoid(student))
    no = jax.nn.sigmoid(-teacher) * (jax.nn.log_sigmoid(-teacher) - jax.nn.log_sigmoid(-student))
    divergence = (yes + no).mean()
    return divergence * temperature**2 if t_squared else divergence


def _softened(teacher_logits: jax.Array, student_logits: jax.Array, temperature: float) -> tuple[jax.Array, jax.Array]:
    if teacher_logits.shape != student_logits.shape:
        raise ValueError(
            f"teacher logits of shape {teacher_logits.shape} and student logits of shape {student_logits.shape} "
            "must have the same shape"
        )
    dtype = jnp.promote_types(student_logits.dtype, jnp.float32)
    return lax.stop_gradient(teacher_logits).astype(dtype) / temperature, student_logits.astype(dtype) / temperature


KINDS: dict[str, Callable[..., jax.Array]] = {"softmax": softmax_kl, "sigmoid": sigmoid_kl}


def multi_teacher_kl(
    teacher_logits: jax.Array,
    weights: jax.Array,
    student_logits: jax.Array,
    temperature: float,
    t_squared: bool = False,
    kind: str = "softmax",
    mean_logits: bool = False,
) -> jax.Array:
    """Returns the weighted sum of `softmax_kl` over teachers, a scalar (LRH-Net, equations 2 to 5).

    With `mean_logits` the teachers speak as one: the KL is that to the weighted mean of their logits, times the sum of
    the weights. An ensemble of one network's seeds is used so.

    Args:
      teacher_logits: (teachers, batch, classes).
      weights: (teachers,): the paper's beta and 1 - beta for two teachers, in the order of the logits.
      student_logits: (batch, classes).
      temperature, t_squared: as in `softmax_kl`.
      kind: "softmax", or "sigmoid" for `sigmoid_kl`.

    Raises:
      ValueError: if the shapes do not fit, or for an unknown kind.
    """
    choose("", kind, KINDS, noun="kind of logit distillation", error=ValueError)
    weights = jnp.asarray(weights)
    if weights.shape != teacher_logits.shape[:1]:
        raise ValueError(
            f"weights of shape {weights.shape} do not fit teacher logits of shape {teacher_logits.shape}: "
            "give one weight per teacher, and logits as (teachers, batch, classes)"
        )
    if mean_logits:
        total = weights.astype(teacher_logits.dtype).sum()
        mean = jnp.tensordot(weights.astype(teacher_logits.dtype), teacher_logits, 1) / total
        return total * KINDS[kind](mean, student_logits, temperature, t_squared)
    each = jax.vmap(lambda teacher: KINDS[kind](teacher, student_logits, temperature, t_squared))(teacher_logits)
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
    kind: str = "softmax",
    kl_weight: float | None = None,
    mean_logits: bool = False,
    supervised: Callable[[jax.Array, jax.Array], jax.Array] = bce,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns alpha * BCE + (1 - alpha) * KL, and both terms by name (LRH-Net, equation 5).

    One teacher is vanilla distillation, several are multi-level distillation. Shapes, `kind` and `mean_logits` as
    in `multi_teacher_kl`; labels (batch, classes). A `kl_weight` that is not None takes the place of 1 - alpha;
    `supervised` that of BCE, under its own name, where the classes exclude each other.
    """
    from_labels = supervised(logits, labels)
    kl = multi_teacher_kl(teacher_logits, weights, logits, temperature, t_squared, kind, mean_logits)
    kl_weight = 1 - alpha if kl_weight is None else kl_weight
    return alpha * from_labels + kl_weight * kl, {supervised.__name__: from_labels, "kl": kl}
