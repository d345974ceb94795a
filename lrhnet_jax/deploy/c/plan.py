"""Where everything lies in the arena, and which tensors are streamed so that it is small enough.

The arena has three parts: bytes for what is over time and for weights that a stage has unpacked, 16-bit vectors, and
32-bit scratch of the stage that is running.
"""

import dataclasses
import itertools
import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lrhnet_jax.deploy.c import weights
from lrhnet_jax.deploy.c.stages import Splitter, Stage, is_reduction, reads
from lrhnet_jax.deploy.int8 import program as ints
from lrhnet_jax.deploy.int8.program import Program
from lrhnet_jax.errors import ConfigError

ALIGNMENT = 4
DEFAULT_ARENA = 96 * 1024  # bytes: what a microcontroller of 128 KiB can give, beside its stack and the program around
SHUFFLES = 50  # orders in which the arena is filled, for the chosen schedule
STARTS = 6  # of the search for a schedule


@dataclasses.dataclass(frozen=True)
class Block:
    """Memory that something needs: a tensor that is kept as a whole, a line buffer, or a layer's unpacked weights.

    Attributes:
      name: of the tensor or the layer.
      size: bytes.
      first, last: stages in which it is in use; -1 is before the first one.
      stage: of a line buffer or weights; None for a tensor.
      weights: it is for weights.
    """

    name: str
    size: int
    first: int
    last: int
    stage: int | None = None
    weights: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
    """A schedule, and the arena.

    Attributes:
      stages: in their order.
      tensors: byte offset of every tensor that is kept as a whole, the signal among them.
      lines: byte offset of every line buffer, by stage and tensor.
      weights: byte offset of the weights that a stage unpacks, by stage and layer.
      tensor_bytes: the size of that part.
      vectors: offset of every vector among the 16-bit values.
      vector_count, scratch_count: 16-bit and 32-bit values.
      edge_at: offset, among the 32-bit values, of what a convolution sees where it reaches over an edge.
      multiplications: of all stages, for one window.
    """

    stages: tuple[Stage, ...]
    tensors: Mapping[str, int]
    lines: Mapping[tuple[int, str], int]
    weights: Mapping[tuple[int, str], int]
    tensor_bytes: int
    vectors: Mapping[str, int]
    vector_count: int
    scratch_count: int
    edge_at: int
    multiplications: int

    @property
    def arena_bytes(self) -> int:
        return _rounded(self.tensor_bytes) + _rounded(2 * self.vector_count) + 4 * self.scratch_count

    @property
    def packed(self) -> frozenset[str]:
        """The layers whose weights are sparse."""
        return frozenset(name for _, name in self.weights)


def make(program: Program, arena: int | None = None, sparse: bool = False) -> Plan:
    """Returns the plan of the fewest multiplications whose arena is small enough; of equals, that of the smallest one.

    Args:
      arena: bytes at most; None: `DEFAULT_ARENA`, or as little more as there is no way without.
      sparse: weights are stored sparse where that saves flash.

    Raises:
      ConfigError: if there is no plan for an arena of `arena` bytes.
    """
    limit = DEFAULT_ARENA if arena is None else arena
    best = _search(Splitter(program), weights.worth_packing(program) if sparse else {}, limit)
    if arena is not None and best.arena_bytes > arena:
        raise ConfigError(
            f"an arena of {arena:,} bytes is too small: this network needs {best.arena_bytes:,}; allow that many, or "
            "give it fewer channels, fewer leads or a shorter window"
        )
    return best


def least_arena(program: Program) -> int:
    """Returns the bytes of the smallest arena that a plan is found for, however often it computes things again."""
    return _search(Splitter(program), {}, 0).arena_bytes


def _search(splitter: Splitter, unpacked: Mapping[str, int], limit: int) -> Plan:
    """Starts with the first few tensors streamed, and streams one or two more or fewer for as long as that helps."""
    names = splitter.streamable
    least = splitter.multiplications(splitter.split(frozenset()))
    changes = [{name} for name in names] + [set(pair) for pair in itertools.pairwise(names)]
    known: dict[frozenset[str], tuple[int, int, int]] = {}

    def cost(streamed: frozenset[str]) -> tuple[int, int, int]:
        if streamed not in known:
            plan = _place(splitter, streamed, unpacked)
            known[streamed] = max(0, plan.arena_bytes - limit), plan.multiplications, plan.arena_bytes
        return known[streamed]

    candidates = []
    for count in np.linspace(0, len(names), STARTS).round().astype(int).tolist():
        best = frozenset(names[:count])
        better = True
        while better:
            better = False
            for change in changes:
                if cost(frozenset(best ^ change)) < cost(best):
                    best, better = frozenset(best ^ change), True
        candidates.append(best)
        if cost(best)[:2] == (0, least):
            break
    return _place(splitter, min(candidates, key=cost), unpacked, SHUFFLES)


def _place(splitter: Splitter, streamed: frozenset[str], unpacked: Mapping[str, int], shuffles: int = 0) -> Plan:
    program, stages = splitter.program, splitter.split(streamed)
    memory = blocks_of(program, stages, unpacked)
    offsets, size = _best_layout(memory, shuffles)
    vector_at, count = _vectors(program)
    scratch = max(_scratch(program, splitter, stage) for stage in stages)
    at = list(zip(memory.blocks, offsets, strict=True))
    return Plan(
        stages,
        {block.name: offset for block, offset in at if block.stage is None},
        {(block.stage, block.name): offset for block, offset in at if block.stage is not None and not block.weights},
        {(block.stage, block.name): offset for block, offset in at if block.stage is not None and block.weights},
        size,
        vector_at,
        count,
        scratch + _edge(program),
        scratch,
        splitter.multiplications(stages),
    )


