"""Checks a config before anything is trained or claimed: what each field may be, and what fields may be together.

`graph.parse` calls what concerns the graph; `run` calls the rest, in the order of this file.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import numpy as np
from ml_collections import ConfigDict

from lrhnet_jax import losses, models, tasks
from lrhnet_jax.data import splits, stream
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.errors import ConfigError, DataError, choose
from lrhnet_jax.experiment.network import Network
from lrhnet_jax.scoring.score import epoch_score
from lrhnet_jax.training import optim
from lrhnet_jax.training.augment import Augmentation
from lrhnet_jax.training.state import variable_shapes


def teachers(network: Network, names: Iterable[str]) -> None:
    """Raises ConfigError for teachers that are not among the networks, or weights that do not sum to one."""
    where = f"config.networks.{network.name}.teachers"
    for teacher, weight in network.teachers.items():
        if teacher not in names:
            raise ConfigError(f"{where}: no network is called {teacher!r}; there are {', '.join(sorted(names))}")
        if not (math.isfinite(weight) and weight > 0):
            raise ConfigError(f"{where}.{teacher}: the weight {weight} is not a positive number")
    total = sum(network.teachers.values())
    if network.teachers and abs(total - 1) > 1e-6:
        raise ConfigError(f"{where}: the weights sum to {total:g}, not to 1")
    if network.teachers and network.checkpoint:
        raise ConfigError(f"config.networks.{network.name}: it is loaded from a checkpoint, so it cannot have teachers")


def pruning(network: Network, parsed: Mapping[str, Network]) -> None:
    """Raises ConfigError for a network that cannot be pruned as it says, or whose ticket is of another network."""
    settings = network.pruning
    if settings is None:
        return
    where = f"config.networks.{network.name}"
    if network.checkpoint:
        raise ConfigError(f"{where}: it is loaded from a checkpoint, so it cannot be pruned; start from its training")
    if settings.unit == "channel" and network.model not in models.prunable():
        raise ConfigError(
            f"{where}.prune.unit: {network.model} has no channels to prune; choose {', '.join(models.prunable())}"
        )
    if settings.ticket:
        other = parsed.get(settings.ticket)
        if other is None or other.pruning is None or other.pruning.unit != "weight":
            raise ConfigError(f"{where}.prune.ticket: no network {settings.ticket!r} whose weights are pruned")
        for field in ("model", "leads", "options"):
            if getattr(other, field) != getattr(network, field):
                raise ConfigError(
                    f"{where}.prune.ticket: {settings.ticket} has another {field}, so its mask cannot fit"
                )


def start(network: Network, parsed: Mapping[str, Network]) -> None:
    """Raises ConfigError for a network that cannot start from another's variables as it says."""
    if not network.start:
        return
    where, other = f"config.networks.{network.name}.start", parsed.get(network.start)
    if other is None:
        raise ConfigError(f"{where}: no network is called {network.start!r}; there are {', '.join(sorted(parsed))}")
    if network.checkpoint or network.prune:
        raise ConfigError(f"{where}: a network that is loaded or pruned starts elsewhere; leave it empty")
    if (other.model, dict(other.options)) != (network.model, dict(network.options)):
        raise ConfigError(f"{where}: {other.name} is another network than {network.name}, by model or options")
    if missing := [lead for lead in network.leads if lead not in other.leads]:
        raise ConfigError(f"{where}: {other.name} does not read {', '.join(missing)}")


def method(network: Network, parallel: str) -> losses.Method | None:
    """Returns the distillation method of a network.

    Args:
      parallel: how its steps run, "jit" or "pmap".

    Raises:
      ConfigError: for an unknown one, or one that this network or `parallel` cannot have.
    """
    own, where = dict(network.train["method"]), f"config.networks.{network.name}.train.method"
    teacher, names = own.pop("teacher", ""), list(network.teachers)
    try:
        made = losses.make_method(own)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    if made and made.needs_teacher:
        if not names:
            raise ConfigError(f"{where}: {own['name']} learns from a teacher's features; name one in teachers")
        if (teacher or len(names) > 1) and teacher not in names:
            raise ConfigError(f"{where}.teacher: {teacher!r} is not one of the teachers {', '.join(names)}")
    if made and made.across_records and parallel == "pmap":
        raise ConfigError(f"{where}: {own['name']} needs the whole batch in one place; set config.parallel=jit")
    return made


