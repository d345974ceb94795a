"""Multi-label and feature losses against PyTorch: values, gradients and running statistics in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrhnet_jax import losses
from lrhnet_jax.losses import maps

torch = pytest.importorskip("torch", reason="parity tests need PyTorch: pip install torch")

BATCH = 8
STUDENT = {"layer1": (24, 3), "layer2": (13, 4)}
TEACHER = {"layer1": (12, 5), "layer2": (6, 6), "layer3": (5, 4)}


def random_maps(shapes, seed):
    random = np.random.default_rng(seed)
    return {name: random.normal(size=(BATCH, *shape)) for name, shape in shapes.items()}


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("scale", [3.0, 300.0])
def test_sigmoid_kl(scale, temperature):
    student, teacher = scale * np.random.default_rng(0).normal(size=(2, 5, 24))
    logits = torch.tensor(student, requires_grad=True)
    soft = torch.tensor(teacher) / temperature
    answers = torch.stack([torch.nn.functional.logsigmoid(sign * soft) for sign in (1, -1)])
    ours = torch.stack([torch.nn.functional.logsigmoid(sign * logits / temperature) for sign in (1, -1)])
    divergence = torch.nn.functional.kl_div(ours, answers, reduction="sum", log_target=True)
    theirs = divergence * temperature**2 / logits.numel()
    theirs.backward()
    with jax.enable_x64(True):
        value, gradient = jax.value_and_grad(losses.sigmoid_kl, argnums=1)(
            jnp.asarray(teacher), jnp.asarray(student), temperature, t_squared=True
        )
        assert value.dtype == "float64"
    np.testing.assert_allclose(value, theirs.item(), rtol=1e-12)
    np.testing.assert_allclose(gradient, logits.grad.numpy(), rtol=1e-12, atol=1e-14)
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize(("time", "length"), [(24, 6), (13, 5), (7, 6), (2047, 512)])
def test_average_pool(time, length):
    x = np.random.default_rng(time).normal(size=(2, time, 3))
    theirs = torch.nn.functional.adaptive_avg_pool1d(torch.tensor(x).transpose(1, 2), length).transpose(1, 2)
    with jax.enable_x64(True):
        ours = maps.average_pool(jnp.asarray(x), length)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12, atol=1e-14)


def matched(student, teacher):
    """(batch, channels, time) maps, the longer pooled to the shorter."""
    length = min(student.shape[-1], teacher.shape[-1])
    return [torch.nn.functional.adaptive_avg_pool1d(x, length) for x in (student, teacher)]


@pytest.mark.slow
def test_fitnet():
    student, teacher = random_maps(STUDENT, 0), random_maps(TEACHER, 1)
    hint = losses.Hints("layer2", "layer1", taps=3, param_dtype="float64")
    with jax.enable_x64(True):
        variables = hint.init(jax.random.key(0), student, teacher)
        (loss, _), gradient = jax.value_and_grad(hint.apply, argnums=(0, 1), has_aux=True)(variables, student, teacher)
    regressor = torch.nn.Conv1d(4, 5, 3, padding=1, dtype=torch.float64)
    parameters = variables["params"]["regressor"]
    regressor.weight.data = torch.tensor(np.array(parameters["kernel"])).permute(2, 1, 0)
    regressor.bias.data = torch.tensor(np.array(parameters["bias"]))
    map_student = torch.tensor(student["layer2"].transpose(0, 2, 1), requires_grad=True)
    pooled, guided = matched(map_student, torch.tensor(teacher["layer1"].transpose(0, 2, 1)))
    theirs = torch.nn.functional.mse_loss(regressor(pooled), guided)
    theirs.backward()
    np.testing.assert_allclose(loss, theirs.item(), rtol=1e-12)
    np.testing.assert_allclose(
        gradient[0]["params"]["regressor"]["kernel"], regressor.weight.grad.permute(2, 1, 0).numpy(), atol=1e-13
    )
    np.testing.assert_allclose(gradient[1]["layer2"], map_student.grad.transpose(1, 2).numpy(), atol=1e-13)


class TorchSemCKD(torch.nn.Module):
    """SemCKD from its equations, on (batch, channels, time) maps, with our parameters' names."""

    def __init__(self, students, teachers):
        super().__init__()

        def embedding():
            return torch.nn.ModuleDict(
                {"fc1": torch.nn.Linear(BATCH, BATCH // 2), "fc2": torch.nn.Linear(BATCH // 2, BATCH // 4)}
            )

        for i in range(len(students)):
            self.add_module(f"query{i}", embedding())
        for j in range(len(teachers)):
            self.add_module(f"key{j}", embedding())
        for i, (_, inputs) in enumerate(students):
            for j, (_, outputs) in enumerate(teachers):
                layers = {
                    "conv1": torch.nn.Conv1d(inputs, 2 * outputs, 1, bias=False),
                    "bn1": torch.nn.BatchNorm1d(2 * outputs),
                    "conv2": torch.nn.Conv1d(2 * outputs, 2 * outputs, 3, padding=1, bias=False),
                    "bn2": torch.nn.BatchNorm1d(2 * outputs),
                    "conv3": torch.nn.Conv1d(2 * outputs, outputs, 1, bias=False),
                }
                self.add_module(f"projection{i}_{j}", torch.nn.ModuleDict(layers))
        self.double()

    def embed(self, name, x):
        flat, module = x.flatten(1), getattr(self, name)
        return torch.nn.functional.normalize(module["fc2"](module["fc1"](flat @ flat.T).relu()), dim=1)

    def forward(self, students, teachers):
        queries = torch.stack([self.embed(f"query{i}", x) for i, x in enumerate(students)], 1)
        keys = torch.stack([self.embed(f"key{j}", x) for j, x in enumerate(teachers)], 1)
        attention = torch.softmax(queries @ keys.transpose(1, 2), -1)
        loss = 0.0
        for i, x in enumerate(students):
            for j, y in enumerate(teachers):
                module = getattr(self, f"projection{i}_{j}")
                source, target = matched(x, y)
                for conv, norm in (("conv1", "bn1"), ("conv2", "bn2")):
                    source = module[norm](module[conv](source)).relu()
                error = (module["conv3"](source) - target).square().mean((1, 2))
                loss = loss + (attention[:, i, j] * error).mean() / len(students)
        return loss, attention


def as_torch(leaf):
    """Ours -> PyTorch's: convolutions (out, in, taps), dense layers (out, in)."""
    return np.asarray(leaf).transpose(tuple(range(leaf.ndim))[::-1])


@pytest.mark.slow
def test_semckd():
    student, teacher = random_maps(STUDENT, 0), random_maps(TEACHER, 1)
    module, random = losses.CrossLayer(param_dtype="float64"), np.random.default_rng(2)
    with jax.enable_x64(True):
        shapes = jax.eval_shape(module.init, jax.random.key(0), student, teacher)
        params = jax.tree.map(lambda x: jnp.asarray(random.normal(0, 0.4, x.shape)), shapes["params"])
        batch_stats = jax.tree.map(lambda x: jnp.ones(x.shape), shapes["batch_stats"])

        def loss_fn(params, student):
            (loss, attention), mutated = module.apply(
                {"params": params, "batch_stats": batch_stats}, student, teacher, mutable=["batch_stats"]
            )
            return loss, (attention, mutated["batch_stats"])

        value = jax.jit(jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True))
        (loss, (attention, batch_stats)), (by_params, by_student) = value(params, student)

    reference = TorchSemCKD(list(STUDENT.values()), list(TEACHER.values()))
    names = {"kernel": "weight", "scale": "weight", "bias": "bias"}
    leaves = {
        ".".join([*(key.key for key in path[:-1]), names[path[-1].key]]): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    own = dict(reference.named_parameters())
    assert own.keys() == leaves.keys()
    for name, parameter in own.items():
        parameter.data = torch.tensor(as_torch(leaves[name]).copy())
    for name, buffer in reference.named_buffers():
        if name.endswith("running_mean"):
            buffer.fill_(1)
    maps = [torch.tensor(x.transpose(0, 2, 1), requires_grad=True) for x in student.values()]
    theirs, their_attention = reference(maps, [torch.tensor(x.transpose(0, 2, 1)) for x in teacher.values()])
    theirs.backward()

    np.testing.assert_allclose(loss, theirs.item(), rtol=1e-11)
    np.testing.assert_allclose(attention, their_attention.detach().numpy(), rtol=1e-11)
    for x, (name, gradient) in zip(maps, by_student.items(), strict=True):
        np.testing.assert_allclose(gradient, x.grad.transpose(1, 2).numpy(), atol=1e-11, err_msg=name)
    for path, gradient in jax.tree_util.tree_leaves_with_path(by_params):
        name = ".".join([*(key.key for key in path[:-1]), names[path[-1].key]])
        np.testing.assert_allclose(as_torch(gradient), own[name].grad.numpy(), atol=1e-11, err_msg=name)
        assert np.abs(gradient).max() > 0
    for name, projection in batch_stats.items():
        for norm in ("bn1", "bn2"):
            theirs = getattr(reference, name)[norm]
            np.testing.assert_allclose(projection[norm]["mean"], theirs.running_mean.numpy(), rtol=1e-11, atol=1e-12)
            np.testing.assert_allclose(projection[norm]["var"], theirs.running_var.numpy(), rtol=1e-11)
