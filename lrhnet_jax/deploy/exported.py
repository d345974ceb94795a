"""Networks that have left this project as one file, and how it runs them again: to check them, and to score them.

A file is a program of two inputs and an output, with the network's weights in it; `model.json` beside it says the rest.

    signal        (batch, window, leads) float32, prepared as `model.json` says
    demographics  (batch, 5) float32, `leads.DEMOGRAPHICS`
    probabilities (batch, classes) float32
"""

import hashlib
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lrhnet_jax.errors import CheckpointError
from lrhnet_jax.runtime.files import read_json
from lrhnet_jax.training import description

DESCRIPTION = "model.json"
INPUTS, OUTPUT = ("signal", "demographics"), "probabilities"
REMEDY = "pip install 'lrhnet-jax[export]'"
Run = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Program(NamedTuple):
    """An exported network.

    Attributes:
      meta: what model.json holds.
      run: (signal, demographics) -> probabilities, of any batch.
    """

    meta: dict[str, Any]
    run: Run


def _stablehlo(content: bytes) -> Run:
    import jax

    call = jax.jit(jax.export.deserialize(bytearray(content)).call)
    return lambda signal, demographics: np.asarray(call(signal, demographics))


def _onnx(content: bytes) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda *inputs: session.run([OUTPUT], dict(zip(INPUTS, inputs, strict=True)))[0]


# What makes a file's content run; ImportError: what it takes is not installed.
READERS: dict[str, Callable[[bytes], Run]] = {".stablehlo": _stablehlo, ".onnx": _onnx}


def checksum(meta: dict[str, Any], name: str) -> str | None:
    """Returns the SHA-256 that a description states for a file, or None."""
    files = meta.get("files")
    entry = files.get(name) if isinstance(files, dict) else None
    return entry.get("sha256") if isinstance(entry, dict) else None


def load(path: str | pathlib.Path) -> Program:
    """Loads an exported network, OUT/model.stablehlo or OUT/model.onnx.

    Raises:
      CheckpointError: if it is missing or broken, or what runs it is not installed.
    """
    path = pathlib.Path(path).expanduser()
    meta = description.check(read_json(path.with_name(DESCRIPTION)), path.with_name(DESCRIPTION))
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; python -m lrhnet_jax.export writes one")
    content, known = path.read_bytes(), checksum(meta, path.name)
    if hashlib.sha256(content).hexdigest() != known:
        raise CheckpointError(f"{path}: not the file that {DESCRIPTION} beside it describes; export the network again")
    try:
        return Program(meta, READERS[path.suffix](content))
    except ImportError as error:
        raise CheckpointError(f"{path}: what runs it is not installed ({error}): {REMEDY}") from error
    except Exception as error:  # each reader has kinds of its own
        first = str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: not an exported network, or of another version ({first})") from error
