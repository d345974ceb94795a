"""Weights to and from PyTorch's state_dict."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrhnet_jax import models
from lrhnet_jax.errors import CheckpointError
from lrhnet_jax.models import torch_weights

SIZES = {
    "lrhnet": (2, 24),
    "lrhnet_wide": (3, 24),
    "seresnet": (1, 24),
    "cnn1d": (3, 5),
    "resnet34": (1, 4),
    "xresnet1d": (1, 5),
}


def random_variables(name, leads, classes):
    module = models.create(name, leads, num_classes=classes)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 4096, leads)), jnp.zeros((1, 5)))
    random = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), leaf.dtype), shapes)


@pytest.fixture(scope="module")
def lrhnet_state():
    return torch_weights.to_torch("lrhnet", random_variables("lrhnet", 2, 24))


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_round_trip_is_exact(name):
    variables = random_variables(name, *SIZES[name])
    state_dict = torch_weights.to_torch(name, variables)
    back = torch_weights.from_torch(name, state_dict)
    assert jax.tree.structure(back) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, back, variables)
    again = torch_weights.to_torch(name, back)
    assert again.keys() == state_dict.keys()
    for key, value in state_dict.items():
        assert again[key].dtype == value.dtype
        np.testing.assert_array_equal(again[key], value, err_msg=key)


def test_layout_of_a_kernel(lrhnet_state):
    variables = torch_weights.from_torch("lrhnet", lrhnet_state)
    kernel = variables["params"]["layer2_0"]["conv1"]["kernel"]
    assert lrhnet_state["layer2.0.conv1.weight"].shape == (32, 16, 8)
    assert lrhnet_state["layer2.0.conv1.weight"][5, 3, 7] == kernel[7, 3, 5]
    assert lrhnet_state["fc1.weight"].shape == (128, 74)
    assert lrhnet_state["layer1.0.bn2.num_batches_tracked"].dtype == np.int64


def test_variables_do_not_share_memory_with_the_state_dict(lrhnet_state):
    state_dict = {key: value.copy() for key, value in lrhnet_state.items()}
    variables = torch_weights.from_torch("lrhnet", state_dict)
    for value in state_dict.values():
        value[...] = 0
    assert all(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize("name", SIZES)
def test_keys_are_those_of_the_torch_modules(name):
    pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    from benchmarks import torch_models

    leads, classes = SIZES[name]
    module = torch_models.MODELS[name](leads, classes)
    state_dict = torch_weights.to_torch(name, random_variables(name, leads, classes))
    theirs = {key: (tuple(value.shape), str(value.dtype)[6:]) for key, value in module.state_dict().items()}
    assert {key: (value.shape, str(value.dtype)) for key, value in state_dict.items()} == theirs


def test_num_batches_tracked_may_be_absent(lrhnet_state):
    fewer = {key: value for key, value in lrhnet_state.items() if "num_batches" not in key}
    assert len(fewer) == len(lrhnet_state) - 6
    expected = torch_weights.from_torch("lrhnet", lrhnet_state)
    jax.tree.map(np.testing.assert_array_equal, torch_weights.from_torch("lrhnet", fewer), expected)


@pytest.mark.slow
def test_options_tell_which_parameters_are_expected():
    module = models.create("xresnet1d", 2, num_classes=3, depth=18, width=4)
    variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 64, 2)), jnp.zeros((1, 5)))
    variables = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), variables)
    state_dict = torch_weights.to_torch("xresnet1d", variables, depth=18, width=4)
    back = torch_weights.from_torch("xresnet1d", state_dict, depth=18, width=4)
    assert jax.tree.structure(back) == jax.tree.structure(variables)
    with pytest.raises(CheckpointError, match="these are not the weights of xresnet1d"):
        torch_weights.from_torch("xresnet1d", state_dict)
    with pytest.raises(CheckpointError, match=r"bn1.running_mean has shape \(2,\), but xresnet1d with 2 leads and 3"):
        torch_weights.from_torch("xresnet1d", state_dict, depth=18, width=8)


def change(state_dict, key, value):
    return {**state_dict, key: value}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda s: {k: v for k, v in s.items() if k != "conv1.weight"},
            "lacks conv1.weight: these are not the weights",
        ),
        (lambda s: {k: v for k, v in s.items() if k != "fc2.weight"}, "lacks fc2.weight"),
        (
            lambda s: {k: v for k, v in s.items() if "bn1" not in k},
            "lacks layer1.0.bn1.bias, layer1.0.bn1.running_mean",
        ),
        (lambda s: change(s, "layer4.0.conv1.weight", np.zeros(3)), "has unexpected layer4.0.conv1.weight"),
        (lambda s: {f"module.{k}": v for k, v in s.items()}, "every key begins with 'module.': remove it"),
        (lambda s: {}, "lacks conv1.weight"),
        (
            lambda s: change(s, "layer2.0.conv2.weight", np.zeros((32, 32, 7))),
            "layer2.0.conv2.weight has shape (32, 32, 7), but lrhnet with 2 leads and 24 classes needs (32, 32, 8)",
        ),
        (lambda s: change(s, "conv1.weight", np.zeros(16)), "conv1.weight has shape (16,)"),
        (lambda s: change(s, "fc2.bias", np.zeros(23)), "fc2.bias has shape (23,)"),
        (lambda s: change(s, "fc.bias", np.full(10, np.nan)), "fc.bias holds values that are not finite"),
    ],
)
def test_wrong_state_dicts(lrhnet_state, edit, message):
    with pytest.raises(CheckpointError, match=re.escape(message)):
        torch_weights.from_torch("lrhnet", edit(lrhnet_state))


def test_weights_of_another_network(lrhnet_state):
    with pytest.raises(CheckpointError, match="these are not the weights of seresnet"):
        torch_weights.from_torch("seresnet", lrhnet_state)
    with pytest.raises(CheckpointError, match="these are not the weights of cnn1d"):
        torch_weights.to_torch("cnn1d", random_variables("lrhnet", 2, 24))
    with pytest.raises(ValueError, match="unknown model 'resnet'"):
        torch_weights.from_torch("resnet", lrhnet_state)


def test_variables_without_statistics(lrhnet_state):
    params = torch_weights.from_torch("lrhnet", lrhnet_state)["params"]
    with pytest.raises(CheckpointError, match=r"lacks layer1\.0\.bn1\.running_mean"):
        torch_weights.to_torch("lrhnet", {"params": params})


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state_dict: state_dict,
        lambda state_dict: {"state_dict": state_dict, "epoch": 3},
        lambda state_dict: {"model_state_dict": {f"module.{key}": value for key, value in state_dict.items()}},
    ],
    ids=["bare", "wrapped", "data-parallel"],
)
def test_load_pth(lrhnet_state, tmp_path, wrap):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    path = tmp_path / "weights.pth"
    torch.save(wrap({key: torch.tensor(value) for key, value in lrhnet_state.items()}), path)
    loaded = torch_weights.load_pth(path)
    assert loaded.keys() == lrhnet_state.keys()
    for key, value in lrhnet_state.items():
        np.testing.assert_array_equal(loaded[key], value, err_msg=key)
    torch_weights.from_torch("lrhnet", loaded)


def test_half_precision_weights_become_float32(lrhnet_state):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    half = {key: torch.tensor(value).to(torch.bfloat16) for key, value in lrhnet_state.items()}
    variables = torch_weights.from_torch("lrhnet", half)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    np.testing.assert_array_equal(variables["params"]["fc2"]["bias"], half["fc2.bias"].float().numpy())


def test_load_pth_refuses(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    with pytest.raises(CheckpointError, match=r"absent\.pth: there is no such file"):
        torch_weights.load_pth(tmp_path / "absent.pth")
    path = tmp_path / "weights.pth"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(CheckpointError, match=r"torch\.save\(module\.state_dict\(\), path\)"):
        torch_weights.load_pth(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="holds no state_dict"):
        torch_weights.load_pth(path)
    path.write_bytes(b"no weights at all")
    with pytest.raises(CheckpointError, match="not a file of weights"):
        torch_weights.load_pth(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="not a file of weights"):
        torch_weights.load_pth(path)


def test_without_torch_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # makes `import torch` fail
    with pytest.raises(CheckpointError, match=r"weights\.pth: reading a \.pth file needs PyTorch: pip install torch"):
        torch_weights.load_pth("weights.pth")


@pytest.mark.slow
def test_importing_the_module_does_not_import_torch():
    code = "import sys; import lrhnet_jax.models.torch_weights; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
