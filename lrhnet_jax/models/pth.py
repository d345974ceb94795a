"""Weights out of the files that torch.save writes, in the forms in which people save them. No file runs code.

Such a file is a pickle: a program that may name any function of Python and call it. PyTorch's restricted reader
(`torch.load(..., weights_only=True)`) makes tensors and plain containers alone. What people save beside their weights
(a score as a NumPy scalar, the command line, a path) is read as an `_Inert`, which does and keeps nothing; a file that
names anything else is refused.
"""

import pathlib
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lrhnet_jax.errors import CheckpointError

SUFFIXES = (".pth", ".pt", ".ckpt", ".pth.tar")

_SAFE = (2, 10)  # before, a file could run code in spite of weights_only: CVE-2025-32434, CVE-2026-24747
_WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys below which checkpoints hold the weights
_PREFIXES = ("module.", "model.")  # of DataParallel, and of a LightningModule's attribute
_COMPILED = "_orig_mod."  # of torch.compile, in front of the module that was compiled
_AVERAGED = "n_averaged"  # a counter that AveragedModel adds
_REMEDY = "save the weights alone, with torch.save(module.state_dict(), path)"


class _Inert:
    """Stands for an object that is not a weight: whatever a file says to do with it, nothing happens."""

    def __new__(cls, *_: Any) -> "_Inert":
        return object.__new__(cls)

    def __setstate__(self, _: Any) -> None:
        pass


def _plain_dict(*_: Any) -> dict[Any, Any]:
    return {}


# What may lie beside weights, by the names that pickles give it.
_BESIDE: dict[str, Callable[..., Any]] = {
    "collections.defaultdict": _plain_dict,
    **dict.fromkeys(
        (
            *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
            *("numpy._core.numeric._frombuffer", "numpy.dtype", "numpy.ndarray"),
            *(f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "str", "tuple")),
            *(f"datetime.{name}" for name in ("date", "datetime", "timedelta")),
            *(f"pathlib.{part}{kind}Path" for part in ("", "_local.") for kind in ("Posix", "Windows")),
            *("argparse.Namespace", "torch.torch_version.TorchVersion"),
        ),
        _Inert,
    ),
}


