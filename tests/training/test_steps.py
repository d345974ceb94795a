import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrhnet_jax import losses
from lrhnet_jax.data.batch import Batch, StepNumbers, epoch_order, plain_inputs
from lrhnet_jax.data.store import cut_windows, make_store, random_shifts
from lrhnet_jax.experiment import teachers as teaching
from lrhnet_jax.scoring import predict
from lrhnet_jax.training import steps
from lrhnet_jax.training.state import create_state, init_variables
from tests.helpers import fakes, tiny

WINDOW, BATCH = 256, 8


@pytest.fixture(scope="module")
def setting():
    """A store of 40 records, two teachers and a student, untrained."""
    records = fakes.records(40)
    store = make_store(records, WINDOW)
    lead_networks = {
        "wide": tiny.lead_network(0, 1, 7),
        "narrow": tiny.lead_network(0, 1),
        "student": tiny.lead_network(0, 1),
    }
    keys = jax.random.split(jax.random.key(0), 3)
    variables = {
        name: init_variables(lead_network.model, key, len(lead_network.columns), WINDOW)
        for (name, lead_network), key in zip(lead_networks.items(), keys, strict=True)
    }
    return store, lead_networks, variables


def trained(setting, inputs, weights, count=1, dispatches=10, optimizer=None):
    _, lead_networks, variables = setting
    optimizer = optimizer or optax.adam(1e-3)
    names = ("wide", "narrow")[: len(inputs.teachers)]
    inputs = inputs.replace(numbers=StepNumbers(weights).traced(jax.random.key(5)))
    teachers = tuple(lead_networks[name] for name in names)
    spec = steps.StepSpec(lead_networks["student"], optimizer, BATCH, WINDOW, teachers)
    step = jax.jit(steps.make_steps(spec, count))
    state = create_state(variables["student"], optimizer, steps.METRICS)
    totals = []
    for i in range(dispatches):
        order = epoch_order(jax.random.key(6), i * count // (len(inputs.records) // BATCH), len(inputs.records))
        state = step(state, inputs, order)
        totals.append({name: float(value) for name, value in state.totals.items()})
    return state, totals


@pytest.mark.slow
def test_precomputed_and_in_graph_teachers_train_the_same_student(setting, tmp_path):
    store, lead_networks, variables = setting
    rows = np.arange(32, dtype=np.int32)
    shifts = random_shifts(jax.random.key(1), store.lengths, WINDOW, 3)[:32]
    named = [(name, teaching.Trained(lead_networks[name], variables[name], {})) for name in ("wide", "narrow")]
    inputs = plain_inputs(store, rows, shifts)
    in_graph = teaching.in_step(inputs, named)
    precomputed = teaching.precomputed(inputs, named, window=WINDOW, batch_size=16, cache=tmp_path)
    assert precomputed.teacher_logits.shape == (32, 3, 2, 24) and in_graph.teacher_logits.shape[1] == 0
    assert len(in_graph.teachers) == 2 and precomputed.teachers == ()
    a, a_totals = trained(setting, in_graph, (0.6, 0.4))
    b, b_totals = trained(setting, precomputed, (0.6, 0.4))
    assert a_totals[0]["kl"] > 0
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), a.variables, b.variables)
    for x, y in zip(a_totals, b_totals, strict=True):
        assert x == pytest.approx(y, rel=1e-5)
    # A student with the teachers' weights swapped is another one: the comparison above can fail.
    swapped, _ = trained(setting, precomputed, (0.4, 0.6))
    largest = jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), a.params, swapped.params)
    assert max(jax.tree.leaves(largest)) > 1e-4


def test_cached_teacher_logits_are_the_ones_computed(setting, tmp_path):
    store, lead_networks, variables = setting
    rows, shifts = np.arange(9, dtype=np.int32), jnp.full((9, 2), -3)
    named = [("wide", teaching.Trained(lead_networks["wide"], variables["wide"], {}))]
    inputs, common = plain_inputs(store, rows, shifts), dict(window=WINDOW, batch_size=4, cache=tmp_path)
    first = teaching.precomputed(inputs, named, **common)
    again = teaching.precomputed(inputs, [("wide", dataclasses.replace(named[0][1], variables={}))], **common)
    np.testing.assert_array_equal(first.teacher_logits, again.teacher_logits)
    predictor = predict.Predictor(lead_networks["wide"], variables["wide"], WINDOW, 9)
    expected = predictor.logits(store, rows, np.full(9, -3, np.int32))
    np.testing.assert_allclose(first.teacher_logits[:, 0, 0], expected, atol=1e-5)