def augmentation(network: Network, rate: float, teacher_logits: str = "in_graph") -> Augmentation:
    """Returns what is done to a network's windows before any network reads them.

    Args:
      rate: Hz, of the signals.
      teacher_logits: as in the config: precomputed ones are those of unchanged windows.

    Raises:
      ConfigError: for an unknown change, a value it cannot have, or one that teachers or method cannot have.
    """
    fields, where = network.train, f"config.networks.{network.name}.train"
    try:
        made = Augmentation(**fields["augment"], rate=rate)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}.augment: {error}") from error
    chosen = losses.METHODS.get(fields["method"]["name"])
    if made.mixup and chosen and chosen.across_records:
        name = fields["method"]["name"]
        raise ConfigError(f"{where}.augment.mixup: {name} compares records, not mixtures of two; set it to 0")
    beforehand = network.teachers and teacher_logits != "in_graph" and not (chosen and chosen.needs_teacher)
    if made and beforehand and (teacher_logits == "precomputed" or made.mixup):
        raise ConfigError(
            f"{where}.augment changes the windows, and precomputed logits are those of unchanged ones; set "
            "config.teacher_logits=in_graph (or record, which is for whole records, whatever the window; not for mixup)"
        )
    return made


def cross_fitting(network: Network, networks: Sequence[Network], teacher_logits: str) -> None:
    """Raises ConfigError for a network whose teachers cannot be trained again without some of the records."""
    parts, where = network.train["cross_fit"], f"config.networks.{network.name}.train.cross_fit"
    method = network.train["method"]["name"]
    if parts == 0 or not network.teachers:
        return
    if teacher_logits != "record":
        raise ConfigError(f"{where}: copies of a teacher answer for whole records; set config.teacher_logits=record")
    if parts < 2:
        raise ConfigError(f"{where}: {parts} parts are too few; give at least 2, or 0 for the teachers themselves")
    chosen = losses.METHODS.get(method)
    if chosen and chosen.needs_teacher:
        raise ConfigError(f"{where}: {method} reads features of the teacher itself; set it to 0")
    for teacher in networks:
        if teacher.name in network.teachers and (teacher.teachers or teacher.checkpoint or teacher.prune):
            raise ConfigError(
                f"{where}: {teacher.name} has to learn from labels alone, here and unpruned, so that copies of it have "
                "not seen the records that they answer for"
            )


def experiment(config: ConfigDict) -> tasks.Dataset:
    """Checks the fields of the experiment as a whole; returns the data set that it is for.

    Raises:
      ConfigError: for a field whose value it cannot have.
    """
    choose("config.data", config.data, tasks.choices(config.datasets))
    dataset = tasks.choose(config.data, config.datasets)
    evaluation = config.evaluation
    for field, value, valid in (
        ("teacher_logits", config.teacher_logits, ("precomputed", "in_graph", "record")),
        ("dtype", config.dtype, ("float32", "bfloat16")),
        ("preprocess", config.preprocess, dataset.preprocess),
        ("input", config.input, stream.KINDS),
        ("evaluation.protocol", evaluation.protocol, ("leak_free", "reference", "published")),
        ("evaluation.windows", evaluation.windows, ("cover", "random")),
        ("evaluation.decision", evaluation.decision, ("threshold", "threshold_or_top1")),
        ("fold", str(config.fold), (*map(str, range(splits.NUM_FOLDS)), "all")),
    ):
        choose(f"config.{field}", value, valid)
    if config.population < 0:
        raise ConfigError(f"config.population: {config.population} is not a number of networks; 0 trains one at a time")
    if config.window < 64:
        raise ConfigError(f"config.window: {config.window} samples are less than a heartbeat; the paper has 4096")
    if config.windows_per_record < 0 or (config.teacher_logits == "precomputed" and config.windows_per_record == 0):
        raise ConfigError(
            "config.windows_per_record: precomputed teacher logits need at least 1 fixed window a record; with "
            "--config.teacher_logits=in_graph, 0 draws a fresh window every time"
        )
    if config.teacher_logits == "record" and config.windows_per_record:
        raise ConfigError(
            "config.windows_per_record: where teachers answer for whole records, a fresh window is drawn every time; "
            "set it to 0"
        )
    _numbers(
        "config",
        ("seed", config.seed, 0 <= config.seed < 2**32, "a whole number from 0 to 4294967295"),
        ("synthetic_records", config.synthetic_records, config.synthetic_records >= 1, "at least 1"),
        ("steps_per_dispatch", config.steps_per_dispatch, config.steps_per_dispatch >= 0, "at least 0"),
        ("evaluation.validation_parts", evaluation.validation_parts, evaluation.validation_parts >= 2, "at least 2"),
        (
            "evaluation.window",
            evaluation.window,
            evaluation.window == 0 or evaluation.window >= 64,
            "at least 64 samples, or 0 for config.window",
        ),
        ("evaluation.resamples", evaluation.resamples, evaluation.resamples >= 1, "at least 1"),
        ("evaluation.batch_size", evaluation.batch_size, evaluation.batch_size >= 1, "at least 1"),
        (
            "evaluation.threshold_shrinkage",
            evaluation.threshold_shrinkage,
            0 <= evaluation.threshold_shrinkage < math.inf,
            "a number of at least 0",
        ),
    )
    return dataset


