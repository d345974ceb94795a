"""Trained networks of every architecture, run by JAX: from a run's folder, or from a model that has left it."""

import pathlib
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from lrhnet_jax.deploy import model_folder
from lrhnet_jax.errors import CheckpointError
from lrhnet_jax.scoring import predict
from lrhnet_jax.training import checkpoint, description
from lrhnet_jax.training.state import variable_shapes


def read(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns a network's checked description and its variables, {"params", "batch_stats"}.

    Args:
      folder: WORKDIR/networks/NAME of a run, or a model's (`model_folder`).

    Raises:
      CheckpointError: if there is none, or it was altered.
    """
    if not model_folder.is_one(folder):
        return checkpoint.load_model(folder)
    meta, arrays = model_folder.read(folder)
    try:
        template = variable_shapes(description.create_model(meta), len(meta["leads"]), meta["window"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: does not describe a network ({error!r})") from error
    variables = traverse_util.unflatten_dict({tuple(name.split("/")): array for name, array in arrays.items()})
    checkpoint.check_shapes(folder, variables, template)
    return meta, jax.tree.map(jax.numpy.asarray, variables)


def make(meta: dict[str, Any], variables: Any, exclusive: bool) -> Any:
    """Returns what gives the probabilities of prepared windows; see `model.Run`."""
    model = description.create_model(meta)

    @jax.jit
    def answer(variables: Any, signal: jax.Array, demographics: jax.Array) -> jax.Array:
        output: Any = model.apply(variables, signal, demographics, train=False)
        return predict.activate(output.logits, exclusive)

    def run(signal: np.ndarray, demographics: np.ndarray) -> np.ndarray:
        return np.asarray(answer(variables, signal, demographics))

    return run


def most_windows(batch_size: int) -> int:
    """Returns how many windows to give the devices at a time."""
    return predict.windows_a_call(batch_size, jax.local_devices())
