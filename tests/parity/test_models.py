"""Our networks against PyTorch's: logits, running statistics, gradients, optimiser steps, initial distributions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from lrhnet_jax import losses, models
from lrhnet_jax.models import torch_weights
from lrhnet_jax.training import optim

torch = pytest.importorskip("torch", reason="parity tests need PyTorch: pip install torch")
from benchmarks import torch_models  # noqa: E402  (needs PyTorch)

torch.set_num_threads(1)  # its threads spin, and XLA's have the cores

DROPOUT_OFF = {"dropout": 0.0}  # torch's draws other random numbers
OPTIONS = {
    "lrhnet": {},
    "lrhnet_wide": {},
    "seresnet": DROPOUT_OFF,
    "cnn1d": {},
    "resnet34": DROPOUT_OFF,
    "xresnet1d": {},
}
NARROW = {"depth": 18, "width": 4}  # of xresnet1d


def batch(leads, window, size=3, seed=0):
    random = np.random.default_rng(seed)
    signal = random.normal(size=(size, window, leads))
    signal[0, : window // 3] = 0  # a record padded with zeros: equal values in a pool, as in real windows
    demographics = random.uniform(size=(size, 5))
    labels = random.uniform(size=(size, 24)) < 0.2
    return signal, demographics, labels.astype(np.float64)


def reference(name, leads, dtype, seed=0, **options):
    """A torch network whose statistics and affine parameters are not their initial ones."""
    torch.manual_seed(seed)
    network = torch_models.MODELS[name](leads, **options)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            for tensor, low in ((layer.weight.data, 0.5), (layer.running_var, 0.5), (layer.bias.data, -0.5)):
                tensor.uniform_(low, low + 1)
            layer.running_mean.normal_(std=0.3)
    return network.to(dtype)


def torch_batch(signal, demographics, labels, dtype):
    signal = torch.tensor(signal.transpose(0, 2, 1), dtype=dtype)
    return signal, torch.tensor(demographics, dtype=dtype), torch.tensor(labels, dtype=dtype)


def worst(ours, theirs):
    """The largest difference of two state_dicts or trees of arrays."""
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: np.max(np.abs(np.asarray(a) - np.asarray(b))), ours, theirs)))


@functools.partial(jax.jit, static_argnums=(0, 4))
def forward(module, variables, signal, demographics, train):
    if train:
        return module.apply(variables, signal, demographics, train=True, mutable=["batch_stats"])
    return module.apply(variables, signal, demographics, train=False), {}


def compare_forward(name, leads, window, precision, tolerance, **options):
    dtype = getattr(torch, precision)
    network = reference(name, leads, dtype, **options)
    inputs = batch(leads, window)
    signal, demographics, _ = torch_batch(*inputs, dtype)
    module = models.create(name, leads, param_dtype=precision, **OPTIONS[name], **options)
    variables = torch_weights.from_torch(name, network.state_dict(), **options)
    ours = [jnp.asarray(array, precision) for array in inputs[:2]]
    for train in (False, True):
        network.train(train)
        with torch.no_grad():
            expected = network(signal, demographics).numpy()
        output, changes = forward(module, variables, *ours, train)
        assert output.logits.dtype == precision
        assert worst(output.logits, expected) < tolerance
    after = torch_weights.to_torch(name, {**variables, **changes}, **options)
    theirs = {key: value for key, value in network.state_dict().items() if "running" in key}
    assert worst({key: after[key] for key in theirs}, theirs) < tolerance
    before = torch_weights.to_torch(name, variables, **options)
    assert worst({key: before[key] for key in theirs}, theirs) > 1e-3, "no statistic moved: nothing was compared"


# Lengths odd and even; the 1D-CNN reads only long ones, and 1,100 samples are odd on the way through the ResNet-34.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "leads", "window"),
    [("lrhnet", 12, 96), ("lrhnet", 2, 101), ("seresnet", 12, 97), ("cnn1d", 6, 2305), ("resnet34", 1, 1100)],
)
def test_forward_in_float32(name, leads, window):
    compare_forward(name, leads, window, "float32", 2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "leads", "window"), [("lrhnet", 6, 64), ("lrhnet", 1, 67), ("seresnet", 3, 64), ("cnn1d", 2, 2146)]
)
def test_forward_in_float64(name, leads, window):
    with jax.enable_x64(True):
        compare_forward(name, leads, window, "float64", 1e-10)


def test_forward_without_the_relu_of_the_head():
    compare_forward("lrhnet", 2, 64, "float32", 2e-5, head_relu=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "options"),
    [
        (100, NARROW),
        (101, {**NARROW, "depth": 34, "doubling": True, "taps": 3}),
        (131, {**NARROW, "depth": 50}),
        (70, {**NARROW, "depth": 101}),
    ],
)
def test_forward_of_xresnet1d(window, options):
    with jax.enable_x64(True):
        compare_forward("xresnet1d", 3, window, "float64", 1e-9, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("leads", "window", "options"),
    [(2, 257, {}), (12, 331, {}), (1, 514, {"width": 2}), (3, 400, {"squeeze_excite": True})],
)
def test_forward_of_lrhnet_wide(leads, window, options):
    with jax.enable_x64(True):
        compare_forward("lrhnet_wide", leads, window, "float64", 1e-10, **options)


def loss_function(module, params, batch_stats, signal, demographics, labels):
    variables = {"params": params, "batch_stats": batch_stats}
    output, changes = module.apply(variables, signal, demographics, train=True, mutable=["batch_stats"])
    return losses.bce(output.logits, labels), changes["batch_stats"]


SCHEDULES = {
    "step": (
        {"name": "step", "step_epochs": 3, "gamma": 0.1},
        lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.1),
    ),
    "multistep": (
        {"name": "multistep", "milestones": (2, 4, 7), "gamma": 0.3},
        lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4, 7], 0.3),
    ),
}


# The seresnet's window leaves two samples after its last block: BatchNorm over fewer than four values is chaotic.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "leads", "window", "schedule"),
    [
        ("lrhnet", 2, 67, "step"),
        ("seresnet", 1, 49, "multistep"),
        ("cnn1d", 1, 2146, "step"),
        ("xresnet1d", 1, 131, "step"),
        ("lrhnet_wide", 2, 517, "multistep"),
    ],
)
def test_gradient_of_every_parameter_and_twenty_optimiser_steps(name, leads, window, schedule):
    sizes = NARROW if name == "xresnet1d" else {}
    fields, make_scheduler = SCHEDULES[schedule]
    steps_per_epoch, rate, decay = 2, 1e-3, 5e-4
    with jax.enable_x64(True):
        network = reference(name, leads, torch.float64, **sizes).train()
        module = models.create(name, leads, param_dtype="float64", **OPTIONS[name], **sizes)
        variables = torch_weights.from_torch(name, network.state_dict(), **sizes)
        params, batch_stats = variables["params"], variables["batch_stats"]

        optimizer = torch.optim.Adam(network.parameters(), lr=rate, weight_decay=decay)
        scheduler = make_scheduler(optimizer)
        config = {"optimizer": "adam", "learning_rate": rate, "weight_decay": decay, "epochs": 10, "schedule": fields}
        transform = optim.make(config, steps_per_epoch)
        state = transform.init(params)

        @jax.jit
        def step(params, batch_stats, state, *inputs):
            gradient = jax.grad(functools.partial(loss_function, module), has_aux=True)
            gradients, batch_stats = gradient(params, batch_stats, *inputs)
            updates, state = transform.update(gradients, state, params)
            return gradients, jax.tree.map(jnp.add, params, updates), batch_stats, state

        for index in range(20):
            inputs = batch(leads, window, seed=index)
            gradients, params, batch_stats, state = step(params, batch_stats, state, *map(jnp.asarray, inputs))
            signal, demographics, labels = torch_batch(*inputs, torch.float64)
            optimizer.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(network(signal, demographics), labels).backward()
            if index == 0:
                compare_gradients(name, {"params": gradients, "batch_stats": batch_stats}, network, **sizes)
            optimizer.step()
            if index % steps_per_epoch == steps_per_epoch - 1:
                scheduler.step()
        ours = torch_weights.to_torch(name, {"params": params, "batch_stats": batch_stats}, **sizes)
        theirs = {key: value.numpy() for key, value in network.state_dict().items() if value.is_floating_point()}
        assert worst({key: ours[key] for key in theirs}, theirs) < 1e-8


def compare_gradients(name, gradients, network, **options):
    ours = torch_weights.to_torch(name, gradients, **options)
    for key, parameter in network.named_parameters():
        theirs = parameter.grad.numpy()
        assert np.abs(theirs).max() > 1e-12, key
        np.testing.assert_allclose(ours[key], theirs, rtol=1e-8, atol=1e-12, err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "leads"), [("lrhnet", 12), ("lrhnet_wide", 2), ("seresnet", 2), ("cnn1d", 3)])
def test_initial_distributions(name, leads):
    torch.manual_seed(1)
    theirs = torch_models.MODELS[name](leads).state_dict()
    window = {"cnn1d": 2146}.get(name, 64)
    module = models.create(name, leads)
    init = jax.jit(functools.partial(module.init, train=False))
    variables = init(jax.random.key(1), jnp.zeros((1, window, leads)), jnp.zeros((1, 5)))
    ours = torch_weights.to_torch(name, variables)
    assert ours.keys() == theirs.keys()
    compared = 0
    for key, value in theirs.items():
        value, mine = value.numpy().ravel(), ours[key].ravel()
        if np.ptp(value) == 0:  # BatchNorm's
            np.testing.assert_array_equal(mine, value, err_msg=key)
        else:
            assert scipy.stats.ks_2samp(mine, value).pvalue > 1e-4, key
            compared += 1
    assert compared == {"lrhnet": 30, "lrhnet_wide": 19, "seresnet": 40, "cnn1d": 8}[name]
