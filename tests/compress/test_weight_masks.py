"""Masks, the masked optimiser and sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrhnet_jax import models
from lrhnet_jax.compress import weight_masks
from lrhnet_jax.data.batch import StepNumbers
from lrhnet_jax.data.store import make_store
from lrhnet_jax.errors import CheckpointError
from lrhnet_jax.training import optim, steps
from lrhnet_jax.training.state import create_state, init_variables
from tests.helpers import fakes

WINDOW, BATCH = 128, 8
FIELDS = {
    "optimizer": "adam",
    "learning_rate": 3e-2,
    "weight_decay": 5e-2,
    "epochs": 3,
    "schedule": {"name": "constant"},
}


@pytest.fixture(scope="module")
def variables():
    return init_variables(fakes.lead_network().model, jax.random.key(0), 2, WINDOW)


@pytest.fixture(scope="module")
def dense(variables):
    return weight_masks.dense_masks(variables["params"], models.head("lrhnet"))


def leaves(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def test_kernels_are_pruned_but_not_the_output_layer_biases_or_norms(dense):
    prunable = {name for name, mask in leaves(dense).items() if mask.ndim}
    assert prunable == {name for name in leaves(dense) if name.endswith("/kernel")} - {"fc2/kernel"}
    assert "layer2_0/se/fc_0/kernel" in prunable and "fc/kernel" in prunable
    assert (
        weight_masks.total(dense)
        == weight_masks.kept(dense)
        == sum(leaf.size for leaf in leaves(dense).values() if leaf.ndim)
    )


@pytest.mark.parametrize("name", models.NAMES)
def test_every_network_names_its_output_layer(name):
    model = models.create(name, 1, num_classes=7)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4096, 1)), jnp.zeros((1, 5)))["params"]
    assert params[models.head(name)]["kernel"].shape[-1] == 7
    assert weight_masks.total(weight_masks.dense_masks(params, models.head(name))) > 0.8 * models.count_parameters(
        params
    )


@pytest.mark.parametrize("draw", ["largest", "random"])
def test_masks_are_nested_and_have_exactly_so_many_weights(variables, dense, draw):
    masks = dense
    for count in (50_000, 49_999, 1234, 10, 1):
        if draw == "largest":
            smaller = weight_masks.keep_largest(variables["params"], masks, count)
        else:
            smaller = weight_masks.keep_random(jax.random.key(count), masks, count)
        assert weight_masks.kept(smaller) == count
        for inner, outer in zip(jax.tree.leaves(smaller), jax.tree.leaves(masks), strict=True):
            assert not (inner & ~outer).any()
        masks = smaller


def test_the_largest_magnitudes_of_all_layers_stay(variables, dense):
    masks = weight_masks.keep_largest(variables["params"], dense, 5000)
    values, chosen = leaves(variables["params"]), leaves(masks)
    prunable = [name for name in chosen if chosen[name].ndim]
    kept = np.concatenate([np.abs(values[name][chosen[name]]) for name in prunable])
    gone = np.concatenate([np.abs(values[name][~chosen[name]]) for name in prunable])
    assert kept.min() >= gone.max() and len({chosen[name].mean() for name in prunable}) > 3  # layers differ


def test_equal_magnitudes_do_not_change_the_number():
    masks = {"conv": {"kernel": np.ones((4, 3, 2), bool)}, "fc": {"kernel": np.ones((), bool)}}
    values = {"conv": {"kernel": np.full((4, 3, 2), -1.0)}, "fc": {"kernel": np.ones((2, 2))}}
    smaller = weight_masks.keep_largest(values, masks, 7)
    np.testing.assert_array_equal(smaller["conv"]["kernel"].ravel(), np.arange(24) < 7)


@pytest.mark.slow
def test_pruned_weights_stay_zero_under_adam_and_weight_decay_in_training(variables, dense):
    masks = weight_masks.keep_random(jax.random.key(1), dense, 20_000)
    optimizer = weight_masks.masked(optim.make(FIELDS, 4), masks)
    start = {**variables, "params": weight_masks.apply(masks, variables["params"])}
    state = create_state(start, optimizer, steps.METRICS)
    store = make_store(fakes.records(40), WINDOW)
    inputs = fakes.inputs(store, 32).replace(numbers=StepNumbers().traced(jax.random.key(2)))
    spec = steps.StepSpec(fakes.lead_network(), optimizer, BATCH, WINDOW)
    step = jax.jit(steps.make_steps(spec), donate_argnums=0)
    for _ in range(6):
        state = step(state, inputs, jnp.arange(32))
    before, after, mask = leaves(start["params"]), leaves(state.params), leaves(masks)
    for name, kept in mask.items():
        if kept.ndim:
            assert (after[name][~kept] == 0).all() and not np.signbit(after[name][~kept]).any()
        assert (after[name] != before[name])[kept].mean() > 0.9
    moments = leaves(state.opt_state.inner[1].mu)
    assert all((moments[name][~kept] == 0).all() for name, kept in mask.items() if kept.ndim)


def test_the_kept_weights_take_the_steps_of_the_inner_optimiser():
    params = {"a": {"kernel": jnp.array([1.0, 0.0, -2.0])}, "b": {"bias": jnp.array([0.5])}}
    masks = {"a": {"kernel": np.array([True, False, True])}, "b": {"bias": np.array(True)}}
    gradients = {"a": {"kernel": jnp.array([0.3, 0.7, -0.1])}, "b": {"bias": jnp.array([1.0])}}
    inner = optim.make(FIELDS, 1)
    optimizer = weight_masks.masked(inner, masks)
    updates, opt_state = optimizer.update(gradients, optimizer.init(params), params)
    plain, _ = inner.update(gradients, inner.init(params), params)
    np.testing.assert_array_equal(updates["a"]["kernel"], plain["a"]["kernel"] * jnp.array([1.0, 0, 1]))
    np.testing.assert_array_equal(updates["b"]["bias"], plain["b"]["bias"])
    # A gradient at a pruned weight changes nothing, not even through a global norm.
    clipped = weight_masks.masked(optax.clip_by_global_norm(1e-3), masks)
    huge = {"a": {"kernel": jnp.array([0.3, 1e9, -0.1])}, "b": gradients["b"]}
    one, two = (clipped.update(g, clipped.init(params), params)[0] for g in (gradients, huge))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    assert opt_state.masks["a"]["kernel"].dtype == bool


def test_parameters_of_another_tree_are_trained_without_masks():
    masks = {"a": {"kernel": np.zeros(3, bool)}}
    optimizer = weight_masks.masked(optim.make(FIELDS, 1), masks)
    other = {"regressor": {"kernel": jnp.ones((2, 2))}}
    updates, _ = optimizer.update(other, optimizer.init(other), other)
    assert (updates["regressor"]["kernel"] != 0).all()
    assert optimizer.update({}, optimizer.init({}), {})[0] == {}


def test_masks_come_back_from_a_file(tmp_path, dense):
    masks = weight_masks.keep_random(jax.random.key(5), dense, 777)
    weight_masks.save(tmp_path / "masks.npz", masks)
    jax.tree.map(np.testing.assert_array_equal, weight_masks.load(tmp_path / "masks.npz", dense), masks)
    assert (tmp_path / "masks.npz").stat().st_size < 40_000
    other = {"conv9": {"kernel": np.ones((3, 3, 3), bool)}}
    with pytest.raises(CheckpointError, match=r"masks\.npz: holds no mask of shape \(3, 3, 3\) for conv9/kernel"):
        weight_masks.load(tmp_path / "masks.npz", other)
    with pytest.raises(CheckpointError, match=r"none\.npz: masks cannot be read"):
        weight_masks.load(tmp_path / "none.npz", dense)


def test_sizes_by_hand():
    mask = np.zeros(4000, bool)
    mask[[0, 100, 228, 357, 3999]] = True  # gaps of 0, 99, 127: a byte each; of 128 and 3641: two
    variables = {
        "params": {"conv": {"kernel": np.ones(4000), "bias": np.ones(3)}},
        "batch_stats": {"bn": {"mean": np.ones(2)}},
    }
    masks = {"conv": {"kernel": mask, "bias": np.array(True)}}
    found = weight_masks.sizes(variables, masks)
    assert (found["weights"], found["kept"]) == (4000, 5)
    assert (found["parameters"], found["parameters_kept"]) == (4003, 8)
    assert found["dense_bytes"] == 4 * 4005
    assert (found["sparse_bytes"], found["sparse_code"]) == (4 * (5 + 3 + 2) + 3 + 2 * 2, "gaps")
    full = weight_masks.sizes(variables, {"conv": {"kernel": ~mask, "bias": np.array(True)}})
    assert (full["sparse_bytes"], full["sparse_code"]) == (4 * (3995 + 3 + 2) + 500, "bitmap")
