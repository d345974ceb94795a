"""The distillation graph: which networks there are, what they read, and who teaches whom.

An experiment's config names networks; this module checks them and orders them so that teachers come first. It knows
no file and no array.
"""

import collections
import dataclasses
import graphlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lrhnet_jax import losses, models
from lrhnet_jax.compress import channels, search
from lrhnet_jax.ecg.leads import LeadError, check_leads
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.scoring import seed_groups

# Training fields that are numbers told to a compiled step, which serves networks that differ in them.
NUMBERS = ("alpha", "kl_weight", "temperature", "learning_rate")


@dataclasses.dataclass(frozen=True)
class Network:
    """One node of the graph.

    Attributes:
      name: unique in the experiment.
      model: one of `models.NAMES`.
      leads: the leads it reads, in the order of `leads.LEADS`.
      teachers: name -> weight, summing to one; empty for a network that learns from labels alone.
      options: further arguments of `models.create`.
      train: its training fields: the experiment's, with the network's own over them.
      checkpoint: a trained network's folder, or a .pth file of the reference, to load instead of training.
      prune: how it is pruned, fields of `search.Settings`; empty: not at all.
      seed: beside the experiment's own it decides initialisation, order of records and windows. Networks of one seed
        and shape start from the same values, and see the same windows in the same order.
      recipe: what it is a run of, among others of other seeds; empty: of nothing. "alone" is the recipe of networks
        that learn from labels alone, and what a recipe gains is measured against.
    """

    name: str
    model: str
    leads: tuple[str, ...]
    teachers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    train: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    checkpoint: str = ""
    prune: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0
    recipe: str = ""

    @property
    def pruning(self) -> search.Settings | None:
        """How it is pruned; None: not at all."""
        return search.parse(self.prune, f"config.networks.{self.name}.prune") if self.prune else None

    @property
    def needs(self) -> list[str]:
        """The networks that have to be trained before it."""
        ticket = self.pruning.ticket if self.pruning else ""
        return [*self.teachers, *([ticket] if ticket else [])]

    @property
    def step_key(self) -> str:
        """What a compiled step is made for, whoever the teachers are: equal for networks that can share one."""
        fixed = {field: value for field, value in self.train.items() if field not in NUMBERS}
        return json.dumps([self.model, self.leads, dict(self.options), fixed], sort_keys=True)

    @property
    def can_train_together(self) -> bool:
        """Whether it can train at once with others: neither loaded nor pruned, nor taught by a teacher's features."""
        method = losses.METHODS.get(self.train["method"]["name"])
        return not (self.checkpoint or self.prune or (method and method.needs_teacher))


def parse(networks: Mapping[str, Mapping[str, Any]], train: Mapping[str, Any]) -> list[Network]:
    """Checks the networks of a config and returns them in training order, teachers first.

    Raises:
      ConfigError: for a cycle, an unknown teacher, model, lead or field, or weights that do not sum to one.
    """
    if not networks:
        raise ConfigError("config.networks is empty: name at least one network")
    known = {field.name for field in dataclasses.fields(Network)} - {"name"}
    parsed = {}
    for name, fields in networks.items():
        fields = dict(fields)
        where = f"config.networks.{name}"
        if not set(fields) <= known:
            unknown = ", ".join(sorted(set(fields) - known))
            raise ConfigError(f"{where}: unknown field {unknown}; the fields are {', '.join(sorted(known))}")
        if fields.get("model") not in models.NAMES:
            raise ConfigError(f"{where}.model: unknown model {fields.get('model')!r}; choose {', '.join(models.NAMES)}")
        own = dict(fields.get("train", {}))
        if not set(own) <= set(train):
            unknown = ", ".join(sorted(set(own) - set(train)))
            raise ConfigError(f"{where}.train: unknown field {unknown}; the fields are {', '.join(sorted(train))}")
        try:
            leads = check_leads(fields.get("leads", ()))
        except LeadError as error:
            raise ConfigError(f"{where}.leads: {error}") from error
        parsed[name] = Network(
            name=name,
            model=fields["model"],
            leads=leads,
            teachers={teacher: float(weight) for teacher, weight in dict(fields.get("teachers", {})).items()},
            options=dict(fields.get("options", {})),
            train={**train, **own},
            checkpoint=fields.get("checkpoint", ""),
            prune=dict(fields.get("prune", {})),
            seed=fields.get("seed", 0),
            recipe=fields.get("recipe", ""),
        )
        _check_teachers(parsed[name], set(networks))
    for network in parsed.values():
        _check_pruning(network, parsed)
    return _order(parsed)


def comparisons(networks: Sequence[Network]) -> list[tuple[str, str]]:
    """Returns the pairs of networks whose difference answers a question.

    These are every network and its teachers, every run of a recipe and its undistilled network (see `recipes`), and
    among the networks that are no such runs, all that read the same leads.
    """
    known = {network.name for network in networks}
    pairs = []
    for i, network in enumerate(networks):
        if (undistilled := seed_groups.undistilled(network.name)) in known:
            pairs.append((network.name, undistilled))
        pairs += [
            (other.name, network.name)
            for other in networks[:i]
            if other.name in network.teachers
            or (
                other.leads == network.leads
                and not (seed_groups.is_run(other.name) or seed_groups.is_run(network.name))
            )
        ]
    return pairs


def _check_teachers(network: Network, names: set[str]) -> None:
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


def _check_pruning(network: Network, parsed: Mapping[str, Network]) -> None:
    settings = network.pruning
    if settings is None:
        return
    where = f"config.networks.{network.name}"
    if network.checkpoint:
        raise ConfigError(f"{where}: it is loaded from a checkpoint, so it cannot be pruned; start from its training")
    if settings.unit == "channel" and network.model not in channels.NAMES:
        raise ConfigError(
            f"{where}.prune.unit: {network.model} has no channels to prune; choose {', '.join(channels.NAMES)}"
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


def _order(parsed: dict[str, Network]) -> list[Network]:
    sorter = graphlib.TopologicalSorter({name: network.needs for name, network in parsed.items()})
    try:
        return [parsed[name] for name in sorter.static_order()]
    except graphlib.CycleError as error:
        cycle = " -> ".join(reversed(error.args[1]))
        raise ConfigError(f"config.networks: the teachers (and tickets) form a cycle: {cycle}") from error


def populations(networks: Sequence[Network]) -> list[list[Network]]:
    """Returns the networks in sets that can train at once: compatible, none needing another; in training order.

    A network waits for those that are compatible and come later, where that makes the set larger.
    """
    waiting, done, sets = list(networks), set[str](), []
    while waiting:
        ready: dict[str, list[Network]] = {}
        for network in waiting:
            if set(network.needs) <= done:
                ready.setdefault(network.step_key if network.can_train_together else network.name, []).append(network)
        compatible = collections.Counter(network.step_key for network in waiting if network.can_train_together)
        whole = [m for m in ready.values() if not m[0].can_train_together or len(m) == compatible[m[0].step_key]]
        chosen = whole or [next(iter(ready.values()))]
        sets += chosen
        done |= {network.name for members in chosen for network in members}
        waiting = [network for network in waiting if network.name not in done]
    return sets


def teachers_of(networks: Sequence[Network]) -> list[str]:
    """Returns the teachers of any of the networks, each once, in the order in which they are first named."""
    return list(dict.fromkeys(name for network in networks for name in network.teachers))
