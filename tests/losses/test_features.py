"""Feature losses against NumPy; tests/parity compares them with PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrhnet_jax import losses, models
from lrhnet_jax.losses import maps
from lrhnet_jax.models import layers

BATCH = 8


def random_maps(seed=0, dtype=jnp.float32, **shapes):
    """Random feature maps by name, (batch, time, channels) from (time, channels)."""
    random = np.random.default_rng(seed)
    return {name: jnp.asarray(random.normal(size=(BATCH, *shape)), dtype) for name, shape in shapes.items()}


def student_maps(**options):
    return random_maps(0, stem=(24, 2), layer1=(24, 3), layer2=(10, 4), pooled=(4,), **options)


def teacher_maps(**options):
    return random_maps(1, stem=(12, 2), layer1=(12, 5), layer2=(6, 6), layer3=(3, 4), pooled=(4,), **options)


@functools.partial(jax.jit, static_argnums=(0, 4))
def apply(module, variables, student, teacher, train=True):
    return module.apply(variables, student, teacher, train, mutable=["batch_stats"])


@pytest.mark.parametrize(("time", "length"), [(12, 4), (7, 7), (10, 6), (13, 5), (9, 1)])
def test_average_pool(time, length):
    x = np.random.default_rng(time).normal(size=(2, time, 3)).astype(np.float32)
    expected = [
        x[:, int(np.floor(i * time / length)) : int(np.ceil((i + 1) * time / length))].mean(1) for i in range(length)
    ]
    np.testing.assert_allclose(maps.average_pool(jnp.asarray(x), length), np.stack(expected, 1), atol=1e-6)


def test_average_pool_does_not_stretch():
    with pytest.raises(ValueError, match="4 samples cannot be pooled to 5"):
        maps.average_pool(jnp.zeros((1, 4, 2)), 5)


def test_unit_vectors_and_zeros():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0], [3e-10, -4e-10]])
    np.testing.assert_allclose(maps.l2_normalize(x), [[0.6, 0.8], [0, 0], [0.6, -0.8]], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: maps.l2_normalize(x).sum())(x)).all()


def test_fitnet_by_hand():
    """The longer map is pooled, the regressor is a matrix and a bias, the loss a mean of squares."""
    student, teacher = student_maps(), teacher_maps()
    hint = losses.Hints("layer1", "layer2")
    variables = layers.initialize(hint, jax.random.key(0), student, teacher)
    parameters = variables["params"]["regressor"]
    assert parameters["kernel"].shape == (1, 3, 6)
    parameters["bias"] = jnp.arange(6.0)
    (loss, regressed), _ = apply(hint, variables, student, teacher)
    kernel = np.asarray(parameters["kernel"][0])
    expected = np.asarray(student["layer1"]).reshape(BATCH, 6, 4, 3).mean(2) @ kernel + np.arange(6.0)
    np.testing.assert_allclose(regressed, expected, atol=1e-5)
    assert loss == pytest.approx(np.square(expected - teacher["layer2"]).mean(), rel=1e-5)


def test_fitnet_pools_a_longer_teacher_and_takes_wider_regressors():
    student, teacher = student_maps(), teacher_maps()
    hint = losses.Hints("layer2", "layer1", taps=3)
    variables = layers.initialize(hint, jax.random.key(0), student, teacher)
    (loss, regressed), _ = apply(hint, variables, student, teacher)
    assert regressed.shape == (BATCH, 10, 5)
    target = maps.average_pool(teacher["layer1"], 10)
    assert loss == pytest.approx(float(jnp.square(regressed - target).mean()), rel=1e-6)


def test_fitnet_learns_a_linear_teacher():
    """If the guided layer is a linear map of the hint layer, the regressor finds it and the loss vanishes."""
    student = student_maps()
    matrix = np.random.default_rng(3).normal(size=(4, 6)).astype(np.float32)
    teacher = {"layer2": jnp.asarray(np.asarray(student["layer2"]) @ matrix + 2)}
    hint = losses.Hints()
    variables = layers.initialize(hint, jax.random.key(0), student, teacher)
    optimizer = optax.adam(0.05)

    def step(carry, _):
        variables, state = carry
        loss, gradient = jax.value_and_grad(lambda v: hint.apply(v, student, teacher)[0])(variables)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(variables, updates), state), loss

    history = jax.jit(lambda v: jax.lax.scan(step, (v, optimizer.init(v)), length=400)[1])(variables)
    assert history[0] > 1 and history[-1] < 1e-3


def test_layers_that_are_not_there():
    student, teacher = student_maps(), teacher_maps()
    with pytest.raises(ValueError, match="no feature map 'layer9' over time; choose one of stem, layer1, layer2"):
        losses.Hints("layer9").init(jax.random.key(0), student, teacher)
    with pytest.raises(ValueError, match="no feature map 'pooled'"):
        losses.Hints("pooled").init(jax.random.key(0), student, teacher)
    with pytest.raises(ValueError, match="no feature is named layer1"):
        losses.CrossLayer().init(jax.random.key(0), {"stem": student["stem"]}, teacher)


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradients(module, variables, student, teacher):
    """Loss, attention and new statistics; gradients by the parameters and by both networks' features."""

    def loss(params, student, teacher):
        (loss, attention), mutated = module.apply(
            variables | {"params": params}, student, teacher, True, mutable=["batch_stats"]
        )
        return loss, (attention, mutated["batch_stats"])

    return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(variables["params"], student, teacher)