@pytest.mark.slow
def test_many_steps_a_dispatch_are_the_same_steps(setting):
    inputs = fakes.inputs(setting[0], 32)
    common = {"optimizer": optax.sgd(0.05)}  # Adam makes a whole step of a gradient that is all rounding
    single, _ = trained(setting, inputs, (), count=1, dispatches=8, **common)
    scanned, _ = trained(setting, inputs, (), count=4, dispatches=2, **common)
    assert int(single.step) == int(scanned.step) == 8
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), single.variables, scanned.variables)
    # Seven steps end elsewhere: the comparison above can fail.
    fewer, _ = trained(setting, inputs, (), count=1, dispatches=7, **common)
    largest = jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), single.params, fewer.params)
    assert max(jax.tree.leaves(largest)) > 5e-4


@pytest.mark.slow
def test_metrics_are_summed_over_the_epoch_and_begin_anew(setting):
    _, totals = trained(setting, fakes.inputs(setting[0], 32), (), dispatches=5)
    losses = [row["loss"] for row in totals]
    assert losses[0] < losses[1] < losses[2] < losses[3]  # 4 steps an epoch
    assert losses[4] < losses[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_the_output_bias_moves_by_the_closed_form_gradient(setting, kind):
    """d/db of alpha BCE + (1 - alpha) sum w KL, for the last bias: by hand from the logits."""
    store, lead_networks, variables = setting
    index, shift = jnp.arange(BATCH), jnp.zeros(BATCH, jnp.int32)
    signal = cut_windows(store, index, shift, WINDOW)
    teacher = jax.random.normal(jax.random.key(2), (2, BATCH, 24)) * 3
    batch = Batch(signal, store.demographics[index], store.labels[index], teacher)
    weights, alpha, temperature = (0.7, 0.3), 0.3, 4.0
    optimizer = optax.sgd(1.0)
    before = create_state(variables["student"], optimizer, steps.METRICS)
    spec = steps.StepSpec(lead_networks["student"], optimizer, BATCH, WINDOW, recipe=steps.Recipe(kind=kind))
    numbers = StepNumbers(weights, alpha, temperature=temperature)
    after = jax.jit(functools.partial(steps.train_step, numbers=numbers, spec=spec))(before, batch, jax.random.key(0))
    lead_network = lead_networks["student"]
    apply = jax.jit(lambda *args: lead_network.model.apply(*args, train=True, mutable=["batch_stats"])[0])
    z = apply(before.variables, lead_network.read(signal), batch.demographics).logits
    bce = (jax.nn.sigmoid(z) - batch.labels).mean(0) / 24
    soften = jax.nn.softmax if kind == "softmax" else lambda logits: jax.nn.sigmoid(logits) / 24
    soft = soften(z / temperature)
    kl = sum(w * (soft - soften(t / temperature)).mean(0) for w, t in zip(weights, teacher, strict=True))
    expected = alpha * bce + (1 - alpha) * kl / temperature
    moved = jax.tree.map(lambda x, y: x - y, before.params, after.params)
    found = [leaf for leaf in jax.tree.leaves(moved) if leaf.shape == (24,)]
    assert len(found) == 1
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("weights", [(), (1.0,)])
def test_exclusive_labels_are_learned_by_cross_entropy(setting, weights):
    store, lead_networks, variables = setting
    index = jnp.arange(BATCH)
    labels = jax.nn.one_hot(index % 24, 24)
    batch = Batch(
        cut_windows(store, index, jnp.zeros(BATCH, jnp.int32), WINDOW),
        store.demographics[index],
        labels,
        jnp.ones((len(weights), BATCH, 24)),
    )
    optimizer = optax.sgd(1e-3)
    totals = {}
    for kind in ("independent", "exclusive"):
        recipe = steps.Recipe(exclusive=kind == "exclusive")
        state = create_state(variables["student"], optimizer, recipe.metrics)
        spec = steps.StepSpec(lead_networks["student"], optimizer, BATCH, WINDOW, recipe=recipe)
        step = jax.jit(functools.partial(steps.train_step, numbers=StepNumbers(weights), spec=spec))
        totals[kind] = step(state, batch, jax.random.key(0)).totals
    output = lead_networks["student"].model.apply(
        variables["student"],
        lead_networks["student"].read(batch.signal),
        batch.demographics,
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": jax.random.key(0)},
    )[0]
    assert totals["exclusive"]["cross_entropy"] == pytest.approx(
        float(losses.cross_entropy(output.logits, labels)), rel=1e-5
    )
    assert totals["independent"]["bce"] == pytest.approx(float(losses.bce(output.logits, labels)), rel=1e-5)
    share = 0.3 if weights else 1.0
    expected = share * totals["exclusive"]["cross_entropy"] + (1 - share) * totals["exclusive"]["kl"]
    assert totals["exclusive"]["loss"] == pytest.approx(float(expected), rel=1e-5)
