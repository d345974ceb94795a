"""Distillation methods in the training step: what they train, what they remember, and that they resume and spread."""

import dataclasses
import os
import pathlib
import re
import signal
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import common
from lrhnet_jax import losses
from lrhnet_jax.data.batch import Draw, LeadNetwork, StepNumbers, make_batch
from lrhnet_jax.data.store import make_store
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.experiment import graph
from lrhnet_jax.experiment import teachers as teaching
from lrhnet_jax.runtime import interrupt
from lrhnet_jax.runtime.devices import make_parallel
from lrhnet_jax.training import loop, steps
from lrhnet_jax.training.state import create_state, init_variables
from tests.helpers import fakes, runs, tiny

WINDOW, BATCH = runs.WINDOW, runs.BATCH
METHODS = {
    "fitnet": losses.FitNet(hint_share=0.0),
    "random_map": losses.RandomMap(),
    "semckd": losses.SemCKD(weight=1.0, expansion=0.5),
    "pskd": losses.PSKD(),
    "clt": losses.CLT(dim=8, negatives=16, temperature=0.5),
}


def make_run(folder, method, **changes):
    """A student on leads I and II, and, for methods that need one, a teacher in the step on I, II and V2."""
    run = runs.make_run(folder)
    run = runs.change(run, recipe=steps.Recipe(method=method, epochs=run.epochs))
    if method.needs_teacher:
        teacher = tiny.lead_network(0, 1, 7)
        variables = init_variables(teacher.model, jax.random.key(9), 3, WINDOW)
        inputs = run.inputs.replace(teachers=(variables,))
        run = runs.change(run, teachers=(teacher,), inputs=inputs, numbers=StepNumbers(weights=(1.0,)))
    return runs.change(run, **changes)


def moved(a, b) -> float:
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: float(np.abs(x - y).max()), a, b)), default=0.0)


def one_step(run, state, rows, epoch=1):
    """One step on the first windows of the records `rows`, by `train_step` itself; returns the state and the batch."""
    draw = Draw(rows, jnp.zeros_like(rows), jnp.zeros_like(rows))
    batch, taught = make_batch(run.inputs, draw, run.spec.teachers, WINDOW)
    inputs = losses.MethodInputs(
        student=None,
        teacher=taught,
        labels=batch.labels,
        rows=rows,
        all_labels=run.inputs.store.labels[run.inputs.records],
        key=jax.random.key(4),
        epoch_key=jax.random.key(5),
        epoch=jnp.int32(epoch),
        epochs=run.epochs,
    )
    batch = batch.replace(method_inputs=inputs)

    @jax.jit
    def step(state, batch):
        return steps.train_step(state, batch, jax.random.key(6), run.numbers.traced(run.key), run.spec)

    return step(state, batch), batch


def created(run):
    auxiliary = steps.init_auxiliary(run.spec, run.inputs, run.variables, run.key)
    return create_state(run.variables, run.spec.optimizer, run.spec.recipe.metrics, auxiliary)


def student_output(run, variables, batch):
    apply = jax.jit(lambda *args: run.spec.student.model.apply(*args, train=True, mutable=["batch_stats"])[0])
    return apply(variables, run.spec.student.read(batch.signal), batch.demographics)


def test_every_method_is_tried_here():
    assert set(METHODS) == set(losses.METHODS)
    assert all(isinstance(method, losses.METHODS[name]) for name, method in METHODS.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in METHODS if name != "random_map"])  # which keeps nothing of its own
def test_a_method_trains_resumes_to_the_same_bits_and_leaves_the_network_alone(tmp_path, monkeypatch, name):
    plain = runs.make_run(tmp_path)
    run = make_run(tmp_path / "whole", METHODS[name])
    whole = loop.train(run)
    assert set(whole.history[0]) >= {"loss", "bce", "kl", *METHODS[name].metrics}
    assert all(np.isfinite(row["loss"]) for row in whole.history)
    # What is kept is the network, whole, and nothing of the method.
    assert jax.tree.structure(whole.variables) == jax.tree.structure(plain.variables)
    assert moved(whole.variables, plain.variables) > 1e-2

    interrupt.install()
    calls, wait = 0, jax.block_until_ready

    def terminate_in_the_second_epoch(value):
        nonlocal calls
        calls += 1
        if calls == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return wait(value)

    monkeypatch.setattr(jax, "block_until_ready", terminate_in_the_second_epoch)
    cut = runs.change(run, folder=tmp_path / "cut")
    with pytest.raises(SystemExit):
        loop.train(cut)
    monkeypatch.undo()
    interrupt.install()
    resumed = loop.train(cut)
    runs.assert_same(whole.variables, resumed.variables)
    assert runs.without_rates(whole.history) == runs.without_rates(resumed.history)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"), [("fitnet", "pmap"), ("semckd", "jit"), ("pskd", "jit"), ("clt", "jit"), ("random_map", "pmap")]
)
def test_many_devices_train_the_network_of_one(tmp_path, name, kind):
    # Adam would hide a gradient that is a multiple of the right one; large steps would magnify rounding.
    descent = optax.sgd(0.02)
    one = loop.train(make_run(tmp_path / "one", METHODS[name], optimizer=descent, epochs=2))
    parallel = make_parallel(kind, 2)
    run = make_run(tmp_path / "many", METHODS[name], optimizer=descent, epochs=2, parallel=parallel)
    lead_network = LeadNetwork(run.spec.student.model.clone(axis_name=parallel.axis_name), run.spec.student.columns)
    many = loop.train(runs.change(run, student=lead_network))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), one.variables, many.variables)
    assert moved(one.variables, make_run(tmp_path, METHODS[name]).variables) > 1e-3