@pytest.fixture(scope="module")
def semckd():
    """Two student and three teacher layers, with random parameters."""
    student, teacher, module = student_maps(), teacher_maps(), losses.CrossLayer()
    shapes = jax.eval_shape(module.init, jax.random.key(0), student, teacher)
    random = np.random.default_rng(2)
    params = jax.tree.map(lambda x: jnp.asarray(random.normal(0, 0.4, x.shape), x.dtype), shapes["params"])
    batch_stats = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), shapes["batch_stats"])
    return module, {"params": params, "batch_stats": batch_stats}, student, teacher


@pytest.mark.slow
def test_semckd_attention(semckd):
    """The attention is that of the definition, and shares every student layer out among the teacher's."""
    _, variables, student, teacher = semckd
    (_, (attention, _)), _ = value_and_gradients(*semckd)
    assert attention.shape == (BATCH, 2, 3)
    np.testing.assert_allclose(attention.sum(-1), 1, rtol=1e-6)
    assert np.ptp(attention, axis=(0, 2)).min() > 0.01

    def embed(x, name):
        similarity = np.asarray(x).reshape(BATCH, -1) @ np.asarray(x).reshape(BATCH, -1).T
        fc1, fc2 = (jax.tree.map(np.asarray, variables["params"][name][layer]) for layer in ("fc1", "fc2"))
        assert fc1["kernel"].shape == (BATCH, BATCH // 2) and fc2["kernel"].shape == (BATCH // 2, BATCH // 4)
        y = np.maximum(similarity @ fc1["kernel"] + fc1["bias"], 0) @ fc2["kernel"] + fc2["bias"]
        return y / np.linalg.norm(y, axis=1, keepdims=True)

    keys = [embed(teacher[f"layer{j + 1}"], f"key{j}") for j in range(3)]
    for i in range(2):
        query = embed(student[f"layer{i + 1}"], f"query{i}")
        energy = np.stack([(query * key).sum(1) for key in keys], 1)
        expected = np.exp(energy) / np.exp(energy).sum(1, keepdims=True)
        np.testing.assert_allclose(attention[:, i], expected, atol=1e-5)


def test_semckd_gradients(semckd):
    _, (by_params, by_student, by_teacher) = value_and_gradients(*semckd)
    for path, leaf in jax.tree_util.tree_leaves_with_path(by_params):
        assert jnp.abs(leaf).max() > 0, jax.tree_util.keystr(path)
    for name in ("layer1", "layer2"):
        assert jnp.abs(by_student[name]).max() > 0
    for gradient in (by_student["stem"], by_student["pooled"], *by_teacher.values()):
        np.testing.assert_array_equal(gradient, 0)


def test_semckd_loss_weighs_errors_by_attention(semckd):
    """With projections that return zero, a pair's error is the mean square of the teacher's pooled map."""
    module, variables, student, teacher = semckd
    params = {
        name: jax.tree.map(jnp.zeros_like, leaves) if name.startswith("projection") else leaves
        for name, leaves in variables["params"].items()
    }
    (loss, (attention, _)), _ = value_and_gradients(module, variables | {"params": params}, student, teacher)
    expected = 0.0
    for i, x in enumerate((student["layer1"], student["layer2"])):
        for j, y in enumerate((teacher["layer1"], teacher["layer2"], teacher["layer3"])):
            target = maps.average_pool(y, min(x.shape[1], y.shape[1]))
            expected += (np.asarray(attention[:, i, j]) * np.square(target).mean((1, 2))).mean() / 2
    assert loss == pytest.approx(expected, rel=1e-5)


def one_pair(**options):
    return {"layer1": student_maps(**options)["layer1"]}, {"layer1": teacher_maps(**options)["layer1"]}


def test_semckd_running_statistics_move_in_training_only():
    module, (student, teacher) = losses.CrossLayer(), one_pair()
    variables = layers.initialize(module, jax.random.key(0), student, teacher)
    _, trained = apply(module, variables, student, teacher)
    _, evaluated = apply(module, variables, student, teacher, False)
    jax.tree.map(np.testing.assert_array_equal, evaluated["batch_stats"], variables["batch_stats"])
    moved = jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), trained["batch_stats"], variables["batch_stats"])
    assert min(jax.tree.leaves(moved)) > 0


