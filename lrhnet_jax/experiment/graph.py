"""The distillation graph: which networks there are, what they read, and who teaches whom.

An experiment's config names networks; this module checks them and orders them so that teachers come first. It knows
no file and no array.
"""

import collections
import dataclasses
import graphlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lrhnet_jax import losses, models
from lrhnet_jax.compress import search
from lrhnet_jax.ecg.leads import LeadError, check_leads
from lrhnet_jax.errors import ConfigError, check_fields, choose
from lrhnet_jax.experiment import check
from lrhnet_jax.report import seed_groups

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
        check_fields(where, fields, sorted(known))
        choose(f"{where}.model", fields.get("model"), models.NAMES, noun="model")
        own = dict(fields.get("train", {}))
        check_fields(f"{where}.train", own, sorted(train))
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
        check.teachers(parsed[name], networks)
    for network in parsed.values():
        check.pruning(network, parsed)
    return _order(parsed)


def comparisons(networks: Sequence[Network]) -> list[tuple[str, str]]:
    """Returns the pairs of networks whose difference answers a question.

    These are every network and its teachers, every run of a recipe and its undistilled network (see `seed_groups`), and
    among the networks that are not such runs, all that read the same leads.
    """
    described: dict[str, seed_groups.Described] = {
        network.name: {
            "model": network.model,
            "leads": list(network.leads),
            "recipe": network.recipe,
            "seed": network.seed,
        }
        for network in networks
    }
    pairs = []
    for i, network in enumerate(networks):
        if undistilled := seed_groups.undistilled(described, network.name):
            pairs.append((network.name, undistilled))
        pairs += [
            (other.name, network.name)
            for other in networks[:i]
            if other.name in network.teachers or (other.leads == network.leads and not (other.recipe or network.recipe))
        ]
    return pairs


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