@pytest.mark.slow
def test_hints_reach_the_student_and_their_regressor_as_their_loss_says():
    run = make_run("unused", losses.FitNet(weight=2.0, hint_share=0.0), optimizer=optax.sgd(1.0))
    before = created(run)
    after, batch = one_step(run, before, jnp.arange(BATCH))

    def loss(params, own):
        output = student_output(run, {"params": params, "batch_stats": before.batch_stats}, batch)
        hint, _ = losses.Hints().apply({"params": own}, output.features, batch.method_inputs.teacher.features)
        base, _ = losses.distillation(output.logits, batch.labels, batch.teacher_logits, jnp.ones(1))
        return base + 2.0 * hint

    grads, own_grads = jax.jit(jax.grad(loss, argnums=(0, 1)))(before.params, before.auxiliary.params)
    expected = jax.tree.map(jnp.subtract, before.params, grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after.params, expected)
    expected = jax.tree.map(jnp.subtract, before.auxiliary.params, own_grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after.auxiliary.params, expected)
    assert moved(before.auxiliary.params, after.auxiliary.params) > 1e-4


@pytest.mark.slow
def test_in_two_stages_hints_come_first_and_alone():
    run = make_run("unused", losses.FitNet(hint_share=0.5), optimizer=optax.sgd(1.0), epochs=4)
    run = runs.change(run, recipe=dataclasses.replace(run.spec.recipe, epochs=4))
    before = created(run)
    for epoch, hints in ((1, True), (2, True), (3, False), (4, False)):
        after, _ = one_step(run, before, jnp.arange(BATCH), epoch)
        assert (moved(before.auxiliary.params, after.auxiliary.params) > 0) == hints
        assert (moved(before.params["fc2"], after.params["fc2"]) > 0) == (not hints)  # behind the hint layer
        assert moved(before.params["layer1_0"], after.params["layer1_0"]) > 0


@pytest.mark.slow
def test_self_distillation_mixes_the_targets_and_remembers_the_batch():
    run = make_run("unused", losses.PSKD(final=0.6), optimizer=optax.sgd(1.0))
    state = created(run)
    rows = len(run.inputs.records)
    table = jax.random.uniform(jax.random.key(8), (rows, 24))
    state = state.replace(auxiliary=state.auxiliary.replace(memory=table))
    rows = jnp.arange(BATCH) * 2
    after, batch = one_step(run, state, rows, epoch=2)
    logits = student_output(run, state.variables, batch).logits
    weight = 0.6 * 2 / run.epochs
    targets = (1 - weight) * batch.labels + weight * table[rows]
    gradient = (jax.nn.sigmoid(logits) - targets).mean(0) / 24
    np.testing.assert_allclose(state.params["fc2"]["bias"] - after.params["fc2"]["bias"], gradient, atol=1e-6)
    expected = np.array(table)
    expected[np.asarray(rows)] = jax.nn.sigmoid(logits)
    np.testing.assert_allclose(after.auxiliary.memory, expected, atol=1e-6)


@pytest.mark.slow
def test_contrastive_transfer_remembers_both_embeddings_of_the_batch():
    method = METHODS["clt"]
    run = make_run("unused", method, optimizer=optax.sgd(0.1))
    before = created(run)
    rows = jnp.arange(BATCH) + 3
    after, batch = one_step(run, before, rows)
    module = losses.Embeddings(method.dim, method.layer)
    features = student_output(run, before.variables, batch).features, batch.method_inputs.teacher.features
    embedded = module.apply({"params": before.auxiliary.params}, *features)
    banks = [(state.auxiliary.memory.student, state.auxiliary.memory.teacher) for state in (after, before)]
    for bank, old, fresh in zip(*banks, embedded, strict=True):
        mixed = 0.5 * old[rows] + 0.5 * fresh
        expected = np.array(old)
        expected[np.asarray(rows)] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
        np.testing.assert_allclose(bank, expected, atol=1e-5)
    assert moved(before.auxiliary.params, after.auxiliary.params) > 1e-6


