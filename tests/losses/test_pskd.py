import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrhnet_jax import losses
from lrhnet_jax.losses import pskd


def test_the_weight_grows_linearly_to_its_last_value():
    weights = jax.jit(lambda epochs: pskd.schedule(0.8, epochs, 20))(jnp.arange(1, 21))
    np.testing.assert_allclose(weights, 0.8 * np.arange(1, 21) / 20, rtol=1e-6)


def test_compounding_is_the_product_of_all_epochs_so_far():
    weight, expected = 0.8, []
    for epoch in range(1, 91):
        weight *= epoch / 90
        expected.append(weight)
    found = pskd.schedule(0.8, jnp.arange(1, 91), 90, compounding=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-30)
    assert found[1] < 3e-4


def test_mixed_targets():
    labels, previous = jnp.array([[1.0, 0.0]]), jnp.array([[0.6, 0.3]])
    np.testing.assert_allclose(pskd.mix_targets(labels, previous, 0.25), [[0.9, 0.075]], rtol=1e-6)
    np.testing.assert_array_equal(pskd.mix_targets(labels, previous, 0.0), labels)
    np.testing.assert_array_equal(pskd.mix_targets(labels, previous, 1.0), previous)
    gradient = jax.grad(lambda p: pskd.mix_targets(labels, p, 0.5).sum())(previous)
    np.testing.assert_array_equal(gradient, 0)
    with pytest.raises(ValueError, match="must have the same shape"):
        pskd.mix_targets(labels, previous[0], 0.5)


def test_three_epochs_against_a_plain_loop():
    """Each target is mixed from the prediction of the epoch before, also where an epoch leaves records out."""
    random = np.random.default_rng(0)
    labels = (random.uniform(size=(10, 24)) < 0.2).astype(np.float32)
    logits = random.normal(size=(3, 10, 24)).astype(np.float32)
    step = jax.jit(
        lambda table, index, logits, epoch: (
            pskd.mix_targets(jnp.asarray(labels)[index], table[index], pskd.schedule(0.8, epoch, 3)),
            pskd.update_table(table, index, logits),
        ),
        donate_argnums=0,
    )
    table, remembered = pskd.init_table(jnp.asarray(labels)), labels.copy()
    for epoch in range(1, 4):
        order = random.permutation(10)[:8]  # two batches of four; two records do not fill a batch
        for index in (order[:4], order[4:]):
            targets, table = step(table, index, logits[epoch - 1, index], epoch)
            weight = 0.8 * epoch / 3
            expected = (1 - weight) * labels[index] + weight * remembered[index]
            np.testing.assert_allclose(targets, expected, rtol=1e-5, atol=1e-7)
            if epoch == 1:
                np.testing.assert_allclose(targets, labels[index], atol=1e-7)
            remembered[index] = 1 / (1 + np.exp(-logits[epoch - 1, index]))
    np.testing.assert_allclose(table, remembered, rtol=1e-5, atol=1e-7)
    assert np.isfinite(losses.bce(jnp.asarray(logits[0]), table))


def test_the_table_takes_no_gradient_and_any_precision():
    table, index = pskd.init_table(jnp.zeros((4, 2), bool)), jnp.array([2, 0])
    logits = jnp.ones((2, 2), jnp.bfloat16)
    updated = pskd.update_table(table, index, logits)
    assert updated.dtype == jnp.float32
    np.testing.assert_allclose(updated[:, 0], [0.731059, 0, 0.731059, 0], rtol=1e-5)
    gradient = jax.grad(lambda x: pskd.update_table(table, index, x).sum())(jnp.ones((2, 2)))
    np.testing.assert_array_equal(gradient, 0)
