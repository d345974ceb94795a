"""Contrastive distillation against its definition in NumPy, its closed forms, and planted data."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrhnet_jax import losses
from lrhnet_jax.models import layers

draw_negatives = jax.jit(losses.draw_negatives, static_argnums=3)
crd = jax.jit(losses.crd, static_argnames=("temperature", "momentum"))


def unit_vectors(random, *shape):
    x = random.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def multi_labels(n=400, classes=24, rate=0.08, seed=0):
    """Some records with several labels, some with none."""
    return np.random.default_rng(seed).uniform(size=(n, classes)) < rate


def test_no_negative_shares_a_label_with_its_anchor():
    labels, anchors = multi_labels(), np.arange(0, 400, 13)
    assert (labels.sum(1) == 0).any() and (labels.sum(1) > 2).any()
    negatives, valid = map(np.asarray, draw_negatives(jax.random.key(0), jnp.asarray(labels), anchors, 1024))
    assert negatives.shape == (len(anchors), 1024) and valid.all()
    assert not (labels[anchors][:, None] & labels[negatives]).any()
    assert (negatives != anchors[:, None]).all()
    # Of what is admissible, all of it is drawn: 1,024 draws seldom miss one of some 300, and never many.
    for i, anchor in enumerate(anchors):
        admissible = set(np.flatnonzero(~(labels & labels[anchor]).any(1))) - {anchor}
        assert set(negatives[i]) <= admissible
        assert len(set(negatives[i])) > 0.9 * len(admissible)


def test_negatives_are_uniform_and_follow_their_key():
    labels = np.repeat(np.eye(4, dtype=bool), 10, axis=0)  # 30 admissible records an anchor
    negatives, _ = draw_negatives(jax.random.key(0), labels, np.array([0, 15]), 30_000)
    counts = np.stack([np.bincount(row, minlength=40) for row in np.asarray(negatives)])
    assert (counts[0, :10] == 0).all() and (counts[1, 10:20] == 0).all()
    drawn = counts[counts > 0]
    assert len(drawn) == 60
    assert np.abs(drawn - 1000).max() < 5 * np.sqrt(1000)
    again, _ = draw_negatives(jax.random.key(0), labels, np.array([0, 15]), 30_000)
    np.testing.assert_array_equal(again, negatives)
    assert (np.asarray(draw_negatives(jax.random.key(1), labels, np.array([0, 15]), 30_000)[0]) != negatives).any()


def test_anchors_with_few_negatives_and_with_none():
    """Records 0 to 4 have label 0 and 5 to 7 have label 1; 3 has both, so that nothing is left to contrast it with."""
    labels = np.zeros((8, 2), bool)
    labels[:5, 0] = labels[5:, 1] = labels[3, 1] = True
    negatives, valid = map(np.asarray, draw_negatives(jax.random.key(0), labels, np.array([0, 3, 6]), 64))
    np.testing.assert_array_equal(valid, [True, False, True])
    assert set(negatives[0]) == {5, 6, 7} and set(negatives[2]) == {0, 1, 2, 4}
    assert negatives.min() >= 0 and negatives.max() < 8


def test_a_record_without_labels_is_a_negative_of_all_others():
    labels = np.zeros((4, 3), bool)
    labels[:2, 0] = True
    negatives, valid = draw_negatives(jax.random.key(0), labels, np.array([0, 2]), 64)
    assert valid.all()
    assert set(np.asarray(negatives[0])) == {2, 3} and set(np.asarray(negatives[1])) == {0, 1, 3}


def definition(bank, scales, student, teacher, anchors, negatives, temperature, momentum):
    """Tian et al.'s loss as they write it, with Z and the noise distribution 1 / n, one anchor after another."""
    n, count, loss = len(bank["student"]), negatives.shape[1], 0.0
    exponentials = {"student": [], "teacher": []}
    for i, anchor in enumerate(anchors):
        rows = [anchor, *negatives[i]]
        exponentials["student"].append([np.exp(bank["teacher"][row] @ student[i] / temperature) for row in rows])
        exponentials["teacher"].append([np.exp(bank["student"][row] @ teacher[i] / temperature) for row in rows])
    for side, values in exponentials.items():
        scales.setdefault(side, np.mean(values) * n)
        for p in np.array(values) / scales[side]:
            noise = count / n
            loss -= np.log(p[0] / (p[0] + noise)) + np.log(noise / (p[1:] + noise)).sum()
    for side, embedding in (("student", student), ("teacher", teacher)):
        for i, anchor in enumerate(anchors):
            mixed = momentum * bank[side][anchor] + (1 - momentum) * embedding[i]
            bank[side][anchor] = mixed / np.sqrt(np.square(mixed).sum())
    return loss / len(anchors)


