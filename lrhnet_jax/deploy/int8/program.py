"""A network in integers: what a microcontroller computes, and the same in NumPy, which defines every bit of it.

A tensor holds integers q, which stand for q * scale; no tensor has an offset. Those over time have eight bits, signed
or not, but the signal, which has 16; vectors have 16. Sums of products are exact: they fit 32 bits in convolutions
(`quantize` sees to it) and 64 bits in dense layers. Then

    q = clip((sum * multiplier + residual * residual_multiplier + offset) >> shift, low, high)

in 64 bits, where >> rounds towards minus infinity, and `offset` holds half of a unit: so halves are rounded up. A gate,
of 15 fractional bits, scales the multiplier: (multiplier * gate + 2^14) >> 15.

Sigmoid and softmax are tables of 256 steps of 1/16, with straight lines between them, of numbers of 10 fractional bits.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

Array = np.ndarray

LOWEST = {"uint8": 0, "int8": -128, "int16": -32768}
HIGHEST = {"uint8": 255, "int8": 127, "int16": 32767}

SIGNAL_ONE = 1024  # stands for one standard deviation of a lead
DEMOGRAPHICS_ONE = 1 << 14
LOGIT_ONE = 1024
GATE_BITS = 15
PROBABILITY_ONE = 1 << 16  # written as 65535, the largest probability
TABLE_STEP = LOGIT_ONE // 16
SIGMOID_TABLE = np.round(PROBABILITY_ONE / (1 + np.exp(np.arange(257) / 16))).astype(np.int64)
EXP_TABLE = np.round((1 << 15) * np.exp(-np.arange(257) / 16)).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What a name stands for: (rows, channels) integers, or (channels,) where rows are 0."""

    name: str
    rows: int
    channels: int
    kind: str
    scale: float

    @property
    def item_bytes(self) -> int:
        return 2 if self.kind == "int16" else 1

    @property
    def row_bytes(self) -> int:
        return self.channels * self.item_bytes

    @property
    def bytes(self) -> int:
        return max(self.rows, 1) * self.row_bytes


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """A computation of one tensor, which has the step's name, from others."""

    name: str
    inputs: tuple[str, ...]

    @property
    def x(self) -> str:
        return self.inputs[0]


@dataclasses.dataclass(frozen=True, eq=False)
class Linear(Step):
    """As `graph.Linear`, in integers; see above.

    Attributes:
      kind: "conv", "dense" or "pointwise".
      weights: int8, (out, taps * in), (out, in) or (channels, 1).
      bias: of the sum, (out,).
      multiplier, residual_multiplier, offset, low, high: (out,).
      shares: the convolution whose weights these are.
    """

    kind: str
    weights: Array
    bias: Array
    multiplier: Array
    residual_multiplier: Array
    offset: Array
    shift: int
    low: Array
    high: Array
    taps: int = 1
    stride: int = 1
    before: int = 0
    gate: str = ""
    residual: str = ""
    shares: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class MaxPool(Step):
    window: int
    stride: int
    before: int


@dataclasses.dataclass(frozen=True, eq=False)
class Means(Step):
    """Sums over `count` rows for each tap, and (sum * multiplier + half) >> shift."""

    taps: int
    before: int
    count: int
    multiplier: int
    shift: int


@dataclasses.dataclass(frozen=True, eq=False)
class Maximum(Step):
    """The maximum over time, (maximum * multiplier + half) >> shift."""

    multiplier: int
    shift: int


class Sigmoid(Step):
    """Gates, of `GATE_BITS` fractional bits."""


class Concat(Step):
    """Vectors of one scale."""


@dataclasses.dataclass(frozen=True)
class Program:
    """Steps in their order; the last one makes the logits.

    Attributes:
      tensors: by name; the first is the signal. "demographics" is there if the network reads it.
    """

    tensors: Mapping[str, Tensor]
    steps: tuple[Step, ...]

    @property
    def window(self) -> int:
        return self.tensors["signal"].rows

    @property
    def leads(self) -> int:
        return self.tensors["signal"].channels

    @property
    def output(self) -> Tensor:
        return self.tensors[self.steps[-1].name]

    def step(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)

    def multiplications(self, step: Step) -> int:
        """Returns how many products of weights a step adds up, for one window."""
        return step.weights.size * max(self.tensors[step.name].rows, 1) if isinstance(step, Linear) else 0


def quantize_inputs(signal: Array, demographics: Array) -> tuple[Array, Array]:
    """Returns a prepared signal (..., window, leads) and the age/sex vector (..., 5) as int16."""
    rounded = (np.rint(np.asarray(signal, np.float64) * SIGNAL_ONE), np.rint(demographics * float(DEMOGRAPHICS_ONE)))
    return tuple(np.clip(value, -32768, 32767).astype(np.int16) for value in rounded)  # type: ignore[return-value]


def run(program: Program, signal: Array, demographics: Array, batch: int = 16) -> Array:
    """Returns the logits of windows, (windows, classes) int16, of 10 fractional bits.

    Args:
      signal: (windows, window, leads) int16, 1024 a standard deviation.
      demographics: (windows, 5) int16, of 14 fractional bits.
      batch: windows at a time, for the memory.

    Raises:
      ValueError: for arrays of another shape or type.
    """
    shape = (len(signal), program.window, program.leads)
    if signal.dtype != np.int16 or demographics.dtype != np.int16 or signal.shape != shape:
        raise ValueError(f"the signal must be {shape} int16, not {signal.shape} {signal.dtype}")
    parts = [
        tensors(program, signal[start : start + batch], demographics[start : start + batch])[program.output.name]
        for start in range(0, len(signal), batch)
    ]
    return np.concatenate([np.zeros((0, program.output.channels), np.int16), *parts]).astype(np.int16)