def training(network: Network) -> None:
    """Raises ConfigError for a training field of a network whose value it cannot have."""
    fields, where = network.train, f"config.networks.{network.name}.train"
    choose(f"{where}.keep", fields["keep"], ("best", "last"))
    choose(f"{where}.logit_kl", fields["logit_kl"], losses.KINDS)
    alpha, kl_weight = fields["alpha"], fields["kl_weight"]
    # What is left out is computed from alpha.
    most = math.inf if kl_weight is not None or not network.teachers else 1
    _numbers(
        f"config.networks.{network.name}",
        ("seed", network.seed, 0 <= network.seed < 2**32, "a whole number from 0 to 4294967295"),
    )
    _numbers(
        where,
        ("epochs", fields["epochs"], fields["epochs"] >= 1, "at least 1"),
        ("batch_size", fields["batch_size"], fields["batch_size"] >= 2, "at least 2"),
        ("learning_rate", fields["learning_rate"], 0 < fields["learning_rate"] < math.inf, "a number above 0"),
        ("weight_decay", fields["weight_decay"], 0 <= fields["weight_decay"] < math.inf, "a number of at least 0"),
        ("temperature", fields["temperature"], 0 < fields["temperature"] < math.inf, "a number above 0"),
        ("alpha", alpha, 0 <= alpha <= most and alpha < math.inf, "from 0 to 1; with kl_weight given, at least 0"),
        ("average", fields["average"], 0 <= fields["average"] < 1, "at least 0 and below 1"),
        ("kl_weight", kl_weight, kl_weight is None or 0 <= kl_weight < math.inf, "a number of at least 0"),
    )
    try:
        optim.make(fields, steps_per_epoch=1)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def model(network: Network, module: nn.Module, window: int) -> None:
    """Raises ConfigError if a network cannot read windows of that many samples."""
    try:
        variable_shapes(module, len(network.leads), window)
    except ConfigError as error:
        raise ConfigError(f"config.networks.{network.name}: {error}") from error


def _numbers(where: str, *rules: tuple[str, Any, bool, str]) -> None:
    for field, value, right, wanted in rules:
        if not right:
            raise ConfigError(f"{where}.{field}: {value} is not {wanted}")


def records(networks: Sequence[Network], dataset: Dataset, parted: Sequence[splits.Split]) -> None:
    """Raises DataError if the records of a fold are too few to train a network, or to choose its best epoch."""
    count = min(len(split.train) for split in parted)
    for network in networks:
        size = network.train["batch_size"]
        if size > count and not network.checkpoint:
            raise DataError(
                f"{network.name}: {count} training records do not fill a batch of {size}; lower config.train.batch_size"
            )
    for split in parted:
        validation(dataset, split)


def validation(dataset: Dataset, split: splits.Split) -> None:
    """Raises DataError if the validation part lacks classes without which no epoch can be chosen."""
    task, labels = dataset.task, dataset.labels[split.validation]
    if not np.isfinite(epoch_score(task, labels, labels.astype(np.float32))):  # of a perfect answer
        absent = [name for name, occurs in zip(task.classes, labels.any(axis=0), strict=True) if not occurs]
        raise DataError(
            f"{dataset.name}: no epoch can be chosen by {tasks.METRICS[task.epoch_metric]}, for the "
            f"{len(labels)} validation records have none of class {', '.join(absent)}; build a larger data set, or "
            "lower config.evaluation.validation_parts"
        )