@pytest.mark.slow
@pytest.mark.parametrize(("temperature", "momentum"), [(0.07, 0.5), (0.2, 0.9)])
def test_three_steps_against_the_definition(temperature, momentum):
    """Loss, banks and constant in float64 on fixed indices; the constant is the first batch's in later steps."""
    random, n, dim = np.random.default_rng(0), 30, 16
    with jax.enable_x64(True):
        ours = losses.init_bank(jax.random.key(0), n, dim, jnp.float64)
        theirs, scales = {"student": np.array(ours.student), "teacher": np.array(ours.teacher)}, {}
        for _ in range(3):
            student, teacher = unit_vectors(random, 2, 5, dim)
            anchors, negatives = random.choice(n, 5, replace=False), random.integers(0, n, (5, 12))
            loss, ours, metrics = crd(
                ours, student, teacher, anchors, negatives, np.ones(5, bool), temperature=temperature, momentum=momentum
            )
            expected = definition(theirs, scales, student, teacher, anchors, negatives, temperature, momentum)
            np.testing.assert_allclose(loss, expected, rtol=1e-12)
            np.testing.assert_allclose(metrics["mutual_information"], np.log(12) - expected / 2, rtol=1e-12)
            np.testing.assert_allclose(ours.student, theirs["student"], atol=1e-14)
            np.testing.assert_allclose(ours.teacher, theirs["teacher"], atol=1e-14)
            np.testing.assert_allclose(
                ours.log_scale, np.log([scales["student"] / n, scales["teacher"] / n]), rtol=1e-12
            )


def fresh(n=2000, batch=64, count=1024, dim=128):
    random = np.random.default_rng(1)
    bank = losses.init_bank(jax.random.key(0), n, dim)
    student, teacher = unit_vectors(random, 2, batch, dim).astype(np.float32)
    anchors, negatives = random.choice(n, batch, replace=False), random.integers(0, n, (batch, count))
    return bank, student, teacher, anchors, negatives, np.ones(batch, bool)


def test_fresh_banks():
    """15.86 = 2 (ln(1 + K) + K ln(1 + 1/K)) if no similarity differs; random banks add their variance, 1/(T^2 dim)."""
    flat = 2 * (np.log(1025) + 1024 * np.log1p(1 / 1024))
    assert flat == pytest.approx(15.864, abs=1e-3)
    loss, bank, _ = crd(*fresh(), temperature=1e4)
    assert loss == pytest.approx(flat, rel=1e-4)
    loss, bank, metrics = crd(*fresh())
    assert loss == pytest.approx(2 * (np.log(1024) + 1 + 1 / (2 * 0.07**2 * 128)), rel=0.03)
    np.testing.assert_allclose(np.exp(bank.log_scale), np.exp(1 / (2 * 0.07**2 * 128)), rtol=0.1)
    assert metrics["mutual_information"] < 0


def test_gradients_reach_both_embeddings_and_neither_bank_nor_constant():
    """Also in the first step, which measures the constant on the same batch."""
    bank, student, teacher, *rest = fresh(n=50, batch=4, count=16, dim=8)

    def loss(student, teacher, bank):
        return losses.crd(bank, student, teacher, *rest, temperature=0.5)[0]

    by_student, by_teacher, by_bank = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(student, teacher, bank)
    jax.tree.map(lambda x: np.testing.assert_array_equal(x, 0), (by_bank.student, by_bank.teacher))
    anchors, negatives, _ = rest
    for gradient, anchor, others in ((by_student, student, bank.teacher), (by_teacher, teacher, bank.student)):
        rows = np.asarray(others)[np.concatenate([anchors[:, None], negatives], 1)]
        answer = np.eye(1, 17)
        scores = np.einsum("bd,bkd->bk", anchor, rows) / 0.5
        odds = scores - np.log(np.exp(scores).mean()) - np.log(16)
        expected = np.einsum("bk,bkd->bd", 1 / (1 + np.exp(-odds)) - answer, rows) / 0.5 / 4
        np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_anchors_without_negatives_count_nowhere():
    bank, student, teacher, anchors, negatives, _ = fresh(n=50, batch=4, count=16, dim=8)
    some = np.array([True, False, True, False])
    loss, after, metrics = crd(bank, student, teacher, anchors, negatives, some)
    alone, after_alone, _ = crd(bank, student[some], teacher[some], anchors[some], negatives[some], np.ones(2, bool))
    assert loss == pytest.approx(float(alone), rel=1e-5) and metrics["anchors"] == 0.5
    np.testing.assert_allclose(after.log_scale, after_alone.log_scale, rtol=1e-5)
    assert (after.student[anchors] != bank.student[anchors]).all()
    gradient = jax.jit(jax.grad(lambda s: losses.crd(bank, s, teacher, anchors, negatives, some)[0]))(student)
    assert (gradient[~some] == 0).all() and (gradient[some] != 0).all()


