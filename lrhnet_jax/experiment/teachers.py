"""Trained networks as teachers: loaded from elsewhere, and their logits on the student's windows."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from lrhnet_jax import losses
from lrhnet_jax.data.batch import Inputs, LeadNetwork
from lrhnet_jax.data.store import Store
from lrhnet_jax.errors import CheckpointError, ConfigError
from lrhnet_jax.experiment import graph
from lrhnet_jax.models import torch_weights
from lrhnet_jax.runtime import processes
from lrhnet_jax.runtime.devices import Parallel
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
    log: dict[str, Any]


def distillation(
    network: graph.Network, parallel: str = "jit", exclusive: bool = False, among: Sequence[str] | None = None
) -> steps.Distillation:
    """Returns how a network of the graph learns from its teachers.

    Args:
      parallel: how its steps run, "jit" or "pmap".
      exclusive: a record has exactly one class.
      among: all teachers whose logits the step sees, the network's own among them; the others weigh nothing.

    Raises:
      ConfigError: for an unknown kind or method, or a method that this network or `parallel` cannot have.
    """
    fields, where = network.train, f"config.networks.{network.name}.train"
    if fields["logit_kl"] not in losses.KINDS:
        raise ConfigError(f"{where}.logit_kl: unknown value {fields['logit_kl']!r}; choose {', '.join(losses.KINDS)}")
    own, names = dict(fields["method"]), list(network.teachers)
    teacher = own.pop("teacher", "")
    try:
        method = losses.make_method(own)
    except ConfigError as error:
        raise ConfigError(f"{where}.method: {error}") from error
    if method and method.needs_teacher:
        if not names:
            raise ConfigError(f"{where}.method: {own['name']} learns from a teacher's features; name one in teachers")
        if (teacher or len(names) > 1) and teacher not in names:
            raise ConfigError(f"{where}.method.teacher: {teacher!r} is none of the teachers {', '.join(names)}")
    if method and method.across_records and parallel == "pmap":
        raise ConfigError(f"{where}.method: {own['name']} needs the whole batch in one place; set config.parallel=jit")
    seen = names if among is None else list(among)
    alpha, kl_weight = fields["alpha"], fields["kl_weight"]
    if seen and not names:  # it learns from labels alone
        alpha, kl_weight = 1.0, 0.0
    return steps.Distillation(
        weights=tuple(network.teachers.get(name, 0.0) for name in seen),
        alpha=alpha,
        temperature=fields["temperature"],
        t_squared=fields["t_squared"],
        kind=fields["logit_kl"],
        kl_weight=kl_weight,
        method=method,
        teacher=seen.index(teacher) if teacher in seen else 0,
        epochs=fields["epochs"],
        labels="exclusive" if exclusive else "independent",
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


def make_inputs(
    store: Store,
    records: np.ndarray,
    shifts: Any,
    teachers: Sequence[tuple[str, Trained]],
    *,
    precompute: bool,
    window: int,
    batch_size: int,
    cache: pathlib.Path,
    parallel: Parallel | None = None,
) -> Inputs:
    """Returns what a student's training reads: windows, and its teachers' logits or variables.

    Args:
      records: (n,) int32 training rows; shifts: (n, K) their fixed windows.
      precompute: run each teacher once over all n * K windows; the logits are kept in `cache`/NAME.npy, so that several
        students and a resumed run share them.
      parallel: the devices that precompute, with `store` on all of them.
    """
    classes = store.labels.shape[1]
    if not (teachers and precompute):
        return Inputs(
            store=store,
            records=jnp.asarray(records),
            shifts=shifts,
            teacher_logits=jnp.zeros((len(records), 0, 0, classes)),
            teachers=tuple(trained.variables for _, trained in teachers),
        )
    stacked = []
    for name, trained in teachers:
        path = cache / f"{name}.npy"
        logits = processes.from_first(functools.partial(_cached, path))
        if logits is None:
            count = shifts.shape[1]
            logits = predict.logits(
                trained.lead_network,
                trained.variables,
                store,
                np.repeat(records, count),
                np.asarray(shifts).reshape(-1),
                window,
                batch_size,
                progress=f"{name} teaches",
                parallel=parallel,
            ).reshape(len(records), count, classes)
            _save(path, logits)
        stacked.append(logits)
    return Inputs(
        store=store,
        records=jnp.asarray(records),
        shifts=shifts,
        teacher_logits=jnp.asarray(np.stack(stacked, axis=2)),
    )


def _cached(path: pathlib.Path) -> np.ndarray | None:
    return np.load(path) if path.exists() else None


def _save(path: pathlib.Path, logits: np.ndarray) -> None:
    if processes.is_first():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda scratch: np.save(scratch, logits))
