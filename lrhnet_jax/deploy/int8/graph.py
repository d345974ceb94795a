"""A trained network as a short list of operations, with its constants: what integer programs are made from.

An operation makes one tensor, which has its name: (rows, channels), a row for each sample of time; or a vector,
(channels,), whose `rows` are 0. The batch is left out. `trace` makes a graph from any network, `fuse` makes it shorter,
and `run` computes either in float32, for any batch, so that both can be compared with the network.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = np.ndarray

SIGNAL, DEMOGRAPHICS = "signal", "demographics"


@dataclasses.dataclass(frozen=True, eq=False)
class Operation:
    """What all operations have.

    Attributes:
      name: of the layer that it comes from, and of the tensor that it makes.
      inputs: names of the tensors that it reads.
      rows: of its tensor; 0 for a vector.
      channels: of its tensor.
    """

    name: str
    inputs: tuple[str, ...]
    rows: int
    channels: int

    @property
    def x(self) -> str:
        """The first of the inputs."""
        return self.inputs[0]


class Input(Operation):
    """The signal, or the age/sex vector."""


@dataclasses.dataclass(frozen=True, eq=False)
class Linear(Operation):
    """clip(gate * (kernel . x + bias) + residual_gain * residual + offset, low, high), for each channel of the output.

    This takes in what surrounds a convolution: BatchNorm before or behind a ReLU, a shortcut, squeeze-excite's gate. A
    ReLU is low = 0; where BatchNorm follows it, low is what BatchNorm makes of 0 (high, if it turns the sign).

    Attributes:
      kind: "conv" over time, with a kernel (taps, in, out); "dense" of a vector, (in, out); "pointwise", where each
        channel of x meets one number, (channels,).
      stride, before, after: of a convolution: rows from one output to the next, and rows of zeros around x.
      gate: the name of a vector; "": none, which is as if it were 1.
      residual: the name of a tensor of the same shape as the output; "": none.
      shares: the name of the convolution whose kernel this dense layer has; "": it has its own.
    """

    kind: str
    kernel: Array
    bias: Array
    residual_gain: Array
    offset: Array
    low: Array
    high: Array
    stride: int = 1
    before: int = 0
    after: int = 0
    gate: str = ""
    residual: str = ""
    shares: str = ""

    @property
    def plain(self) -> bool:
        """Whether there is nothing but kernel and bias."""
        return not (self.gate or self.residual or self.offset.any() or self.clips)

    @property
    def clips(self) -> bool:
        return bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())


@dataclasses.dataclass(frozen=True)
class MaxPool(Operation):
    """The maximum of `window` rows every `stride` rows, the first window `before` rows early; what lacks is -inf.

    A window of one row leaves rows out.
    """

    window: int
    stride: int
    before: int


@dataclasses.dataclass(frozen=True, eq=False)
class Means(Operation):
    """The means over time of what each tap of a convolution without stride sees, a vector of taps * channels.

    With one tap it is the mean over time. With more, `kernel . means + bias` is the mean of the convolution's output:
    it can be had before the convolution is computed.

    Attributes:
      taps, before: of the convolution, whose output has as many rows as means are taken over, `count`.
    """

    taps: int
    before: int
    count: int


class Maximum(Operation):
    """The maximum over time, a vector."""


class Sigmoid(Operation):
    """Of a vector."""


class Concat(Operation):
    """Vectors one after another."""


@dataclasses.dataclass(frozen=True)
class Graph:
    """Operations in the order of computation; the last one makes the logits."""

    operations: Mapping[str, Operation]

    @property
    def output(self) -> str:
        return next(reversed(list(self.operations)))

    def readers(self, name: str) -> list[Operation]:
        """Returns the operations that read a tensor."""
        return [operation for operation in self.operations.values() if name in operation.inputs]


def linear(name: str, x: Operation, kind: str, kernel: Array, bias: Array | None = None, **fields: Any) -> Linear:
    """Returns an operation whose fields that are not given do nothing."""
    kernel = np.asarray(kernel, np.float64)
    channels = kernel.shape[-1]
    taps = len(kernel) if kind == "conv" else 1
    padded = x.rows + fields.get("before", 0) + fields.get("after", 0)
    neutral = {
        "bias": np.zeros(channels) if bias is None else bias,
        "residual_gain": np.ones(channels),
        "offset": np.zeros(channels),
        "low": np.full(channels, -np.inf),
        "high": np.full(channels, np.inf),
    }
    given = {
        key: np.broadcast_to(np.asarray(fields.pop(key, default), np.float64), (channels,))
        for key, default in neutral.items()
    }
    others = tuple(filter(None, (fields.get("gate"), fields.get("residual"))))
    rows = (padded - taps) // fields.get("stride", 1) + 1 if x.rows else 0
    fields |= given
    return Linear(name, (x.name, *others), rows, channels, kind=kind, kernel=kernel, **fields)


def run(graph: Graph, signal: jax.Array, demographics: jax.Array) -> dict[str, jax.Array]:
    """Returns every tensor of a graph, by name, in float32.

    Args:
      signal: (batch, rows, leads).
      demographics: (batch, 5).
    """
    tensors = {SIGNAL: signal, DEMOGRAPHICS: demographics}
    for name, operation in graph.operations.items():
        if not isinstance(operation, Input):
            tensors[name] = _compute(operation, tensors)
    return tensors


def _compute(operation: Operation, tensors: Mapping[str, jax.Array]) -> jax.Array:
    x = tensors[operation.x]
    match operation:
        case Linear():
            return _linear(operation, x, tensors)
        case MaxPool():
            end = (operation.rows - 1) * operation.stride + operation.window - operation.before
            sizes, padding = (1, operation.window, 1), (operation.before, max(0, end - x.shape[1]))
            strides = (1, operation.stride, 1)
            return lax.reduce_window(x[:, :end], -jnp.inf, lax.max, sizes, strides, ((0, 0), padding, (0, 0)))
        case Means():
            after = max(0, operation.count + operation.taps - 1 - operation.before - x.shape[1])
            padded = jnp.pad(x, ((0, 0), (operation.before, after), (0, 0)))
            seen = [padded[:, tap : tap + operation.count].mean(1) for tap in range(operation.taps)]
            return jnp.concatenate(seen, axis=1)
        case Maximum():
            return x.max(1)
        case Sigmoid():
            return jax.nn.sigmoid(x)
        case Concat():
            return jnp.concatenate([tensors[name] for name in operation.inputs], axis=1)
    raise TypeError(f"no such operation: {operation}")


def _linear(operation: Linear, x: jax.Array, tensors: Mapping[str, jax.Array]) -> jax.Array:
    def channels(values: Array) -> jax.Array:
        return jnp.asarray(values, jnp.float32).reshape((1,) * (x.ndim - 1) + (-1,))

    kernel = jnp.asarray(operation.kernel, jnp.float32)
    if operation.kind == "conv":
        padding = ((operation.before, operation.after),)
        y = lax.conv_general_dilated(
            x, kernel, (operation.stride,), padding, dimension_numbers=("NWC", "WIO", "NWC"), precision="highest"
        )
    elif operation.kind == "dense":
        y = jnp.matmul(x, kernel.reshape(-1, kernel.shape[-1]), precision="highest")
    else:
        y = x * channels(operation.kernel)
    y = y + channels(operation.bias)
    if operation.gate:
        gate = tensors[operation.gate]
        y = y * (gate[:, None, :] if y.ndim == 3 else gate)
    if operation.residual:
        y = y + channels(operation.residual_gain) * tensors[operation.residual]
    return jnp.clip(y + channels(operation.offset), channels(operation.low), channels(operation.high))
