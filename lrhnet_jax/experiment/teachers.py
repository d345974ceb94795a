"""Trained networks as teachers: loaded from elsewhere, and their logits on the student's windows."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from lrhnet_jax import losses, models
from lrhnet_jax.data.batch import Inputs, LeadNetwork, StepNumbers
from lrhnet_jax.ecg.leads import SAMPLE_RATE
from lrhnet_jax.errors import CheckpointError, choose
from lrhnet_jax.experiment import check, graph
from lrhnet_jax.models import torch_weights
from lrhnet_jax.report.schema import Training
from lrhnet_jax.runtime import processes
from lrhnet_jax.runtime.devices import Parallel, one_device
from lrhnet_jax.runtime.files import read_json, write_whole
from lrhnet_jax.scoring import predict
from lrhnet_jax.tasks import physionet2020
from lrhnet_jax.training import checkpoint, steps
from lrhnet_jax.training.state import variable_shapes


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network that can teach and be scored, and the log of its training."""

    lead_network: LeadNetwork
    variables: dict[str, Any]
    log: Training


def make_recipe(
    network: graph.Network, parallel: str = "jit", exclusive: bool = False, rate: float = float(SAMPLE_RATE)
) -> steps.Recipe:
    """Returns how a network of the graph learns from its teachers, but for the numbers.

    Args:
      parallel: how its steps run, "jit" or "pmap".
      exclusive: a record has exactly one class.
      rate: Hz, of the signals.

    Raises:
      ConfigError: for an unknown kind or method, or a method that this network or `parallel` cannot have.
    """
    fields, where = network.train, f"config.networks.{network.name}.train"
    choose(f"{where}.logit_kl", fields["logit_kl"], losses.KINDS)
    method = check.method(network, parallel)
    names, teacher = list(network.teachers), fields["method"].get("teacher", "")
    augmentation = check.augmentation(network, rate)
    return steps.Recipe(
        kind=fields["logit_kl"],
        t_squared=fields["t_squared"],
        mean_logits=fields["mean_logits"],
        method=method,
        # A method that reads a teacher's features trains alone, so that these are the teachers of its step.
        teacher=names.index(teacher) if teacher in names else 0,
        epochs=fields["epochs"],
        exclusive=exclusive,
        augmentation=augmentation,
        average=fields["average"],
    )


def make_numbers(network: graph.Network, among: Sequence[str] | None = None) -> StepNumbers:
    """Returns the weights of a network's losses, and its learning rate.

    Args:
      among: all teachers whose logits the step sees, the network's own among them; the others weigh nothing.
    """
    fields, names = network.train, list(network.teachers if among is None else among)
    alone = bool(names) and not network.teachers  # it learns from labels alone
    return StepNumbers(
        weights=tuple(network.teachers.get(name, 0.0) for name in names),
        alpha=1.0 if alone else fields["alpha"],
        kl_weight=0.0 if alone else fields["kl_weight"],
        temperature=fields["temperature"],
        rate=fields["learning_rate"],
    )


def load(
    network: graph.Network,
    lead_network: LeadNetwork,
    preprocess: str,
    window: int,
    classes: Sequence[str] = physionet2020.CLASSES,
) -> dict[str, Any]:
    """Loads the variables of a network from another run's folder, or from a .pth file of the reference.

    Raises:
      CheckpointError: if what is there is another model, reads other leads, or was trained on other preprocessing or
        other classes.
    """
    if network.checkpoint.endswith(torch_weights.SUFFIXES):
        try:
            variables = torch_weights.from_torch(
                network.model, torch_weights.load_pth(network.checkpoint), **network.options
            )
        except (OSError, ValueError) as error:
            raise CheckpointError(f"config.networks.{network.name}.checkpoint: {error}") from error
        template = variable_shapes(lead_network.model, len(network.leads), window)
        checkpoint.check_shapes(network.checkpoint, variables, template)
        return variables
    meta, variables = checkpoint.load_model(network.checkpoint)
    wanted = {
        "model": network.model,
        "leads": list(network.leads),
        "options": dict(network.options),
        "preprocess": preprocess,
        "classes": list(classes),
    }
    for field, value in wanted.items():
        if meta[field] != value:
            raise CheckpointError(
                f"config.networks.{network.name}: {network.checkpoint} has {field} {meta[field]}, not {value}"
            )
    return variables


def adopt_widths(network: graph.Network) -> graph.Network:
    """Returns the network with the inner widths of the checkpoint it is loaded from, if channels were pruned there."""
    path = pathlib.Path(network.checkpoint).expanduser() / "network.json"
    inner = read_json(path).get("options", {}).get("inner") if path.exists() else None
    return dataclasses.replace(network, options={"inner": inner, **network.options}) if inner else network


def start(model: str, variables: dict[str, Any], leads: Sequence[int]) -> dict[str, Any]:
    """Returns a network's variables for some of its leads: of the stem's kernel, (taps, leads, channels), these alone.

    Args:
      leads: their places among the network's.
    """
    params = traverse_util.flatten_dict(variables["params"])
    kernel = (*models.describe(model).stem.split("/"), "kernel")
    params[kernel] = params[kernel][:, list(leads)]
    chosen = {**variables, "params": traverse_util.unflatten_dict(params)}
    return jax.tree.map(jnp.array, chosen)  # copies: training donates what it starts from


def in_step(inputs: Inputs, teachers: Sequence[tuple[str, Trained]]) -> Inputs:
    """Returns a student's inputs with teachers that run in every step."""
    return inputs.replace(teachers=tuple(trained.variables for _, trained in teachers))


def precomputed(
    inputs: Inputs,
    teachers: Sequence[tuple[str, Trained]],
    *,
    window: int,
    batch_size: int,
    cache: pathlib.Path,
    parallel: Parallel | None = None,
) -> Inputs:
    """Returns a student's inputs with its teachers' logits on all of its fixed windows.

    Each teacher runs once over them; its logits are kept in `cache`/NAME.npy, so that several students and a resumed
    run share them.

    Args:
      inputs: from `plain_inputs`, with n records and K windows each.
      parallel: the devices that precompute, with the store on all of them; None: one device.
    """
    records, starts = np.asarray(inputs.records), np.asarray(inputs.shifts)
    stacked = []

    def answer(name: str, trained: Trained) -> np.ndarray:
        predictor = predict.Predictor(
            trained.lead_network, trained.variables, window, batch_size, parallel=parallel or one_device()
        )
        index = np.repeat(records, starts.shape[1])
        logits = predictor.logits(inputs.store, index, starts.reshape(-1), progress=f"{name} teaches")
        return logits.reshape(*starts.shape, -1)

    for name, trained in teachers:
        stacked.append(cached(cache / f"{name}.npy", functools.partial(answer, name, trained)))
    return inputs.replace(teacher_logits=jnp.asarray(np.stack(stacked, axis=2)))


def of_records(inputs: Inputs, logits: Sequence[np.ndarray]) -> Inputs:
    """Returns a student's inputs with its teachers' logits for whole records; every draw is a fresh window.

    Args:
      inputs: from `plain_inputs`, with n records and no fixed windows.
      logits: of each teacher, (n, classes).
    """
    return inputs.replace(teacher_logits=jnp.asarray(np.stack(logits, axis=1))[:, None])


def cached(path: pathlib.Path, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Returns the array that `path` holds, or computes and keeps it there."""
    found = processes.from_first(lambda: np.load(path) if path.exists() else None)
    if found is None:
        found = compute()
        if processes.is_first():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda scratch: np.save(scratch, found))
    return found
