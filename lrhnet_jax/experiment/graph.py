"""The distillation graph: which networks there are, what they read, and who teaches whom.

An experiment's config names networks; this module checks them and orders them so that teachers come first. It knows
no file and no array.
"""

import collections
import dataclasses
import graphlib
from collections.abc import Mapping, Sequence
from typing import Any

from lrhnet_jax import models
from lrhnet_jax.ecg.leads import LeadError, check_leads
from lrhnet_jax.errors import ConfigError, check_fields, choose
from lrhnet_jax.experiment import check
from lrhnet_jax.experiment.network import Network
from lrhnet_jax.report import seed_groups


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
            start=fields.get("start", ""),
            prune=dict(fields.get("prune", {})),
            seed=fields.get("seed", 0),
            recipe=fields.get("recipe", ""),
        )
        check.teachers(parsed[name], networks)
    for network in parsed.values():
        check.pruning(network, parsed)
        check.start(network, parsed)
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
        raise ConfigError(f"config.networks: the teachers (and tickets, and starts) form a cycle: {cycle}") from error


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