class Blocks(NamedTuple):
    """What needs memory.

    Attributes:
      blocks: of all.
      near: by block, those that are in use in one of the same stages.
      lags: (output, input) -> bytes that it has to lie in front, if it is to overlap it. By places in `blocks`.
    """

    blocks: list[Block]
    near: list[list[int]]
    lags: dict[tuple[int, int], int]


def blocks_of(program: Program, stages: Sequence[Stage], unpacked: Mapping[str, int]) -> Blocks:
    """Returns what a schedule needs memory for.

    Args:
      unpacked: bytes of the weights of layers that are stored sparse.
    """
    first, last = {"signal": -1}, {"signal": 0}
    for index, stage in enumerate(stages):
        first |= {name: index for name in stage.sinks if program.tensors[name].rows}
        last |= {name: index for name in stage.lags}
    blocks = [
        Block(name, program.tensors[name].bytes, first[name], max(last.get(name, 0), first[name])) for name in first
    ]
    place = {block.name: index for index, block in enumerate(blocks)}
    lags = {
        (place[stage.sinks[0]], place[name]): _rounded(lag)
        for index, stage in enumerate(stages)
        for name, lag in stage.lags.items()
        if stage.sinks[0] in place and blocks[place[name]].last == index
    }
    blocks += [
        Block(name, rows * program.tensors[name].row_bytes, index, index, index)
        for index, stage in enumerate(stages)
        for name, rows in stage.capacities.items()
    ]
    blocks += [
        Block(name, unpacked[name], index, index, index, weights=True)
        for index, stage in enumerate(stages)
        for name in (*stage.members, *stage.sinks)
        if name in unpacked
    ]
    near = [[i for i, other in enumerate(blocks) if other is not block and _meet(block, other)] for block in blocks]
    return Blocks(blocks, near, lags)


def _meet(a: Block, b: Block) -> bool:
    return a.first <= b.last and b.first <= a.last


def _best_layout(memory: Blocks, shuffles: int) -> tuple[list[int], int]:
    """Returns the offset of every block, and the bytes in all."""
    blocks = memory.blocks
    numbers = range(len(blocks))
    orders = [sorted(numbers, key=lambda i: blocks[i].first), sorted(numbers, key=lambda i: -blocks[i].size)]
    rng = random.Random(0)
    orders += [rng.sample(numbers, len(numbers)) for _ in range(shuffles)]
    best: tuple[int, list[int]] | None = None
    for order in orders:
        layout = _layout(order, memory)
        low = min(layout.values())
        span = max(layout[i] + blocks[i].size for i in numbers) - low
        if best is None or span < best[0]:
            best = span, [layout[i] - low for i in numbers]
    assert best
    return best[1], best[0]


def _layout(order: Sequence[int], memory: Blocks) -> dict[int, int]:
    """Puts one block after another where the arena grows least; offsets may be negative."""
    placed: dict[int, int] = {}
    low = high = 0
    for i in order:
        size = _rounded(memory.blocks[i].size)
        taken = [_taken(i, size, j, placed[j], memory) for j in memory.near[i] if j in placed]
        options = [0, *(place for interval in taken for place in interval)]
        free = [place for place in options if not any(begin < place < end for begin, end in taken)]
        placed[i] = min(free, key=lambda place: (max(high, place + size) - min(low, place), abs(place - low), place))
        low, high = min(low, placed[i]), max(high, placed[i] + size)
    return placed


def _taken(i: int, size: int, j: int, at: int, memory: Blocks) -> tuple[int, int]:
    """Between which places block i, of `size` bytes, cannot begin since block j begins `at` another."""
    begin, end = at - size, at + _rounded(memory.blocks[j].size)
    if (i, j) in memory.lags:
        begin = max(begin, at - memory.lags[i, j])
    if (j, i) in memory.lags:
        end = min(end, at + memory.lags[j, i])
    return begin, end


def _vectors(program: Program) -> tuple[dict[str, int], int]:
    """Gives every vector a place of its own, as they are small; parts of a concatenation lie one after another."""
    offsets: dict[str, int] = {}
    count = 0
    for step in program.steps:
        if isinstance(step, ints.Concat):
            offsets[step.name] = count
            for name in step.inputs:
                offsets[name] = count
                count += program.tensors[name].channels
    for name, tensor in program.tensors.items():
        if not tensor.rows and name not in offsets:
            offsets[name] = count
            count += tensor.channels
    return offsets, count


def _scratch(program: Program, splitter: Splitter, stage: Stage) -> int:
    """Returns the 32-bit values that a stage needs: scaled multipliers, sums, maxima."""
    count = 0
    for name in (*stage.members, *stage.sinks):
        step = splitter.steps[name]
        if isinstance(step, ints.Linear) and step.gate:
            count += program.tensors[name].channels
        if is_reduction(step):
            taps = step.taps + 1 if isinstance(step, ints.Means) and step.taps > 1 else 1
            count += taps * program.tensors[reads(step)[0]].channels
    return count


def _edge(program: Program) -> int:
    """Returns the 32-bit values that hold what any convolution sees for one output."""
    convolutions = (step for step in program.steps if isinstance(step, ints.Linear) and step.kind == "conv")
    return max((-(-step.taps * program.tensors[step.x].row_bytes // 4) for step in convolutions), default=0)


def _rounded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
