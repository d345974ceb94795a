"""Losses against closed forms; tests/parity compares them with PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrhnet_jax import losses


def arrays(teachers=2, batch=3, classes=24, seed=0):
    random = np.random.default_rng(seed)
    teacher_logits = jnp.asarray(random.normal(0, 3, (teachers, batch, classes)), jnp.float32)
    logits = jnp.asarray(random.normal(0, 3, (batch, classes)), jnp.float32)
    labels = jnp.asarray(random.uniform(size=(batch, classes)) < 0.2)
    return logits, labels, teacher_logits


def test_bce_of_zero_logits_is_ln_2():
    labels = arrays()[1]
    assert losses.bce(jnp.zeros(labels.shape), labels) == pytest.approx(np.log(2))


def test_gradient_of_bce():
    logits, labels, _ = arrays()
    expected = (jax.nn.sigmoid(logits) - labels) / logits.size
    np.testing.assert_allclose(jax.grad(losses.bce)(logits, labels), expected, atol=1e-7)


def test_bce_of_certain_answers():
    logits = jnp.array([[1e4, -1e4]])
    assert losses.bce(logits, jnp.array([[True, False]])) == 0
    assert losses.bce(logits, jnp.array([[False, True]])) == 1e4


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    labels = jnp.array([[True, False, False], [False, False, True]])
    assert losses.cross_entropy(logits, labels) == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2)
    gradient = (jax.nn.softmax(logits) - labels) / 2
    np.testing.assert_allclose(jax.grad(losses.cross_entropy)(logits, labels), gradient, atol=1e-7)
    with pytest.raises(ValueError, match=r"logits of shape \(2, 3\) and labels of shape \(2, 2\)"):
        losses.cross_entropy(logits, labels[:, :2])


def test_kl_is_zero_for_equal_logits_and_positive_otherwise():
    logits, _, teachers = arrays()
    assert losses.softmax_kl(logits, logits, 7.0) == 0
    assert losses.softmax_kl(logits + 5, logits, 7.0) == pytest.approx(0, abs=1e-6), "softmax ignores a constant"
    assert losses.softmax_kl(teachers[0], logits, 7.0) > 0


@pytest.mark.parametrize("temperature", [1.0, 7.0])
def test_gradient_of_kl(temperature):
    logits, _, teachers = arrays()
    soft_student, soft_teacher = jax.nn.softmax(logits / temperature), jax.nn.softmax(teachers[0] / temperature)
    expected = (soft_student - soft_teacher) / temperature / len(logits)
    gradient = jax.grad(losses.softmax_kl, argnums=1)
    np.testing.assert_allclose(gradient(teachers[0], logits, temperature), expected, atol=1e-7)
    squared = gradient(teachers[0], logits, temperature, t_squared=True)
    np.testing.assert_allclose(squared, expected * temperature**2, atol=1e-6)


def test_teachers_get_no_gradient():
    logits, labels, teachers = arrays()
    gradient = jax.grad(lambda teachers: losses.distillation(logits, labels, teachers, jnp.array([0.6, 0.4]))[0])
    np.testing.assert_array_equal(gradient(teachers), 0)


def test_distillation_weighs_its_terms():
    logits, labels, teachers = arrays()
    loss, terms = losses.distillation(
        logits, labels, teachers, jnp.array([0.6, 0.4]), alpha=0.25, temperature=3.0, t_squared=True
    )
    bce = losses.bce(logits, labels)
    kl = [float(losses.softmax_kl(teacher, logits, 3.0, t_squared=True)) for teacher in teachers]
    assert terms.keys() == {"bce", "kl"}
    assert terms["bce"] == bce
    assert terms["kl"] == pytest.approx(0.6 * kl[0] + 0.4 * kl[1], rel=1e-6)
    assert loss == pytest.approx(0.25 * float(terms["bce"]) + 0.75 * float(terms["kl"]), rel=1e-6)


def test_a_permutation_of_teachers_with_their_weights_changes_nothing():
    logits, _, teachers = arrays(teachers=3)
    weights = jnp.array([0.5, 0.3, 0.2])
    order = jnp.array([2, 0, 1])
    one = losses.multi_teacher_kl(teachers, weights, logits, 7.0)
    both_permuted = losses.multi_teacher_kl(teachers[order], weights[order], logits, 7.0)
    teachers_permuted = losses.multi_teacher_kl(teachers[order], weights, logits, 7.0)
    np.testing.assert_allclose(both_permuted, one, rtol=1e-6)
    assert abs(one - teachers_permuted) > 1e-3 * one


def test_bfloat16_logits_are_computed_in_float32():
    logits, labels, teachers = arrays()
    half = logits.astype(jnp.bfloat16)
    for loss, exact in (
        (losses.bce(half, labels), losses.bce(half.astype(jnp.float32), labels)),
        (losses.softmax_kl(teachers[0], half, 7.0), losses.softmax_kl(teachers[0], half.astype(jnp.float32), 7.0)),
    ):
        assert loss.dtype == jnp.float32
        assert loss == exact


def test_shapes_that_would_broadcast_are_refused():
    logits, labels, teachers = arrays(batch=3)
    with pytest.raises(ValueError, match=r"\(3, 24\) and labels of shape \(1, 24\)"):
        losses.bce(logits, labels[:1])
    with pytest.raises(ValueError, match="must have the same shape"):
        losses.softmax_kl(teachers[0, :1], logits, 7.0)
    with pytest.raises(ValueError, match="one weight per teacher"):
        losses.multi_teacher_kl(teachers, jnp.array([1.0]), logits, 7.0)
    with pytest.raises(ValueError, match="one weight per teacher"):
        losses.multi_teacher_kl(teachers[0], jnp.array([0.6, 0.4]), logits, 7.0)
