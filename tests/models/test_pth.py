"""Weights in the files that people have: every form that loads, and every poison that must not."""

import argparse
import builtins
import collections
import datetime
import os
import pathlib
import re
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrhnet_jax import models
from lrhnet_jax.errors import CheckpointError
from lrhnet_jax.models import torch_weights
from tests.helpers import fakes

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of its own making


@pytest.fixture(scope="module")
def weights():
    model = models.create("lrhnet", 2)
    variables = fakes.variables(model, jnp.zeros((1, 64, 2)), jnp.zeros((1, 5)))
    state_dict = torch_weights.to_torch("lrhnet", variables)
    return collections.OrderedDict((key, torch.from_numpy(value)) for key, value in state_dict.items())


def prefixed(weights, prefix):
    return {prefix + key: value for key, value in weights.items()}


def history():
    losses = collections.defaultdict(list)
    losses["loss"].append(0.7)
    return losses


FORMS = {
    "bare": lambda w: w,
    "parameters": lambda w: {k: torch.nn.Parameter(v) if v.is_floating_point() else v for k, v in w.items()},
    "state_dict": lambda w: {"epoch": 7, "state_dict": w, "score": 0.61, "optimizer": {"state": {}, "groups": [1, 2]}},
    "model_state_dict": lambda w: {"epoch": 7, "model_state_dict": w, "loss": torch.tensor(0.2)},
    "model": lambda w: {"model": w, "epoch": 7},
    "state_dict in model": lambda w: {"model": {"state_dict": w}},
    "NumPy float": lambda w: {"state_dict": w, "best_score": np.float64(0.61)},
    "NumPy scalars": lambda w: {"state_dict": w, "scores": [np.float32(1), np.int64(2), np.bool_(True), np.str_("a")]},
    "NumPy array": lambda w: {"state_dict": w, "thresholds": np.linspace(0, 1, 24), "names": np.array(["AF", "SB"])},
    "NumPy of objects": lambda w: {"state_dict": w, "names": np.array([{"a": 1}, None], dtype=object)},
    "command line": lambda w: {"model": w, "args": argparse.Namespace(lr=1e-3, output=pathlib.Path("runs"))},
    "history": lambda w: {"model": w, "history": history(), "at": datetime.datetime(2020, 1, 1), "in": {1, 2}},
    "version": lambda w: {"model": w, "torch": torch.__version__, "count": collections.Counter("ab")},
    "DataParallel": lambda w: prefixed(w, "module."),
    "compiled": lambda w: prefixed(w, "_orig_mod."),
    "compiled, parallel": lambda w: prefixed(w, "module._orig_mod."),
    "parallel, compiled": lambda w: prefixed(w, "_orig_mod.module."),
    "Lightning": lambda w: {"state_dict": prefixed(w, "model."), "pytorch-lightning_version": "2.5", "epoch": 3},
    "Lightning, compiled": lambda w: {"state_dict": prefixed(w, "model._orig_mod."), "callbacks": {}},
    "one module compiled": lambda w: {k.replace("layer2.", "layer2._orig_mod."): v for k, v in w.items()},
    "averaged": lambda w: {"n_averaged": torch.tensor(9), **prefixed(w, "module.")},
    "averaged, parallel": lambda w: {"model": {"n_averaged": torch.tensor(9), **prefixed(w, "module.module.")}},
}


def assert_equal(loaded, weights):
    assert loaded.keys() == weights.keys()
    for key, value in weights.items():
        np.testing.assert_array_equal(loaded[key], value, err_msg=key)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("form", FORMS)
def test_a_form_loads(weights, tmp_path, form, zipped):
    path = tmp_path / "weights.pth"
    torch.save(FORMS[form](weights), path, _use_new_zipfile_serialization=zipped)
    assert_equal(torch_weights.load_pth(path), weights)


