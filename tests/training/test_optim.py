"""The optimiser and the schedules against their formulas; tests/parity runs both against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrhnet_jax.training import optim

CONFIG = {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "weight_decay": 5e-4,
    "epochs": 90,
    "schedule": {"name": "step", "step_epochs": 20, "milestones": (20, 40, 70), "gamma": 0.1, "warmup_epochs": 0},
}


def config(**fields):
    schedule = {**CONFIG["schedule"], **fields.pop("schedule", {})}
    return {**CONFIG, **fields, "schedule": schedule}


def rates(steps, steps_per_epoch=7, **schedule):
    return np.asarray(jax.vmap(optim.schedule(config(schedule=schedule), steps_per_epoch))(jnp.asarray(steps)))


def test_step_schedule():
    steps = np.array([0, 139, 140, 279, 280, 559, 560, 629, 10_000])
    np.testing.assert_allclose(rates(steps), 1e-3 * 0.1 ** np.array([0, 0, 1, 1, 2, 3, 4, 4, 4]), rtol=1e-6)


def test_multistep_schedule():
    steps = np.array([0, 139, 140, 279, 280, 489, 490, 629])
    expected = 3e-3 * 0.5 ** np.array([0, 0, 1, 1, 2, 2, 3, 3])
    schedule = optim.schedule(config(learning_rate=3e-3, schedule={"name": "multistep", "gamma": 0.5}), 7)
    np.testing.assert_allclose([schedule(step) for step in steps], expected, rtol=1e-6)


def test_constant_schedule():
    np.testing.assert_allclose(rates(np.arange(630), name="constant"), 1e-3, rtol=1e-6)


def test_cosine_schedule_ends_at_zero():
    steps = np.arange(631)
    np.testing.assert_allclose(
        rates(steps, name="cosine"), 0.5e-3 * (1 + np.cos(np.pi * steps / 630)), rtol=1e-5, atol=1e-9
    )


@pytest.mark.parametrize("name", ["step", "cosine"])
def test_warmup_rises_linearly_and_ends_at_the_full_rate(name):
    found = rates(np.arange(16), name=name, warmup_epochs=2)
    np.testing.assert_allclose(found[:14], 1e-3 * np.arange(1, 15) / 14, rtol=1e-5)
    assert found[14] == pytest.approx(1e-3, rel=1e-5)


def test_the_schedule_is_the_same_inside_jit():
    schedule = optim.schedule(CONFIG, 7)
    for step in (0, 139, 140, 500):
        assert jax.jit(schedule)(step) == schedule(step)


def test_two_steps_of_adam_by_hand():
    transform = optim.make(config(weight_decay=0.5, schedule={"name": "step", "step_epochs": 1}), steps_per_epoch=1)
    weight, gradients = 2.0, (0.3, -0.1)
    params = {"w": jnp.array([weight])}
    state = transform.init(params)
    moment1 = moment2 = 0.0
    for count, gradient in enumerate(gradients, start=1):
        updates, state = transform.update({"w": jnp.array([gradient])}, state, params)
        params = optax.apply_updates(params, updates)
        gradient += 0.5 * weight  # coupled: the penalty goes through the moments
        moment1 = 0.9 * moment1 + 0.1 * gradient
        moment2 = 0.999 * moment2 + 0.001 * gradient**2
        rate = 1e-3 * 0.1 ** (count - 1)
        weight -= rate * (moment1 / (1 - 0.9**count)) / (np.sqrt(moment2 / (1 - 0.999**count)) + 1e-8)
        assert params["w"][0] == pytest.approx(weight, rel=1e-6)


def test_the_state_is_a_tree_of_arrays():
    state = optim.make(CONFIG, 7).init({"w": jnp.ones((2, 3))})
    leaves, structure = jax.tree.flatten(state)
    assert leaves and all(isinstance(leaf, jax.Array) for leaf in leaves)
    assert jax.tree.structure(jax.tree.unflatten(structure, leaves)) == structure


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "adamm"}, "unknown optimizer 'adamm'; choose one of adam"),
        (
            {"schedule": {"name": "stairs"}},
            "unknown schedule 'stairs'; choose one of step, multistep, cosine, constant",
        ),
        ({"schedule": {"steps": 3}}, "unknown schedule field steps; the fields are name, step_epochs, milestones"),
        ({"schedule": {"step_epochs": 0}}, "schedule.step_epochs is 0: it must be above 0"),
        ({"schedule": {"gamma": -0.1}}, "schedule.gamma is -0.1: it must be above 0"),
        ({"schedule": {"warmup_epochs": 90}}, "warmup_epochs is 90, of 90 epochs"),
        ({"learning_rate": 0}, "learning_rate is 0: it must be above 0"),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001: it must be at least 0"),
        ({"epochs": 0}, "epochs is 0: it must be above 0"),
    ],
)
def test_impossible_configs(fields, message):
    with pytest.raises(ValueError, match=message):
        optim.make(config(**fields), 7)


def test_a_missing_field_is_named():
    with pytest.raises(ValueError, match="no field weight_decay"):
        optim.make({name: value for name, value in CONFIG.items() if name != "weight_decay"}, 7)
    with pytest.raises(ValueError, match=r"no field schedule\.milestones"):
        optim.make({**CONFIG, "schedule": {"name": "multistep", "gamma": 0.1}}, 7)


def test_an_epoch_without_steps():
    with pytest.raises(ValueError, match="fewer training records than one batch"):
        optim.make(CONFIG, 0)
