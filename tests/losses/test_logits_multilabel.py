"""Logit distillation class by class, against closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrhnet_jax import losses


def arrays(teachers=2, batch=3, classes=24, seed=0):
    random = np.random.default_rng(seed)
    teacher_logits = jnp.asarray(random.normal(0, 3, (teachers, batch, classes)), jnp.float32)
    logits = jnp.asarray(random.normal(0, 3, (batch, classes)), jnp.float32)
    return logits, jnp.asarray(random.uniform(size=(batch, classes)) < 0.2), teacher_logits


def test_zero_for_equal_logits_and_positive_otherwise():
    logits, _, teachers = arrays()
    assert losses.sigmoid_kl(logits, logits, 2.0) == 0
    assert losses.sigmoid_kl(teachers[0], logits, 2.0) > 0
    # Unlike softmax, a sigmoid sees a constant that is added to all classes.
    assert losses.sigmoid_kl(logits + 5, logits, 2.0) > 0.1


def test_one_class_by_hand():
    """KL between coins of .8 and .5, and T^2 of it at T = 2."""
    teacher, student = jnp.array([[2 * np.log(4.0)]]), jnp.zeros((1, 1))
    expected = 0.8 * np.log(0.8 / 0.5) + 0.2 * np.log(0.2 / 0.5)
    assert losses.sigmoid_kl(teacher, student, 2.0) == pytest.approx(expected, rel=1e-6)
    assert losses.sigmoid_kl(teacher, student, 2.0, t_squared=True) == pytest.approx(4 * expected, rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_gradient(temperature):
    logits, _, teachers = arrays()
    gradient = jax.grad(losses.sigmoid_kl, argnums=1)(teachers[0], logits, temperature, t_squared=True)
    difference = jax.nn.sigmoid(logits / temperature) - jax.nn.sigmoid(teachers[0] / temperature)
    np.testing.assert_allclose(gradient, temperature * difference / logits.size, atol=1e-7)
    plain = jax.grad(losses.sigmoid_kl, argnums=1)(teachers[0], logits, temperature)
    np.testing.assert_allclose(plain, difference / (temperature * logits.size), atol=1e-7)


def test_a_class_is_not_pulled_by_another():
    logits, _, teachers = arrays()
    for kind, alone in (("sigmoid", True), ("softmax", False)):
        gradient = jax.grad(losses.KINDS[kind], argnums=1)
        changed = gradient(teachers[0], logits.at[:, 0].add(4), 2.0) - gradient(teachers[0], logits, 2.0)
        assert (jnp.abs(changed[:, 1:]).max() == 0) == alone


def test_extreme_logits():
    teacher, student = jnp.array([[1e4, -1e4, 1e4]]), jnp.array([[-1e4, -1e4, 1e4]])
    value, gradient = jax.value_and_grad(losses.sigmoid_kl, argnums=1)(teacher, student, 1.0)
    assert value == pytest.approx(1e4 / 3)
    np.testing.assert_allclose(gradient, [[-1 / 3, 0, 0]], atol=1e-7)


def test_several_teachers_and_the_distillation_loss():
    logits, labels, teachers = arrays(teachers=3)
    weights = jnp.array([0.5, 0.3, 0.2])
    each = [losses.sigmoid_kl(teacher, logits, 2.0, t_squared=True) for teacher in teachers]
    kl = losses.multi_teacher_kl(teachers, weights, logits, 2.0, t_squared=True, kind="sigmoid")
    assert kl == pytest.approx(float((weights * jnp.stack(each)).sum()), rel=1e-6)
    loss = functools.partial(losses.distillation, alpha=0.25, temperature=2.0, t_squared=True, kind="sigmoid")
    total, terms = loss(logits, labels, teachers, weights)
    assert terms["kl"] == pytest.approx(float(kl), rel=1e-6)
    assert total == pytest.approx(0.25 * float(terms["bce"]) + 0.75 * float(kl), rel=1e-6)
    gradient = jax.grad(lambda teachers: loss(logits, labels, teachers, weights)[0])(teachers)
    np.testing.assert_array_equal(gradient, 0)


def test_bfloat16_logits_are_computed_in_float32():
    logits, _, teachers = arrays()
    half = logits.astype(jnp.bfloat16)
    loss = losses.sigmoid_kl(teachers[0], half, 2.0)
    assert loss.dtype == jnp.float32 and loss == losses.sigmoid_kl(teachers[0], half.astype(jnp.float32), 2.0)


def test_bad_input():
    logits, _, teachers = arrays()
    with pytest.raises(ValueError, match="must have the same shape"):
        losses.sigmoid_kl(teachers[0, :1], logits, 2.0)
    with pytest.raises(ValueError, match="'hinge'; choose softmax, sigmoid"):
        losses.multi_teacher_kl(teachers, jnp.ones(2), logits, 2.0, kind="hinge")