def test_what_is_loaded_is_the_network(weights, tmp_path):
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": prefixed(weights, "module._orig_mod."), "best": np.float64(0.61)}, path)
    variables = torch_weights.from_torch("lrhnet", torch_weights.load_pth(path))
    jax.tree.map(np.testing.assert_array_equal, variables, torch_weights.from_torch("lrhnet", weights))


@pytest.mark.slow
def test_a_module_saved_after_training(weights, tmp_path):
    """As from PyTorch's own wrappers, not from renamed keys."""
    from benchmarks import torch_models

    module = torch_models.MODELS["lrhnet"](2)
    module.load_state_dict(weights)
    path = tmp_path / "weights.pth"
    for wrapped in (
        torch.nn.DataParallel(module),
        torch.compile(module),
        torch.compile(torch.nn.DataParallel(module)),
        torch.optim.swa_utils.AveragedModel(module),
    ):
        torch.save({"state_dict": wrapped.state_dict()}, path)
        assert_equal(torch_weights.load_pth(path), weights)


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Built:
    """Pickles as an object of a class of ours, with a state."""


def touch(marker):
    marker.touch()


# What is called, with a command or code that writes the marker. "commands" is the name of subprocess in such a pickle.
POISONS = {
    "posix.system": lambda m: Call(os.system, f"touch {m}"),
    "commands.Popen": lambda m: Call(subprocess.Popen, ["touch", str(m)]),
    "builtins.eval": lambda m: Call(eval, f"open({str(m)!r}, 'w')"),
    "builtins.exec": lambda m: Call(exec, f"open({str(m)!r}, 'w')"),
    "builtins.getattr": lambda m: Call(builtins.getattr, m, "touch"),
    "io.open": lambda m: Call(open, str(m), "w"),
    "test_pth.touch": lambda m: Call(touch, m),
    "test_pth.Built": lambda m: Built(),
    "torch.storage._load_from_bytes": lambda m: Call(torch.storage._load_from_bytes, b"\x80\x02c__main__\ntouch\n."),
    "numpy.load": lambda m: Call(np.load, str(m), None, True),
}
PLACES = {
    "alone": lambda poison, w: poison,
    "beside the weights": lambda poison, w: {"state_dict": w, "epoch": 7, "hook": poison},
    "among the weights": lambda poison, w: {**w, "extra": poison},
    "as a score": lambda poison, w: {"state_dict": w, "score": [np.float64(0.6), poison]},
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", POISONS)
def test_poison_is_named_and_not_run(weights, tmp_path, name, place, zipped):
    marker, path = tmp_path / "marker", tmp_path / "weights.pth"
    torch.save(PLACES[place](POISONS[name](marker), weights), path, _use_new_zipfile_serialization=zipped)
    said = name.removeprefix("builtins.")  # which PyTorch's own message, of old files, leaves out
    with pytest.raises(CheckpointError, match=rf"weights\.pth: holds [\w. ]*{said}.*nothing of it was run") as caught:
        torch_weights.load_pth(path)
    assert "torch.save(module.state_dict(), path)" in str(caught.value)
    assert not marker.exists()


def test_the_poison_would_have_run(tmp_path):
    """A marker that stays away says something only if the poison can write it."""
    marker, path = tmp_path / "marker", tmp_path / "weights.pth"
    torch.save({"hook": POISONS["posix.system"](marker)}, path)
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_what_is_in_the_way_is_told_with_the_keys(weights, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": weights, "epoch": 7, "net": torch.nn.Linear(2, 2), "config": Built()}, path)
    with pytest.raises(CheckpointError) as caught:
        torch_weights.load_pth(path)
    message = str(caught.value)
    assert re.search(r"holds .*Built, torch\.nn\.modules\.linear\.Linear, which is code", message)
    assert "its keys are config, epoch, net, state_dict" in message


def sparse(weights):
    return {**weights, "conv1.weight": torch.eye(3).to_sparse()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda w: {"net": dict(w), "epoch": 7},
            "its 'net' is a value of type dict, not a tensor; its keys are epoch,",
        ),
        (
            lambda w: {**w, "epoch": 7},
            "its 'epoch' is a value of type int, not a tensor; its keys are conv1.bias,",
        ),
        (lambda w: {**w, "score": np.float64(1)}, "its 'score' is an object such as NumPy's, not a tensor"),
        (lambda w: {k: v.numpy() for k, v in w.items()}, "is an object such as NumPy's, not a tensor; its keys are"),
        (lambda w: {"state_dict": argparse.Namespace()}, "its 'state_dict' is an object such as NumPy's, not a tensor"),
        (lambda w: list(w.values()), "holds no state_dict but a value of type list"),
        (lambda w: np.float64(1), "holds no state_dict but an object such as NumPy's"),
        (sparse, "conv1.weight cannot be read as an array"),
        (
            lambda w: {**w, "fc2.bias": torch.zeros(1).expand(10**9)},
            "fc2.bias has 1000000000 values, more than the",
        ),
        (lambda w: {"a._orig_mod.b": w["fc2.bias"], "a.b": w["fc2.bias"]}, "holds a._orig_mod.b, and the same without"),
    ],
)
def test_what_is_not_a_state_dict_is_told(weights, tmp_path, content, message):
    path = tmp_path / "weights.pth"
    torch.save(content(weights), path)
    with pytest.raises(CheckpointError, match=re.escape(message)):
        torch_weights.load_pth(path)


