"""A trained network as a folder that leaves the lab, which everything that answers reads.

    NAME/model.json    leads, rate, preprocessing, window, classes, thresholds, decision rule, what it was trained on,
                       checksums, and its card (`training.card`): checked by `training.description`
    NAME/weights.npz   parameters and BatchNorm statistics, float32, arrays by their paths; never pickled

Programs that `lrhnet_jax.export` writes (model.onnx and others) lie beside them, described by the same model.json.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from lrhnet_jax.deploy import exported
from lrhnet_jax.errors import CheckpointError
from lrhnet_jax.runtime.files import read_json, write_json
from lrhnet_jax.training import description, weights

WEIGHTS = "weights.npz"


def is_one(path: pathlib.Path) -> bool:
    """Whether a folder holds a model, or programs that were exported."""
    return (path / exported.DESCRIPTION).is_file()


def read(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns what model.json holds, and the arrays by their paths, as "params/conv1/kernel".

    Raises:
      CheckpointError: if a file is missing, broken or altered, or an array is no finite float32.
    """
    path = folder / exported.DESCRIPTION
    meta = description.check(read_json(path), path)
    meta.setdefault("thresholds", None)
    expected = exported.checksum(meta, WEIGHTS)
    if expected is None:
        programs = [name for name in meta.get("files") or {} if pathlib.PurePath(name).suffix in exported.READERS]
        advice = f"name a file of it ({', '.join(programs)})" if programs else "export the network again"
        raise CheckpointError(f"{path}: describes no {WEIGHTS}; {advice}, or write one by --formats=model")
    arrays = weights.read(folder / WEIGHTS, expected, path.name)
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise CheckpointError(f"{folder / WEIGHTS}: {name} is not finite float32; take the model from its source")
    return meta, arrays


def write_weights(folder: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Writes weights.npz; returns its entry of model.json's "files"."""
    path = folder / WEIGHTS
    digest = weights.write(path, {name: np.asarray(array, np.float32) for name, array in arrays.items()})
    return {WEIGHTS: {"bytes": path.stat().st_size, "sha256": digest}}


def write(folder: pathlib.Path, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a model, and reads it back.

    Args:
      meta: what model.json is to hold, without "files".
      arrays: by their paths.

    Raises:
      CheckpointError: if the description is not a model's, or what is read back is not what was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / exported.DESCRIPTION
    path.unlink(missing_ok=True)  # written last: what describes weights is never older than they
    write_json(path, description.check({**meta, "files": write_weights(folder, arrays)}, path))
    _, stored = read(folder)
    if any(not np.array_equal(stored[name], array) for name, array in arrays.items()):
        raise CheckpointError(f"{folder}: what was saved does not read back as it was; is the disk sound?")
