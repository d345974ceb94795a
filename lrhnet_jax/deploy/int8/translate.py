"""What each of JAX's primitive operations is in a graph: one function for each that integer programs have a form of."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from lrhnet_jax.deploy.int8 import graph
from lrhnet_jax.deploy.int8.graph import Operation
from lrhnet_jax.errors import ConfigError

Array = np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Slices:
    """Every `stride`-th row of a tensor from each of `starts` on, of which the maximum is taken: max-pooling, if whole.

    Attributes:
      name: of the layer that takes them.
      source: the tensor.
      before: rows of -inf in front of it.
      starts: first rows, of the tensor with these; empty: not sliced yet.
      rows: of each slice.
    """

    name: str
    source: Operation
    before: int
    starts: tuple[int, ...] = ()
    stride: int = 1
    rows: int = 0


Value = Array | Operation | Slices


class Builder(Protocol):
    """What operations are added to."""

    def add(self, operation: Operation) -> Operation: ...


@dataclasses.dataclass(frozen=True)
class Layer:
    """One equation: its name, shapes and parameters, and how it becomes operations."""

    builder: Builder
    equation: Any
    scope: str

    @property
    def name(self) -> str:
        """The layer's path without the network's name."""
        path = self.scope.partition("/")[2]
        return path or self.equation.primitive.name

    @property
    def params(self) -> dict[str, Any]:
        return self.equation.params

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.equation.outvars[0].aval.shape)

    def refusal(self) -> ConfigError:
        what, shape = self.equation.primitive.name, tuple(self.equation.invars[0].aval.shape)
        return ConfigError(
            f"layer {self.name}: its operation {what!r} on {shape} has no counterpart in an integer program, which can "
            "have convolutions, dense layers, BatchNorm, ReLU, sums, max-pooling, means and maxima over time, and "
            "squeeze-excite"
        )

    def whole(self, value: Value) -> Operation:
        """Returns an operation's value; the maximum of all neighbouring slices becomes max-pooling."""
        if isinstance(value, Operation):
            return value
        if not isinstance(value, Slices) or value.starts != tuple(range(len(value.starts))) or not value.starts:
            raise self.refusal()
        source, window = value.source, len(value.starts)
        if window == value.stride == 1 and not value.before and value.rows == source.rows:
            return source
        pool = graph.MaxPool(
            value.name, (source.name,), value.rows, source.channels, window, value.stride, value.before
        )
        return self.builder.add(pool)

    def per_channel(self, constant: Array, channels: int) -> Array:
        """Returns a constant that meets a tensor, (channels,); it may not differ from row to row."""
        rows = np.asarray(constant, np.float64)
        rows = rows.reshape(-1, rows.shape[-1] if rows.ndim else 1)
        if (rows != rows[0]).any():
            raise self.refusal()
        return np.broadcast_to(rows[0], (channels,))

    def pointwise(self, x: Operation, **fields: Any) -> Operation:
        kernel = fields.pop("kernel", np.ones(x.channels))
        return self.builder.add(
            graph.linear(self.name, x, "pointwise", np.broadcast_to(kernel, (x.channels,)), **fields)
        )

    def gate(self, x: Operation, gate: Operation) -> Operation:
        if gate.rows or x.channels != gate.channels:
            raise self.refusal()
        return self.pointwise(x, gate=gate.name)


def _named(layer: Layer, what: str) -> str:
    """Names what has no layer of its own within the layer around it."""
    return "/".join(filter(None, (layer.scope.partition("/")[2], what)))


def _convolution(layer: Layer, x: Value, kernel: Value) -> Operation | None:
    params = layer.params
    numbers = params["dimension_numbers"]
    plain_form = (
        isinstance(kernel, np.ndarray)
        and numbers.lhs_spec == numbers.out_spec == (0, 2, 1)
        and numbers.rhs_spec == (2, 1, 0)
        and params["lhs_dilation"] == params["rhs_dilation"] == (1,)
        and params["feature_group_count"] == params["batch_group_count"] == 1
    )
    if not plain_form:
        return None
    (stride,), ((before, after),) = params["window_strides"], params["padding"]
    fields: dict[str, Any] = {"stride": int(stride), "before": int(before), "after": int(after)}
    return layer.builder.add(graph.linear(layer.name, layer.whole(x), "conv", np.asarray(kernel), **fields))


def _dense(layer: Layer, x: Value, kernel: Value) -> Operation | None:
    if layer.params["dimension_numbers"] != (((1,), (0,)), ((), ())) or not isinstance(kernel, np.ndarray):
        return None
    x = layer.whole(x)
    return None if x.rows else layer.builder.add(graph.linear(layer.name, x, "dense", kernel))


def _add(layer: Layer, x: Value, y: Value, sign: float = 1.0) -> Operation | None:
    if isinstance(x, np.ndarray):
        y = layer.whole(y)
        return layer.pointwise(y, kernel=np.full(y.channels, sign), bias=layer.per_channel(x, y.channels))
    x = layer.whole(x)
    if isinstance(y, np.ndarray):
        return layer.pointwise(x, bias=sign * layer.per_channel(y, x.channels))
    y = layer.whole(y)
    if (x.rows, x.channels) != (y.rows, y.channels):
        return None
    return layer.pointwise(x, residual=y.name, residual_gain=np.full(x.channels, sign))