def test_a_prefix_that_is_not_known_is_named(weights, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(prefixed(weights, "backbone."), path)
    message = r"lacks conv1\.weight.*every key begins with 'backbone\.': remove it.*it has backbone\.conv1\.bias"
    with pytest.raises(CheckpointError, match=message):
        torch_weights.from_torch("lrhnet", torch_weights.load_pth(path))


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.bool])
def test_numbers_that_are_not_weights(weights, tmp_path, dtype):
    path = tmp_path / "weights.pth"
    torch.save({**weights, "fc2.bias": weights["fc2.bias"].to(dtype)}, path)
    with pytest.raises(CheckpointError, match=r"fc2\.bias holds \w+, not floating-point numbers"):
        torch_weights.from_torch("lrhnet", torch_weights.load_pth(path))


def test_a_program_is_not_a_file_of_weights(tmp_path):
    path = tmp_path / "program.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    with pytest.raises(CheckpointError, match=r"not a file of weights .*TorchScript"):
        torch_weights.load_pth(path)


def test_an_unsafe_pytorch_is_refused(weights, tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    torch.save(weights, path)
    monkeypatch.setattr(torch, "__version__", "2.9.1+cu128")
    with pytest.raises(CheckpointError, match=r"PyTorch 2\.9\.1\+cu128 may run code .* pip install 'torch>=2\.10'"):
        torch_weights.load_pth(path)


def test_the_callers_own_safe_globals_stay(weights, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": weights, "score": np.float64(1)}, path)
    before = torch.serialization.get_safe_globals()
    torch_weights.load_pth(path)
    assert torch.serialization.get_safe_globals() == before


def test_broken_files_are_told_of(weights, tmp_path):
    """Cut, or with bytes changed: an error of ours, or the same weights but for what was changed."""
    path, random = tmp_path / "weights.pth", np.random.default_rng(0)
    small = {key: value for key, value in weights.items() if "layer" not in key}
    for zipped in (True, False):
        torch.save({"state_dict": small, "score": np.float64(1)}, path, _use_new_zipfile_serialization=zipped)
        whole = path.read_bytes()
        for _ in range(60):
            broken = bytearray(whole[: random.integers(len(whole)) if random.random() < 0.2 else None])
            for place in random.integers(max(len(broken), 1), size=random.integers(1, 40)):
                broken[place : place + 1] = random.bytes(1)
            path.write_bytes(broken)
            try:
                loaded = torch_weights.load_pth(path)
            except CheckpointError as error:
                assert str(path) in str(error)
            else:
                assert all(isinstance(value, np.ndarray) for value in loaded.values())
