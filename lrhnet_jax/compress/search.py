"""The goal-driven search for the smallest network that scores as well: which round comes next, and when to stop.

Round 0 is the dense network. Every later round keeps a share 1 - p of the units (weights or channels) of the round
that it starts from, and is trained and scored; p is the rate. Over-pruning is undone: after `patience` rounds in a row
whose score is below (1 - tolerance) times the dense network's, the search goes back to the last good round and halves
the rate (LTH-ECG). This module knows no array and no file.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from lrhnet_jax.errors import ConfigError, check_fields, choose

UNITS = ("weight", "channel")
SCHEDULES = ("constant", "divide", "root")
CONTROLS = ("none", "random_mask", "random_init")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a network is pruned; the field `prune` of a network in the graph.

    Attributes:
      unit: "weight" (zeros in kernels of unchanged shape) or "channel" (channels inside blocks, whose kernels shrink).
      schedule: of the rate from round to round; see `next_rate`.
      rate: of the first pruned round, the share of the units left that goes.
      alpha: above 1, how fast the schedules "divide" and "root" slow down.
      tolerance: the loss of validation score, as a share of the dense network's, that is accepted.
      patience: rounds in a row below that score before the search steps back.
      goal: stop at so many times fewer units; 0: as few as the tolerance lets.
      floor: stop when the rate falls below it.
      max_rounds: stop after so many rounds, the dense one not counted.
      rewind: "weight" only: surviving weights start every round as they were after this share of the dense training's
        steps; 0: as they were initialised.
      control: to compare tickets with. "random_mask" drops random weights instead of the smallest, "random_init" starts
        the surviving weights from another initialisation.
      ticket: another network of the graph, whose mask is trained once instead of a search of its own.
    """

    unit: str = "weight"
    schedule: str = "constant"
    rate: float = 0.2
    alpha: float = 1.1
    tolerance: float = 0.01
    patience: int = 2
    goal: float = 0.0
    floor: float = 0.01
    max_rounds: int = 100
    rewind: float = 0.0
    control: str = "none"
    ticket: str = ""


def parse(fields: Mapping[str, Any], where: str) -> Settings:
    """Returns the settings of a network's `prune`; what is not given has its default.

    Args:
      where: the field's name, for messages.

    Raises:
      ConfigError: for an unknown field or choice, or an impossible number.
    """
    known = [field.name for field in dataclasses.fields(Settings)]
    check_fields(where, fields, known)
    settings = Settings(**fields)
    for name, valid in (("unit", UNITS), ("schedule", SCHEDULES), ("control", CONTROLS)):
        choose(f"{where}.{name}", getattr(settings, name), valid)
    for name, right, wanted in (
        ("rate", 0 < settings.rate < 1, "between 0 and 1"),
        ("alpha", settings.alpha > 1, "above 1"),
        ("tolerance", 0 <= settings.tolerance < 1, "at least 0 and below 1"),
        ("patience", settings.patience >= 1, "at least 1"),
        ("goal", settings.goal == 0 or settings.goal > 1, "above 1, or 0 for none"),
        ("floor", 0 < settings.floor < 1, "between 0 and 1"),
        ("max_rounds", settings.max_rounds >= 1, "at least 1"),
        ("rewind", 0 <= settings.rewind < 1, "at least 0 and below 1"),
    ):
        if not right:
            raise ConfigError(f"{where}.{name}: {getattr(settings, name)} is not {wanted}")
    if settings.unit == "channel":
        for name in ("rewind", "control", "ticket"):
            if getattr(settings, name) not in (0, "none", ""):
                raise ConfigError(f"{where}.{name}: only weights are rewound and controlled; leave it out for channels")
    return settings


def next_rate(schedule: str, rate: float, alpha: float) -> float:
    """Returns the rate of the round after one with `rate`.

    "constant": the same. "divide": p / alpha; the product of all 1 - p has a limit, so that the size has a floor (36.7
    times fewer from 30 % with alpha 1.1). "root": p ** (1 / alpha) with p in percent, which falls towards 1 %, so that
    any size is reached (142 times fewer in 348 rounds from the same start); below 1 % it stays as it is.
    """
    if schedule == "divide":
        return rate / alpha
    if schedule == "root":
        return min(rate, (100 * rate) ** (1 / alpha) / 100)
    return rate