def test_a_first_batch_without_any_negative_leaves_the_constant_to_the_next():
    bank, student, teacher, anchors, negatives, valid = fresh(n=50, batch=4, count=16, dim=8)
    step = jax.jit(jax.value_and_grad(lambda s, bank, valid: crd_with(s, bank, valid), has_aux=True))

    def crd_with(student, bank, valid):
        loss, *rest = losses.crd(bank, student, teacher, anchors, negatives, valid)
        return loss, rest

    (loss, (after, metrics)), gradient = step(student, bank, ~valid)
    assert loss == 0 and metrics["anchors"] == 0 and metrics["mutual_information"] == 0
    np.testing.assert_array_equal(gradient, 0)
    assert np.isneginf(after.log_scale).all()
    (loss, (after, _)), gradient = step(student, after, valid)
    assert loss > 0 and np.isfinite(after.log_scale).all() and np.isfinite(gradient).all()


def planted(related, steps=300, n=256, count=64, batch=32):
    """Trains linear embeddings on features of a common cause, or of two unrelated ones; returns the bound's history."""
    random = np.random.default_rng(0)
    cause = random.normal(size=(2, n, 6))
    cause[1] = cause[0] if related else cause[1]
    student, teacher = (
        jnp.asarray(cause[i] @ random.normal(size=(6, 24)) + 0.1 * random.normal(size=(n, 24)), jnp.float32)
        for i in range(2)
    )
    labels = jnp.asarray(np.eye(4, dtype=bool)[random.integers(0, 4, n)])
    embeddings = losses.Embeddings(dim=16)

    def batch_of(rows):
        return {"pooled": student[rows]}, {"pooled": teacher[rows]}

    variables = embeddings.init(jax.random.key(0), *batch_of(jnp.arange(2)))
    optimizer = optax.adam(0.01)

    def step(carry, key):
        variables, state, bank = carry
        order_key, key = jax.random.split(key)
        anchors = jax.random.permutation(order_key, n)[:batch]
        negatives, valid = losses.draw_negatives(key, labels, anchors, count)

        def loss_fn(variables):
            embedded = embeddings.apply(variables, *batch_of(anchors))
            loss, new, metrics = losses.crd(bank, *embedded, anchors, negatives, valid)
            return loss, (new, metrics)

        (_, (bank, metrics)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(variables)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(variables, updates), state, bank), metrics["mutual_information"]

    start = (variables, optimizer.init(variables), losses.init_bank(jax.random.key(1), n, 16))
    return jax.jit(lambda start: jax.lax.scan(step, start, jax.random.split(jax.random.key(2), steps))[1])(start)


@pytest.mark.slow
def test_the_bound_on_mutual_information_rises_on_planted_data_only():
    related, unrelated = planted(True), planted(False)
    assert related[0] < 0 and unrelated[0] < 0
    assert related[-20:].mean() > 1.5
    assert unrelated[-20:].mean() < 0.3


def test_embeddings():
    random = np.random.default_rng(0)
    student, teacher = ({"pooled": jnp.asarray(random.normal(size=(3, c)), jnp.bfloat16)} for c in (64, 512))
    module = losses.Embeddings()
    variables = layers.initialize(module, jax.random.key(0), student, teacher)
    assert jax.tree.map(jnp.shape, variables["params"]["teacher"]) == {"kernel": (512, 128), "bias": (128,)}

    def total(variables, student, teacher):
        embedded = jnp.stack(module.apply(variables, student, teacher))
        return embedded[:, :, :5].sum(), embedded

    (_, embedded), gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))(
        variables, student, teacher
    )
    assert embedded.dtype == jnp.float32 and embedded.shape == (2, 3, 128)
    np.testing.assert_allclose(jnp.square(embedded).sum(-1), 1, rtol=1e-5)
    by_variables, by_student, by_teacher = gradients
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves((by_variables, by_student)))
    np.testing.assert_array_equal(by_teacher["pooled"], 0)


def test_shapes_that_do_not_fit():
    bank, student, teacher, anchors, negatives, valid = fresh(n=50, batch=4, count=16, dim=8)
    with pytest.raises(ValueError, match="a bank of 8 dimensions"):
        losses.crd(bank, student[:, :7], teacher[:, :7], anchors, negatives, valid)
    with pytest.raises(ValueError, match=r"negatives of shape \(3, 16\)"):
        losses.crd(bank, student, teacher, anchors, negatives[:3], valid)