def _multiply(layer: Layer, x: Value, y: Value) -> Operation | None:
    if isinstance(x, np.ndarray):
        x, y = y, x
    x = layer.whole(x)
    if isinstance(y, np.ndarray):
        return layer.pointwise(x, kernel=layer.per_channel(y, x.channels))
    y = layer.whole(y)
    return layer.gate(x, y) if x.rows or not y.rows else layer.gate(y, x)


def _divide(layer: Layer, x: Value, y: Value) -> Operation | None:
    return _multiply(layer, x, 1 / np.array(y, np.float64, ndmin=1)) if isinstance(y, np.ndarray) else None


def _clip(layer: Layer, x: Value, y: Value, side: str) -> Value | None:
    if isinstance(x, np.ndarray):
        x, y = y, x
    if isinstance(y, np.ndarray):
        x = layer.whole(x)
        return layer.pointwise(x, **{side: layer.per_channel(y, x.channels)})
    alike = isinstance(x, Slices) and isinstance(y, Slices) and x.source is y.source
    if side == "high" or not alike or (x.before, x.stride, x.rows) != (y.before, y.stride, y.rows):  # type: ignore[union-attr]
        return None
    return dataclasses.replace(x, starts=tuple(sorted(x.starts + y.starts)))  # type: ignore[union-attr, type-var]


def _slice(layer: Layer, x: Value) -> Value | None:
    starts, strides = layer.params["start_indices"], layer.params["strides"] or (1,) * len(layer.shape)
    if isinstance(x, Operation):
        x = Slices(_named(layer, "max_pool"), x, 0)
    source = x.source if isinstance(x, Slices) and not x.starts else None
    if source is None or not source.rows or (starts[0], starts[2], layer.shape[2]) != (0, 0, source.channels):
        return None
    return Slices(x.name, source, x.before, (starts[1],), strides[1], layer.shape[1])  # type: ignore[union-attr]


def _pad(layer: Layer, x: Value, value: Value) -> Value | None:
    (first, time, channels), x = layer.params["padding_config"], layer.whole(x)
    if first != (0, 0, 0) or time[2] or channels[2] or not isinstance(value, np.ndarray) or not x.rows:
        return None
    if time == channels == (0, 0, 0):
        return x
    if channels == (0, 0, 0) and value == -np.inf and min(time) >= 0:
        return Slices(_named(layer, "max_pool"), x, int(time[0]))
    if time == (0, 0, 0) and value == 0 and min(channels) >= 0:  # channels of zeros: a convolution of one tap
        kernel = np.pad(np.eye(x.channels), ((0, 0), (channels[0], channels[1])))
        return layer.builder.add(graph.linear(_named(layer, "pad"), x, "conv", kernel[None]))
    return None


def _sum(layer: Layer, x: Value) -> Operation | None:
    x = layer.whole(x)
    if layer.params["axes"] != (1,) or not x.rows:
        return None
    mean = layer.builder.add(graph.Means(_named(layer, "mean"), (x.name,), 0, x.channels, 1, 0, x.rows))
    return layer.pointwise(mean, kernel=np.full(x.channels, float(x.rows)))


def _maximum(layer: Layer, x: Value) -> Operation | None:
    x = layer.whole(x)
    if layer.params["axes"] != (1,) or not x.rows:
        return None
    return layer.builder.add(graph.Maximum(_named(layer, "maximum"), (x.name,), 0, x.channels))


def _sigmoid(layer: Layer, x: Value) -> Operation | None:
    x = layer.whole(x)
    return None if x.rows else layer.builder.add(graph.Sigmoid(_named(layer, "sigmoid"), (x.name,), 0, x.channels))


def _concatenate(layer: Layer, *values: Value) -> Operation | None:
    parts = [layer.whole(value) for value in values]
    if layer.params["dimension"] != len(layer.shape) - 1 or any(part.rows for part in parts):
        return None
    names = tuple(part.name for part in parts)
    return layer.builder.add(
        graph.Concat(_named(layer, "concatenated"), names, 0, sum(part.channels for part in parts))
    )


def _same(layer: Layer, x: Value) -> Value | None:
    """A change of shape or type that leaves rows and channels as they are."""
    if isinstance(x, Slices):
        return x
    x = layer.whole(x)
    sizes = [size for size in layer.shape if size != 1]
    kept = sizes in ([size for size in (x.rows, x.channels) if size > 1], [x.channels])
    return x if kept and np.prod(layer.shape) == max(x.rows, 1) * x.channels else None


TRANSLATIONS: dict[str, Callable[..., Value | None]] = {
    "conv_general_dilated": _convolution,
    "dot_general": _dense,
    "add": _add,
    "sub": lambda layer, x, y: _add(layer, x, y, sign=-1.0),
    "mul": _multiply,
    "div": _divide,
    "max": lambda layer, x, y: _clip(layer, x, y, "low"),
    "min": lambda layer, x, y: _clip(layer, x, y, "high"),
    "slice": _slice,
    "pad": _pad,
    "reduce_sum": _sum,
    "reduce_max": _maximum,
    "logistic": _sigmoid,
    "concatenate": _concatenate,
    **dict.fromkeys(("broadcast_in_dim", "reshape", "squeeze", "convert_element_type", "copy"), _same),
}
