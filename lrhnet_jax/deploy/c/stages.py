"""How a program is computed in little memory: in stages, each of which makes one tensor that is kept as a whole.

A tensor over time may also be streamed: it never lies in memory as a whole. Every stage that needs it computes its rows
anew, a few at a time, into a line buffer that holds what the next rows need. So LRH-Net's first layers, of 64 KiB each,
pass through a few hundred bytes. The price is to compute them again in every such stage: squeeze-excite needs a mean
over all time before the next layer can begin.

A stage's output may lie where its input does, a little in front: rows that have been read for the last time make room
for those that are written. `Stage.lags` says how many bytes in front is safe.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from lrhnet_jax.deploy.int8 import program as ints
from lrhnet_jax.deploy.int8.program import Program, Step

TILE = 32  # rows of a stage's output at a time


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage.

    Attributes:
      members: streamed steps that it computes on the way, in their order.
      sinks: what it is for: one step, or several that reduce the same tensor to vectors.
      capacities: rows of each member's line buffer.
      lags: by tensor that it reads as a whole: bytes that its output has to lie in front of it, if it is to overlap it.
    """

    members: tuple[str, ...]
    sinks: tuple[str, ...]
    capacities: Mapping[str, int]
    lags: Mapping[str, int]


class Splitter:
    """Cuts a program into stages, for any choice of streamed tensors; what choices have in common is found once."""

    def __init__(self, program: Program):
        self.program = program
        self.steps = {step.name: step for step in program.steps}
        self.streamable = tuple(name for name in self.steps if program.tensors[name].rows)
        self._reductions: dict[str, list[str]] = {}
        for step in program.steps:
            if is_reduction(step):
                self._reductions.setdefault(step.x, []).append(step.name)
        self._known: dict[tuple[tuple[str, ...], tuple[str, ...]], Stage] = {}

    def split(self, streamed: frozenset[str]) -> tuple[Stage, ...]:
        """Returns the stages in their order."""
        stages = []
        for step in self.program.steps:
            if step.name in streamed or isinstance(step, ints.Concat):
                continue
            sinks = tuple(self._reductions[step.x]) if is_reduction(step) else (step.name,)
            if sinks[0] == step.name:
                members = self._members(streamed, sinks)
                if (members, sinks) not in self._known:
                    self._known[members, sinks] = self._walk(members, sinks)
                stages.append(self._known[members, sinks])
        return tuple(stages)

    def rows(self, stage: Stage) -> int:
        """Returns how many rows a stage goes through; 0 where there are only vectors."""
        step = self.steps[stage.sinks[0]]
        return self.program.tensors[step.x if is_reduction(step) else step.name].rows

    def multiplications(self, stages: Sequence[Stage]) -> int:
        """Returns the products of weights that all stages compute, those computed again included."""
        names = [name for stage in stages for name in (*stage.members, *stage.sinks)]
        return sum(self.program.multiplications(self.steps[name]) for name in names)

    def _members(self, streamed: frozenset[str], sinks: tuple[str, ...]) -> tuple[str, ...]:
        needed = set(sinks)
        for name, step in reversed(self.steps.items()):
            if name in needed:
                needed.update(one for one in step.inputs if one in streamed)
        return tuple(name for name in self.steps if name in needed and name not in sinks)

    def _walk(self, members: tuple[str, ...], sinks: tuple[str, ...]) -> Stage:
        """Goes through a stage's rows as the C program will, and notes how much has to be in memory."""
        steps = {name: self.steps[name] for name in (*members, *sinks)}
        rows = self.rows(Stage(members, sinks, {}, {}))
        readers: dict[str, list[Step]] = {}
        for step in steps.values():
            for name in reads(step):
                readers.setdefault(name, []).append(step)
        whole = [name for name in readers if name not in members and self.program.tensors[name].rows]
        end = dict.fromkeys(steps, 0)
        capacities, lags = dict.fromkeys(members, 0), dict.fromkeys(whole, 0)
        while end[sinks[0]] < rows:
            begin = dict(end)
            for sink in sinks:
                end[sink] = min(end[sink] + TILE, rows)
            for name in reversed(members):
                total = self.program.tensors[name].rows
                end[name] = max(last_row(step, name, end[step.name], total) for step in readers[name])
                kept = min(max(0, first_row(step, name, begin[step.name])) for step in readers[name])
                kept = min(kept, begin[name])  # rows that no reader needs are computed all the same
                capacities[name] = max(capacities[name], end[name] - kept)
            for name in whole:
                lags[name] = max(lags[name], self._lag(readers[name], name, sinks[0], begin, end))
        return Stage(members, sinks, capacities, lags)

    def _lag(
        self, readers: Sequence[Step], name: str, sink: str, begin: Mapping[str, int], end: Mapping[str, int]
    ) -> int:
        """Returns how far the output's rows of one turn reach into rows of a tensor that are still to be read."""
        source, output = self.program.tensors[name], self.program.tensors[sink]
        if not output.rows:
            return 0
        later = [first_row(step, name, end[step.name]) for step in readers if step.name != sink]
        lag = 0
        for row in range(begin[sink], end[sink]):
            firsts = list(later)
            for step in readers:
                if step.name == sink:
                    in_place = _value_by_value(step, name) and output.row_bytes == source.row_bytes
                    firsts.append(first_row(step, name, row + 1 if in_place else row))
            first = min(max(0, min(firsts)), source.rows)
            lag = max(lag, (row + 1) * output.row_bytes - first * source.row_bytes)
        return lag


def is_reduction(step: Step) -> bool:
    """Whether a step makes a vector of a tensor over time."""
    return isinstance(step, ints.Means | ints.Maximum)


def reads(step: Step) -> tuple[str, ...]:
    """Returns the tensors that a step reads row by row: all its inputs but the gate."""
    gate = getattr(step, "gate", "")
    return tuple(name for name in step.inputs if name != gate)


def first_row(step: Step, name: str, row: int) -> int:
    """Returns the first row of an input that a step needs for its row `row` and those behind it; it may be negative."""
    return row * step.stride - step.before if slides(step, name) else row  # type: ignore[attr-defined]


def last_row(step: Step, name: str, end: int, rows: int) -> int:
    """Returns the row, of `rows`, behind the last one of an input that a step needs for its rows before `end`."""
    if not slides(step, name):
        return min(end, rows)
    return min((end - 1) * step.stride - step.before + window(step), rows)  # type: ignore[attr-defined]


def window(step: Step) -> int:
    """Returns how many rows of its first input a step sees at once."""
    return step.window if isinstance(step, ints.MaxPool) else getattr(step, "taps", 1)


def slides(step: Step, name: str) -> bool:
    """Whether a step sees several rows of an input, or leaves some out."""
    if isinstance(step, ints.Linear):
        return name == step.x and step.kind == "conv"
    return isinstance(step, ints.MaxPool)


def _value_by_value(step: Step, name: str) -> bool:
    """Whether a step reads each value of an input just before it writes in the same place of its output."""
    return isinstance(step, ints.Linear) and (name != step.x or step.kind == "pointwise")