@dataclasses.dataclass(frozen=True)
class Round:
    """A round of the search.

    Attributes:
      index: from 0, the dense network.
      parent: the round whose trained network was pruned further; None for the dense one.
      rate: the share of the parent's units that went.
      kept: units left.
      score: on the validation part; None before the round has run.
      decision: what followed from it: "dense", "good", "below", or "step back" (below once too often); "" before.
    """

    index: int
    parent: int | None
    rate: float
    kept: int
    score: float | None = None
    decision: str = ""


@dataclasses.dataclass(frozen=True)
class Search:
    """A search so far: a value that `record` turns into the next one. `to_json` is all that a killed one needs.

    Attributes:
      settings: how the network is pruned.
      total: units of the dense network.
      least: units that have to stay.
      rounds: those that have run, with their scores.
    """

    settings: Settings
    total: int
    least: int = 1
    rounds: tuple[Round, ...] = ()

    @property
    def goal_kept(self) -> int:
        """The units that are left at the goal; without one, those that have to stay."""
        return max(self.least, round(self.total / self.settings.goal) if self.settings.goal else 0)

    @property
    def best(self) -> Round:
        """The last good round, with the fewest units among the good ones; the dense one if no other is good."""
        return next(r for r in reversed(self.rounds) if r.decision in ("good", "dense"))

    @property
    def threshold(self) -> float:
        """The score that a round has to reach."""
        return (1 - self.settings.tolerance) * (self.rounds[0].score or 0.0)

    def next(self) -> Round | None:
        """Returns the round to run, without a score; None when the search has ended (`ending` says why)."""
        return self._plan()[0]

    @property
    def ending(self) -> str:
        """Why the search has ended; empty while it goes on."""
        return self._plan()[1]

    def _plan(self) -> tuple[Round | None, str]:
        settings = self.settings
        if not self.rounds:
            return Round(0, None, 0.0, self.total), ""
        last, best = self.rounds[-1], self.best
        if best.kept <= self.goal_kept:
            reached = settings.goal and best.kept <= round(self.total / settings.goal)
            return None, "the goal is reached" if reached else "a further round would drop no unit"
        if len(self.rounds) > settings.max_rounds:
            return None, f"all {settings.max_rounds} rounds have run"
        if last.decision == "step back":
            parent, rate = best, last.rate / 2
        elif last.index == 0:
            parent, rate = last, settings.rate
        else:
            parent, rate = last, next_rate(settings.schedule, last.rate, settings.alpha)
        tried = {r.kept for r in self.rounds if r.parent == parent.index}
        while (kept := max(self.goal_kept, round(parent.kept * (1 - rate)))) in tried:
            rate /= 2  # the goal may cut different rates to one size, whose training would only be repeated
        if rate < settings.floor:
            return None, f"the rate has fallen below {settings.floor:g}"
        if kept >= parent.kept:
            return None, "a further round would drop no unit"
        return Round(len(self.rounds), parent.index, rate, kept), ""

    def record(self, score: float) -> "Search":
        """Returns the search after `next` has run and scored.

        Raises:
          ValueError: if the search has ended, or the dense network's score is not a finite number.
        """
        planned = self.next()
        if planned is None:
            raise ValueError(f"the search has ended: {self.ending}")
        if not self.rounds:
            if not math.isfinite(score):
                raise ValueError(f"the dense network's score is {score}")
            decision = "dense"
        elif score >= self.threshold:
            decision = "good"
        else:
            below = 1
            for earlier in reversed(self.rounds):
                if earlier.decision != "below":
                    break
                below += 1
            # At the goal there is nothing more to drop, so that waiting for another round would be in vain.
            exhausted = below >= self.settings.patience or planned.kept <= self.goal_kept
            decision = "step back" if exhausted else "below"
        done = dataclasses.replace(planned, score=float(score), decision=decision)
        return dataclasses.replace(self, rounds=(*self.rounds, done))

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Search":
        rounds = tuple(Round(**row) for row in value["rounds"])
        return cls(Settings(**value["settings"]), value["total"], value["least"], rounds)
