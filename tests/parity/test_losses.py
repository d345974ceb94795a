"""Our losses against PyTorch's: values and gradients in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrhnet_jax import losses

torch = pytest.importorskip("torch", reason="parity tests need PyTorch: pip install torch")


def arrays(scale, teachers):
    random = np.random.default_rng(teachers)
    logits, *teacher_logits = random.normal(size=(1 + teachers, 5, 24)) * 3
    if scale == "extreme":
        logits, *teacher_logits = 1e4 * np.sign(random.normal(size=(1 + teachers, 5, 24)))
    labels = (random.uniform(size=(5, 24)) < 0.2).astype(np.float64)
    return logits, labels, np.stack(teacher_logits), random.dirichlet(np.ones(teachers))


def reference(logits, labels, teachers, weights, alpha, temperature, t_squared):
    """The multi-teacher loss in PyTorch, written with its own modules."""
    logits = torch.tensor(logits, requires_grad=True)
    divergence = torch.nn.KLDivLoss(reduction="batchmean")
    student = torch.log_softmax(logits / temperature, dim=1)
    factor = temperature**2 if t_squared else 1
    bce = torch.nn.BCEWithLogitsLoss()(logits, torch.tensor(labels))
    kl = sum(
        weight * factor * divergence(student, torch.softmax(torch.tensor(teacher) / temperature, dim=1))
        for weight, teacher in zip(weights, teachers, strict=True)
    )
    loss = alpha * bce + (1 - alpha) * kl
    loss.backward()
    return loss.item(), bce.item(), kl.item(), logits.grad.numpy()


@pytest.mark.parametrize("t_squared", [False, True])
@pytest.mark.parametrize("teachers", [1, 2, 3, 4])
@pytest.mark.parametrize("scale", ["ordinary", "extreme"])
def test_distillation(scale, teachers, t_squared):
    logits, labels, teacher_logits, weights = arrays(scale, teachers)
    options = {"alpha": 0.3, "temperature": 7.0, "t_squared": t_squared}
    loss, bce, kl, gradient = reference(logits, labels, teacher_logits, weights, **options)
    with jax.enable_x64(True):
        function = jax.value_and_grad(lambda *arrays: losses.distillation(*arrays, **options), has_aux=True)
        (ours, terms), our_gradient = function(*map(jnp.asarray, (logits, labels, teacher_logits, weights)))
        assert ours.dtype == "float64"
    for mine, theirs in ((ours, loss), (terms["bce"], bce), (terms["kl"], kl)):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(our_gradient, gradient, rtol=1e-12, atol=1e-12)
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_mean_of_teachers_is_one_teacher_with_the_mean_of_their_logits(kind):
    logits, labels, teacher_logits, _ = arrays("ordinary", 3)
    weights = np.array([0.5, 0.2, 0.1])
    options = {"temperature": 2.0, "kind": kind, "alpha": 0.3, "kl_weight": 0.9}
    mean = (weights[:, None, None] * teacher_logits).sum(0) / 0.8
    with jax.enable_x64(True):
        function = jax.value_and_grad(lambda *inputs, **more: losses.distillation(*inputs, **options, **more)[0])
        ours, gradient = function(logits, labels, teacher_logits, weights, mean_logits=True)
        expected, expected_gradient = function(logits, labels, mean[None], np.array([0.8]))
        apart = function(logits, labels, teacher_logits, weights)[0]
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-12, atol=1e-14)
    assert abs(float(ours) - float(apart)) > 1e-3


@pytest.mark.parametrize("scale", ["ordinary", "extreme"])
def test_bce_with_soft_labels(scale):
    logits, labels, *_ = arrays(scale, 1)
    labels = 0.1 + 0.8 * labels
    tensor = torch.tensor(logits, requires_grad=True)
    theirs = torch.nn.BCEWithLogitsLoss()(tensor, torch.tensor(labels))
    theirs.backward()
    with jax.enable_x64(True):
        ours, gradient = jax.value_and_grad(losses.bce)(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(ours, theirs.item(), rtol=1e-12)
    np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale", ["ordinary", "extreme"])
@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy(scale, soft):
    logits, *_ = arrays(scale, 1)
    labels = np.eye(24)[[3, 0, 23, 3, 7]]
    labels = 0.9 * labels + 0.1 / 24 if soft else labels
    tensor = torch.tensor(logits, requires_grad=True)
    # PyTorch takes class numbers, or probabilities; both must agree with one-hot labels.
    theirs = torch.nn.CrossEntropyLoss()(tensor, torch.tensor(labels if soft else labels.argmax(1)))
    theirs.backward()
    with jax.enable_x64(True):
        function = jax.value_and_grad(losses.cross_entropy)
        ours, gradient = function(jnp.asarray(logits), jnp.asarray(labels if soft else labels.astype(bool)))
    np.testing.assert_allclose(ours, theirs.item(), rtol=1e-12)
    np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-12, atol=1e-12)
    assert np.abs(gradient).max() > 1e-3