def test_semckd_needs_four_records():
    student, teacher = ({name: x[:3] for name, x in of.items()} for of in (student_maps(), teacher_maps()))
    with pytest.raises(ValueError, match="batch of 4 or more, not 3"):
        losses.CrossLayer().init(jax.random.key(0), student, teacher)


def test_bfloat16_features_are_computed_in_float32():
    student, teacher = one_pair(dtype=jnp.bfloat16)
    wide = [jax.tree.map(lambda x: x.astype(jnp.float32), of) for of in (student, teacher)]
    for module in (losses.Hints("layer1", "layer1"), losses.CrossLayer()):
        variables = layers.initialize(module, jax.random.key(0), student, teacher)
        (loss, details), _ = apply(module, variables, student, teacher)
        assert loss.dtype == details.dtype == jnp.float32
        assert loss == apply(module, variables, *wide)[0][0]


@pytest.mark.parametrize("module", [losses.Hints(), losses.CrossLayer(expansion=0.5)], ids=["fitnet", "semckd"])
def test_the_networks_have_the_features_that_the_losses_read(module):
    def outputs(name, leads):
        model = models.create(name, leads)
        return model.init_with_output(jax.random.key(0), jnp.zeros((BATCH, 256, leads)), jnp.zeros((BATCH, 5)))[0]

    def init():
        student, teacher = outputs("lrhnet", 2), outputs("seresnet", 12)
        return module.init(jax.random.key(0), student.features, teacher.features)

    shapes = jax.eval_shape(init)
    assert ("batch_stats" in shapes) == isinstance(module, losses.CrossLayer)
    if isinstance(module, losses.CrossLayer):
        assert shapes["params"]["projection2_3"]["conv2"]["kernel"].shape == (3, 256, 256)
        assert sum(name.startswith("projection") for name in shapes["params"]) == 3 * 4


@functools.partial(jax.jit, static_argnums=2)
def mapped_teacher(key, teacher, channels):
    """The mapped teacher features less their means, read off the gradient at a student of zeros."""
    gradient = jax.grad(lambda s: losses.random_map_kl(key, s, teacher, 1.0))(jnp.zeros((len(teacher), channels)))
    logits = jnp.log(1 / channels - gradient * len(teacher))
    return logits - logits.mean(1, keepdims=True)


def test_random_maps_are_affine_and_belong_to_their_key():
    a, b = jax.random.normal(jax.random.key(1), (2, 3, 16))
    of = [mapped_teacher(jax.random.key(0), x, 5) for x in (a, b, 0.3 * a + 0.7 * b)]
    np.testing.assert_allclose(of[2], 0.3 * of[0] + 0.7 * of[1], atol=1e-5)
    np.testing.assert_array_equal(of[0], mapped_teacher(jax.random.key(0), a, 5))
    assert jnp.abs(of[0] - of[1]).max() > 0.01
    assert jnp.abs(of[0] - mapped_teacher(jax.random.key(1), a, 5)).max() > 0.01


def test_random_map_kl_vanishes_where_the_student_meets_the_map():
    teacher = jax.random.normal(jax.random.key(1), (3, 16))
    met = mapped_teacher(jax.random.key(0), teacher, 5)
    value = jax.jit(jax.value_and_grad(lambda t, s: losses.random_map_kl(jax.random.key(0), s, t, 1.0)))
    assert value(teacher, met)[0] == pytest.approx(0, abs=1e-6)
    missed, gradient = value(teacher, met + jnp.arange(5.0)[None])
    assert missed > 0.1
    np.testing.assert_array_equal(gradient, 0)