def load_pth(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Reads a file of torch.save into a state_dict of NumPy arrays, float32 at least. Nothing in it is executed.

    It takes a bare state_dict, or a checkpoint that holds one as "state_dict", "model_state_dict" or "model", among
    other things. What DataParallel ("module."), torch.compile ("_orig_mod.") and a LightningModule ("model.") put
    before the keys is removed, and the counter of an AveragedModel.

    Raises:
      CheckpointError: if PyTorch is not installed or too old to be safe, or the file is missing or holds something
        else; it names what is in the way, and the keys that were found.
    """
    torch = _import_torch(path)
    path = pathlib.Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    try:
        content = _read(torch, path, _BESIDE)
    except Exception as error:  # a broken file raises many kinds
        raise _refusal(torch, path, error) from error
    state_dict = _unwrap(path, content)
    for key, value in state_dict.items():
        if not isinstance(value, torch.Tensor):
            what = f"its {key!r} is {_kind(value)}, not a tensor; {_keys(state_dict)}"
            raise CheckpointError(f"{path}: holds no state_dict: {what}; {_REMEDY}")
    size = path.stat().st_size
    arrays = {}
    for key, value in _strip(path, state_dict).items():
        if value.numel() * value.element_size() > size:  # a view that would take more memory than the file has bytes
            raise CheckpointError(f"{path}: {key} has {value.numel()} values, more than the file holds; {_REMEDY}")
        try:
            arrays[key] = to_numpy(value)
        except Exception as error:  # sparse, quantised, without data: each kind raises another one
            raise CheckpointError(f"{path}: {key} cannot be read as an array ({_first_line(error)})") from error
    return arrays


def to_numpy(value: Any) -> np.ndarray:
    """A torch tensor or an array as NumPy; floating-point numbers as float32 at least: NumPy knows no bfloat16."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() and value.element_size() < 4 else value
        value = value.numpy()
    value = np.asarray(value)
    return value.astype(np.float32) if value.dtype == np.float16 else value


def _import_torch(path: str | pathlib.Path) -> Any:
    needed = "{}.{}".format(*_SAFE)
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(f"{path}: reading a .pth file needs PyTorch: pip install torch") from error
    if tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < _SAFE:
        raise CheckpointError(
            f"{path}: PyTorch {torch.__version__} may run code that hides in a .pth file: pip install 'torch>={needed}'"
        )
    return torch


def _read(torch: Any, path: pathlib.Path, beside: Mapping[str, Callable[..., Any]]) -> Any:
    allowed = torch.serialization.safe_globals([(stand_in, name) for name, stand_in in beside.items()])
    with allowed, warnings.catch_warnings(action="ignore"):  # of what it refuses in the next moment
        return torch.load(path, map_location="cpu", weights_only=True)


def _refusal(torch: Any, path: pathlib.Path, error: Exception) -> CheckpointError:
    """What to say of a file that was not read: what it holds, if that is code, and beside which keys."""
    foreign = _foreign(torch, path, error)
    if not foreign:
        return CheckpointError(f"{path}: not a file of weights ({_first_line(error)}); {_REMEDY}")
    try:
        keys = _keys(_read(torch, path, {**_BESIDE, **dict.fromkeys(foreign, _Inert)}))
    except Exception:
        keys = "its keys cannot be read"
    return CheckpointError(
        f"{path}: holds {some(foreign)}, which is code, not weights: nothing of it was run; {keys}. "
        f"If you trust it, load the file where that code is, and {_REMEDY}"
    )


def _foreign(torch: Any, path: pathlib.Path, error: Exception) -> list[str]:
    """The functions and classes that a file names and that no reader knows: all, or at least the first one."""
    try:
        return sorted(set(torch.serialization.get_unsafe_globals_in_checkpoint(path)) - set(_BESIDE))
    except Exception:  # a file of before PyTorch 1.6, or a broken one
        named = re.search(r"GLOBAL (\S+)", str(error))
        return [named[1]] if named else []


def _unwrap(path: pathlib.Path, content: Any) -> dict[str, Any]:
    """The state_dict of a checkpoint: tensors by their keys."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds no state_dict but {_kind(content)}; {_REMEDY}")
    for _ in _WRAPPERS:  # one may lie in another, but none for ever
        content = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)), content)
    return {str(key): value for key, value in content.items()}


def _strip(path: pathlib.Path, state_dict: dict[str, Any]) -> dict[str, Any]:
    """The state_dict without what wrappers of a module put before its keys."""
    if twice := [key for key in state_dict if _COMPILED in key and key.replace(_COMPILED, "") in state_dict]:
        raise CheckpointError(f"{path}: holds {some(twice)}, and the same without {_COMPILED!r}: remove one of the two")
    state_dict = {key.replace(_COMPILED, ""): value for key, value in state_dict.items()}
    if all(key.startswith(_PREFIXES) for key in state_dict if key != _AVERAGED):
        state_dict.pop(_AVERAGED, None)
    while prefix := next((prefix for prefix in _PREFIXES if state_dict and _all_begin(state_dict, prefix)), ""):
        state_dict = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    return state_dict


def _all_begin(state_dict: Mapping[str, Any], prefix: str) -> bool:
    return all(key.startswith(prefix) for key in state_dict)


def some(names: Any) -> str:
    """Returns the first five names, for a message, and how many more there are."""
    listed = sorted(map(str, names))
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def _keys(content: Any) -> str:
    return f"its keys are {some(content)}" if isinstance(content, Mapping) and content else "it has no keys"


def _kind(value: Any) -> str:
    return "an object such as NumPy's" if isinstance(value, _Inert) else f"a value of type {type(value).__name__}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
