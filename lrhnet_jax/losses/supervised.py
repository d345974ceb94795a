"""Losses against labels."""

import jax
import jax.numpy as jnp


def bce(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the binary cross-entropy of independent classes, a scalar; torch.nn.BCEWithLogitsLoss.

    It is the mean over batch and classes, as the reference code has it; the paper's equation 1 sums over the classes.

    Args:
      logits: (batch, classes).
      labels: (batch, classes), bool, or numbers in [0, 1].

    Raises:
      ValueError: if the shapes differ.
    """
    logits, labels = _floats(logits, labels)
    # Both terms are small where the answer is right: no difference of large numbers is taken.
    return (labels * jax.nn.softplus(-logits) + (1 - labels) * jax.nn.softplus(logits)).mean()


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the cross-entropy of classes that exclude each other, a scalar; torch.nn.CrossEntropyLoss.

    The sum over classes of -label * log softmax(logits), mean over the batch.

    Args:
      logits: (batch, classes).
      labels: (batch, classes), one of them 1 or True a row, or probabilities that sum to one.

    Raises:
      ValueError: if the shapes differ.
    """
    logits, labels = _floats(logits, labels)
    return -(labels * jax.nn.log_softmax(logits)).sum(-1).mean()


def _floats(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    if logits.shape != labels.shape:
        raise ValueError(f"logits of shape {logits.shape} and labels of shape {labels.shape} must have the same shape")
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return logits, labels.astype(logits.dtype)
