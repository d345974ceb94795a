"""One node of the distillation graph: a network, what it reads, and who teaches it."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from lrhnet_jax import losses
from lrhnet_jax.compress import search

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
      start: another network, of the same model and options, from whose variables it starts; of the stem it takes what
        belongs to its own leads. Empty: it starts at random.
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
    start: str = ""
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
        return list(dict.fromkeys([*self.teachers, *filter(None, (ticket, self.start))]))

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