def tensors(program: Program, signal: Array, demographics: Array) -> dict[str, Array]:
    """Returns every tensor of a program, by name, int64."""
    values = {"signal": signal.astype(np.int64), "demographics": demographics.astype(np.int64)}
    for step in program.steps:
        values[step.name] = _compute(program, step, values)
    return values


def _compute(program: Program, step: Step, values: Mapping[str, Array]) -> Array:
    x, rows = values[step.x], program.tensors[step.name].rows
    match step:
        case Linear():
            largest = max(-LOWEST[program.tensors[step.x].kind], HIGHEST[program.tensors[step.x].kind])
            return _epilogue(step, _sums(step, x, rows, largest), values)
        case MaxPool():
            end = (rows - 1) * step.stride + step.window - step.before
            padding = ((0, 0), (step.before, max(0, end - x.shape[1])), (0, 0))
            padded = np.pad(x[:, :end], padding, constant_values=-(1 << 15))
            shifts = [padded[:, shift:][:, :: step.stride][:, :rows] for shift in range(step.window)]
            return np.maximum.reduce(shifts)
        case Means():
            after = max(0, step.count + step.taps - 1 - step.before - x.shape[1])
            padded = np.pad(x, ((0, 0), (step.before, after), (0, 0)))
            sums = [padded[:, tap : tap + step.count].sum(1) for tap in range(step.taps)]
            return _rescale(np.concatenate(sums, axis=1), step)
        case Maximum():
            return _rescale(x.max(1), step)
        case Sigmoid():
            return sigmoid(x) >> 1
        case Concat():
            return np.concatenate([values[name] for name in step.inputs], axis=1)
    raise TypeError(f"no such step: {step}")


def _sums(step: Linear, x: Array, rows: int, largest: int) -> Array:
    """Returns the sums of products and biases. In floating point they are exact, and far faster than in integers."""
    if step.kind == "pointwise":
        return x * step.weights[:, 0].astype(np.int64) + step.bias
    most = int(np.abs(step.weights.astype(np.int64)).sum(1).max()) * largest
    exact = np.float32 if most < 1 << 24 else np.float64
    weights: Array = step.weights.astype(exact)
    values: Array = x.astype(exact)
    if step.kind == "dense":
        return (values @ weights.T).astype(np.int64) + step.bias
    after = max(0, (rows - 1) * step.stride + step.taps - step.before - x.shape[1])
    padded = np.pad(values, ((0, 0), (step.before, after), (0, 0)))
    kernel = weights.reshape(len(weights), step.taps, -1).transpose(1, 2, 0)
    span = (rows - 1) * step.stride + 1
    sums = sum(padded[:, tap : tap + span : step.stride] @ kernel[tap] for tap in range(step.taps))
    return np.asarray(sums).astype(np.int64) + step.bias


def _epilogue(step: Linear, sums: Array, values: Mapping[str, Array]) -> Array:
    multiplier = step.multiplier
    if step.gate:
        multiplier = (multiplier * values[step.gate] + (1 << (GATE_BITS - 1))) >> GATE_BITS
        if sums.ndim == 3:
            multiplier = multiplier[:, None, :]
    total = sums * multiplier + step.offset
    if step.residual:
        total += values[step.residual] * step.residual_multiplier
    return np.clip(total >> step.shift, step.low, step.high)


def _rescale(values: Array, step: Means | Maximum) -> Array:
    rescaled = (values * step.multiplier + (1 << (step.shift - 1))) >> step.shift
    return np.clip(rescaled, LOWEST["int16"], HIGHEST["int16"])


def _look_up(table: Array, x: Array) -> Array:
    """Returns a table's value at x >= 0, of 10 fractional bits, on the line between its neighbours; at most at 16."""
    index, rest = np.divmod(np.minimum(x, 256 * TABLE_STEP), TABLE_STEP)
    drop = table[index] - table[np.minimum(index + 1, 256)]
    return table[index] - (drop * rest + TABLE_STEP // 2 >> 6)


def sigmoid(logits: Array) -> Array:
    """Returns probabilities of 16 fractional bits, int64; the largest is 65535."""
    logits = logits.astype(np.int64)
    below = _look_up(SIGMOID_TABLE, np.abs(logits))
    return np.minimum(np.where(logits < 0, below, PROBABILITY_ONE - below), PROBABILITY_ONE - 1)


def softmax(logits: Array) -> Array:
    """Returns probabilities of 16 fractional bits of classes that exclude each other, (windows, classes) int64."""
    logits = logits.astype(np.int64)
    powers = _look_up(EXP_TABLE, logits.max(1, keepdims=True) - logits)
    total = powers.sum(1, keepdims=True)
    return np.minimum((powers * PROBABILITY_ONE + total // 2) // total, PROBABILITY_ONE - 1)


def probabilities(logits: Array, exclusive: bool) -> Array:
    """Returns the probabilities that a program's logits stand for, int64 of 16 fractional bits."""
    return softmax(logits) if exclusive else sigmoid(logits)