def network(method, named=("teacher12",), **train_fields):
    own = {"method": method, **train_fields}
    weights = {name: 1 / len(named) for name in named}
    nodes = {name: common.network("lrhnet", ("I", "II")) for name in named}
    config = common.experiment(
        "test", common.parse(None), {**nodes, "student": common.network("lrhnet", ("I",), teachers=weights, **own)}
    )
    return graph.parse(config.networks.to_dict(), config.train.to_dict())[-1]


def test_a_config_names_a_method_its_fields_and_its_teacher():
    node = network(common.method("semckd", "b", weight=7.0), ("a", "b"), alpha=1.0, kl_weight=0.5)
    chosen, numbers = teaching.make_recipe(node), teaching.make_numbers(node)
    assert chosen.method == losses.SemCKD(weight=7.0) and chosen.teacher == 1 and numbers.weights == (0.5, 0.5)
    assert (numbers.alpha, numbers.kl_weight, chosen.epochs) == (1.0, 0.5, 90)
    assert chosen.metrics == ("loss", "bce", "kl", "cross_layer")
    plain = network({"name": "none"})
    assert teaching.make_recipe(plain).method is None and teaching.make_numbers(plain).kl_weight is None
    assert teaching.make_recipe(plain).metrics == steps.METRICS


@pytest.mark.parametrize(
    ("method", "named", "message"),
    [
        ({"name": "crd"}, ("a",), r"student\.train\.method: unknown method 'crd'; choose none, fitnet, .*clt"),
        ({"name": "pskd", "tau": 2}, ("a",), "method pskd has no field tau; it has final, compounding"),
        (common.method("fitnet"), (), "fitnet learns from a teacher's features; name one in teachers"),
        (common.method("fitnet", "c"), ("a", "b"), r"method\.teacher: 'c' is not one of the teachers a, b"),
        (common.method("fitnet"), ("a", "b"), r"method\.teacher: '' is not one of the teachers a, b"),
    ],
)
def test_what_a_method_gets_wrong_is_named(method, named, message):
    with pytest.raises(ConfigError, match=message):
        teaching.make_recipe(network(method, named))


def test_pmap_is_refused_where_a_method_needs_the_whole_batch():
    with pytest.raises(ConfigError, match=r"semckd needs the whole batch in one place; set config\.parallel=jit"):
        teaching.make_recipe(network(common.method("semckd")), "pmap")
    assert teaching.make_recipe(network(common.method("fitnet")), "pmap").method == losses.FitNet()


def test_networks_or_batches_that_do_not_suit_a_method_are_named(tmp_path):
    message = r"config\.networks\.student\.train\.method: the network has no feature map 'layer9' over time"
    with pytest.raises(ConfigError, match=message):
        loop.train(make_run(tmp_path, losses.FitNet(student_layer="layer9")))
    with pytest.raises(ConfigError, match="SemCKD needs a batch of 4 or more, not 2"):
        loop.train(make_run(tmp_path, METHODS["semckd"], batch_size=2))


def test_a_plain_run_pays_nothing_for_methods():
    run = runs.make_run("unused")
    state = created(run)
    assert not jax.tree.leaves(state.auxiliary.params) and not jax.tree.leaves(state.auxiliary.memory)
    store = make_store(fakes.records(8), WINDOW)
    draw = Draw(*(jnp.zeros(4, jnp.int32) for _ in range(3)))
    batch, taught = make_batch(fakes.inputs(store, 8), draw, (), WINDOW)
    assert batch.method_inputs is None and taught is None


def test_the_documentations_example_is_a_method_that_trains():
    page = (pathlib.Path(__file__).parents[2] / "docs/methods.md").read_text()
    code = re.search(r"```python\n(\"\"\"Correlation.*?)```", page, re.DOTALL)[1]
    module = types.ModuleType("lrhnet_jax.losses.correlation")
    sys.modules[module.__name__] = module  # where dataclasses look annotations up
    try:
        exec(code, module.__dict__)
        run = make_run("unused", module.CorrelationKD(weight=0.5), optimizer=optax.sgd(1.0))
        before = created(run)
        after, _ = one_step(run, before, jnp.arange(BATCH))
    finally:
        del sys.modules[module.__name__]
    assert 0 < float(after.totals["correlation"]) < 2
    expected = float(after.totals["bce"]) * 0.3 + float(after.totals["kl"]) * 0.7
    assert float(after.totals["loss"]) == pytest.approx(expected + 0.5 * float(after.totals["correlation"]), rel=1e-5)
    assert moved(before.auxiliary.params, after.auxiliary.params) > 1e-6
