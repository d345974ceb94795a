"""What a recipe adds to the step: one view for teachers and student, an average that is kept, a mean of teachers."""

import functools
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from lrhnet_jax.data.batch import Draw, Inputs, StepNumbers, make_batch, predict_logits
from lrhnet_jax.data.store import make_store
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.experiment import check, graph
from lrhnet_jax.runtime import interrupt
from lrhnet_jax.training import loop
from lrhnet_jax.training.augment import Augmentation, augment
from lrhnet_jax.training.state import init_variables, move_average
from lrhnet_jax.training.steps import Recipe
from tests.helpers import fakes, tiny
from tests.helpers.runs import WINDOW, assert_same, change, make_run, without_rates

AUGMENTATION = Augmentation(mixup=0.4, gain=0.2, lead_drop=0.2, wander=0.1, noise=0.1, shift=5)


def largest_difference(a, b):
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), a, b)))


@pytest.mark.slow
def test_teachers_answer_to_what_the_student_sees():
    store, teacher = make_store(fakes.records(20), WINDOW), tiny.lead_network(0, 1, 7)
    variables = init_variables(teacher.model, jax.random.key(0), 3, WINDOW)
    inputs = fakes.inputs(store, 20).replace(teachers=(variables,))
    rows = jnp.arange(8, dtype=jnp.int32)
    draw = Draw(rows, jnp.zeros_like(rows), jnp.zeros_like(rows))
    change_windows = functools.partial(augment, AUGMENTATION, jax.random.key(1))
    plain, _ = make_batch(inputs, draw, (teacher,), WINDOW)
    batch, taught = make_batch(inputs, draw, (teacher,), WINDOW, change=change_windows)
    expected = predict_logits(teacher, variables, batch.signal, batch.demographics)
    np.testing.assert_allclose(batch.teacher_logits[0], expected, atol=1e-5)
    np.testing.assert_allclose(taught.logits, expected, atol=1e-5)
    assert np.abs(np.asarray(batch.teacher_logits - plain.teacher_logits)).max() > 1e-2
    assert np.abs(np.asarray(batch.labels - plain.labels)).max() > 0.05


@pytest.mark.slow
def test_augmented_training_is_another_and_resumes_with_the_same_bits(tmp_path, monkeypatch):
    recipe = Recipe(augmentation=AUGMENTATION, average=0.9)
    plain = loop.train(make_run(tmp_path / "plain"))
    whole = loop.train(make_run(tmp_path / "whole", recipe=recipe))
    assert largest_difference(plain.state.params, whole.state.params) > 1e-3
    interrupt.install()
    run, wait, calls = make_run(tmp_path / "cut", recipe=recipe), jax.block_until_ready, []

    def terminate_after_six(value):
        calls.append(value)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return wait(value)

    monkeypatch.setattr(jax, "block_until_ready", terminate_after_six)
    with pytest.raises(SystemExit):
        loop.train(run)
    monkeypatch.undo()
    interrupt.install()
    resumed = loop.train(run)
    assert_same(whole.variables, resumed.variables)
    assert without_rates(whole.history) == without_rates(resumed.history)


@pytest.mark.slow
def test_the_average_is_scored_and_kept_and_training_does_not_know_of_it(tmp_path):
    seen = []

    def score(variables):
        seen.append(jax.tree.map(jnp.copy, variables))
        return float(len(seen))

    plain = loop.train(make_run(tmp_path / "plain"))
    averaged = loop.train(make_run(tmp_path / "averaged", recipe=Recipe(average=0.8), score=score))
    last = loop.train(make_run(tmp_path / "last", recipe=Recipe(average=0.8)))
    assert largest_difference(averaged.state.params, plain.state.params) < 1e-6
    assert_same(averaged.variables, averaged.state.average)
    assert_same(averaged.variables, seen[-1])
    assert_same(last.variables, averaged.variables)
    assert largest_difference(averaged.variables, averaged.state.variables) > 1e-4


def test_the_average_is_the_exponential_one_and_begins_as_a_mean():
    values = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    average = expected = jnp.asarray(values[0])
    for step, value in enumerate(values[1:]):
        keep = min(0.9, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * value
        average = move_average(average, jnp.asarray(value), jnp.int32(step), 0.9)
        if step == 0:
            np.testing.assert_allclose(average, 0.1 * values[0] + 0.9 * value, rtol=1e-5)
    np.testing.assert_allclose(average, expected, rtol=1e-5)


@pytest.mark.slow
def test_a_step_takes_the_mean_of_its_teachers(tmp_path):
    """Two teachers with mean_logits train what one teacher with the mean of their logits trains; apart they do not."""
    run = make_run(tmp_path, n=32)
    logits = 3 * jax.random.normal(jax.random.key(2), (32, 1, 2, 24))
    shifts = jnp.zeros((32, 1), jnp.int32)

    def train(name, teacher_logits, weights, mean_logits):
        inputs: Inputs = run.inputs.replace(shifts=shifts, teacher_logits=teacher_logits)
        recipe = Recipe(kind="sigmoid", mean_logits=mean_logits)
        numbers = StepNumbers(weights, alpha=0.0, kl_weight=5.0, temperature=1.0)
        return loop.train(change(run, folder=tmp_path / name, inputs=inputs, recipe=recipe, numbers=numbers, epochs=1))

    together = train("together", logits, (0.5, 0.5), True).variables
    one = train("one", logits.mean(2, keepdims=True), (1.0,), False).variables
    apart = train("apart", logits, (0.5, 0.5), False).variables
    assert largest_difference(together, one) < 1e-4 < largest_difference(together, apart)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"augment": {"mixup": -1.0}}, "augment: mixup is -1.0"),
        ({"augment": {"blur": 1.0}}, "augment: .*blur"),
        ({"augment": {"gain": 0.1}}, "augment changes the windows, and precomputed"),
        ({"augment": {"mixup": 0.4}, "method": {"name": "pskd"}}, "augment.mixup: pskd compares records"),
        ({"average": 1.0}, "average: 1.0 is not at least 0 and below 1"),
    ],
)
def test_what_a_recipe_gets_wrong_is_named(fields, message):
    train = {**common.experiment("student", common.parse(None), {}).train.to_dict(), **fields}
    network = graph.Network("student", "lrhnet", ("I",), {"teacher": 1.0}, train=train)
    with pytest.raises(ConfigError, match=f"config.networks.student.train.{message}"):
        check.training(network)
        check.augmentation(network, 257.0, "precomputed")
