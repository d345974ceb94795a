"""From a graph in floating point to a program in integers, given the range of every tensor."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from lrhnet_jax.deploy.int8 import graph as floats
from lrhnet_jax.deploy.int8 import program as ints
from lrhnet_jax.deploy.int8.program import HIGHEST, LOWEST, Program, Tensor
from lrhnet_jax.errors import ConfigError

Array = np.ndarray

HEADROOM = 2.0  # of vectors beyond what calibration saw: 16 bits have room for it
BIAS_LIMIT = 2.0**29
MULTIPLIER_LIMIT = 2.0**30
TOTAL_LIMIT = 2.0**62


def quantize(graph: floats.Graph, ranges: Mapping[str, float]) -> Program:
    """Returns the integer program of a graph.

    Weights have a scale for each output; they and the activations are symmetric about 0, but activations that cannot be
    negative use all of eight bits.

    Args:
      ranges: by tensor's name, the largest magnitude that it must be able to hold; larger ones saturate.

    Raises:
      ConfigError: if a layer has so many inputs that 32 bits cannot hold its sums.
    """
    tensors: dict[str, Tensor] = {}
    steps: list[ints.Step] = []
    common = _common_scales(graph, ranges)
    for name, operation in graph.operations.items():
        tensors[name] = tensor = _tensor(graph, operation, tensors, ranges, common)
        if not isinstance(operation, floats.Input):
            steps.append(_step(operation, tensors, tensor, graph))
    return Program(tensors, tuple(steps))


def _common_scales(graph: floats.Graph, ranges: Mapping[str, float]) -> dict[str, float]:
    """The scales of vectors that are concatenated: their parts have one together, so that it costs nothing."""
    scales: dict[str, float] = {}
    for operation in graph.operations.values():
        if isinstance(operation, floats.Concat):
            for part in operation.inputs:
                if part in scales or isinstance(graph.operations[part], floats.Input | floats.Sigmoid | floats.Concat):
                    raise ConfigError(f"layer {operation.name}: {part} cannot be concatenated in an integer program")
            largest = max(ranges[part] for part in operation.inputs)
            scales |= dict.fromkeys((operation.name, *operation.inputs), _scale(largest * HEADROOM, 32767))
    return scales


def _scale(largest: float, highest: int) -> float:
    return max(float(largest), 1e-6) / highest


def _tensor(
    graph: floats.Graph,
    operation: floats.Operation,
    tensors: Mapping[str, Tensor],
    ranges: Mapping[str, float],
    common: Mapping[str, float],
) -> Tensor:
    name, rows, channels = operation.name, operation.rows, operation.channels
    if name == floats.SIGNAL:
        return Tensor(name, rows, channels, "int16", 1 / ints.SIGNAL_ONE)
    if name == floats.DEMOGRAPHICS:
        return Tensor(name, rows, channels, "int16", 1 / ints.DEMOGRAPHICS_ONE)
    if rows:
        if isinstance(operation, floats.MaxPool):
            if operation.x == floats.SIGNAL:
                raise ConfigError(f"layer {name}: the signal itself is pooled, which an integer program cannot do")
            return dataclasses.replace(tensors[operation.x], name=name, rows=rows)
        assert isinstance(operation, floats.Linear)
        kind = "uint8" if (operation.low >= 0).all() else "int8"
        return Tensor(name, rows, channels, kind, _scale(ranges[name], HIGHEST[kind]))
    if isinstance(operation, floats.Sigmoid):
        scale = 2.0**-ints.GATE_BITS
    elif name == graph.output or any(isinstance(reader, floats.Sigmoid) for reader in graph.readers(name)):
        scale = 1 / ints.LOGIT_ONE
    elif name in common:
        scale = common[name]
    elif isinstance(operation, floats.Means | floats.Maximum):
        source = tensors[operation.x]
        scale = source.scale / (128 if source.item_bytes == 1 else 1)  # all 16 bits, whatever the eight bits are
    else:
        scale = _scale(ranges[name] * HEADROOM, 32767)
    return Tensor(name, 0, channels, "int16", scale)


def _step(operation: floats.Operation, tensors: Mapping[str, Tensor], tensor: Tensor, graph: floats.Graph) -> ints.Step:
    name, inputs, x = operation.name, operation.inputs, tensors[operation.x]
    match operation:
        case floats.Linear():
            return _linear(operation, tensors, tensor, graph)
        case floats.MaxPool():
            return ints.MaxPool(name, inputs, operation.window, operation.stride, operation.before)
        case floats.Means():
            real = x.scale / operation.count / tensor.scale
            multiplier, shift = _fixed(real, operation.count * _largest(x))
            return ints.Means(name, inputs, operation.taps, operation.before, operation.count, multiplier, shift)
        case floats.Maximum():
            return ints.Maximum(name, inputs, *_fixed(x.scale / tensor.scale, _largest(x)))
        case floats.Sigmoid():
            return ints.Sigmoid(name, inputs)
        case floats.Concat():
            return ints.Concat(name, inputs)
    raise TypeError(f"no such operation: {operation}")


def _largest(tensor: Tensor) -> int:
    return max(HIGHEST[tensor.kind], -LOWEST[tensor.kind])


def _fixed(real: float, most: int) -> tuple[int, int]:
    """Returns a multiplier and a shift that stand for a positive factor of integers up to `most`."""
    shift = _shift([(np.array([real]), np.array([most]))], np.zeros(1))
    return round(real * 2.0**shift), shift


def _shift(factors: list[tuple[Array, Array]], constant: Array) -> int:
    """Returns the finest shift at which all factors have 30 bits, and their products with integers 62 in all.

    Args:
      factors: real factors, and the largest integers that they meet, for each output.
      constant: what is added to the products.
    """
    largest = max(float(np.abs(factor).max()) for factor, _ in factors)
    total = float((sum(np.abs(factor) * most for factor, most in factors) + np.abs(constant)).max()) + 1
    bits = min(math.log2(MULTIPLIER_LIMIT / max(largest, 2.0**-26)), math.log2(TOTAL_LIMIT / total))
    return math.floor(bits)


def _columns(operation: floats.Linear) -> Array:
    """The kernel as (inputs of an output, outputs)."""
    return operation.kernel.reshape(1 if operation.kind == "pointwise" else -1, operation.channels)


def weights_of(operation: floats.Linear, x: Tensor) -> tuple[Array, Array]:
    """Returns int8 weights, (outputs, inputs), and the scale of each output's; biases have to fit as well."""
    columns = _columns(operation)
    scale = np.maximum(np.abs(columns).max(0) / 127, np.abs(operation.bias) / (x.scale * BIAS_LIMIT))
    scale = np.where(scale == 0, 1, scale)
    return np.rint(columns / scale).T.astype(np.int8), scale


def _shared_weights(
    dense: floats.Linear, graph: floats.Graph, tensors: Mapping[str, Tensor]
) -> tuple[Array, Array] | None:
    """Returns the weights of the convolution whose kernel a dense layer shares, but for a factor for each output.

    That is what composing BatchNorm with the convolution has left. None: they cannot be shared after all.
    """
    conv = graph.operations.get(dense.shares)
    if not isinstance(conv, floats.Linear):
        return None
    ours, theirs = _columns(dense), _columns(conv)
    power = np.square(theirs).sum(0)
    factor = (ours * theirs).sum(0) / np.where(power == 0, 1, power)
    weights, scale = weights_of(conv, tensors[conv.x])
    fits = np.abs(dense.bias) <= np.abs(factor) * scale * tensors[dense.x].scale * BIAS_LIMIT
    same = np.abs(ours - factor * theirs).max(0) <= 1e-9 * np.abs(ours).max(0)
    return (weights, scale * factor) if (fits & same & (factor != 0)).all() else None


def _check(operation: floats.Linear, tensors: Mapping[str, Tensor]) -> None:
    """Refuses what integer programs do over time only, or of eight bits only."""
    others = operation.gate or operation.residual
    if not operation.rows and (operation.kind == "pointwise" or others):
        raise ConfigError(
            f"layer {operation.name}: a vector is scaled or added to, which an integer program does only inside of a "
            "dense layer"
        )
    if operation.residual and tensors[operation.residual].kind == "int16":
        raise ConfigError(f"layer {operation.name}: the signal itself is added, which an integer program cannot do")


def _linear(
    operation: floats.Linear, tensors: Mapping[str, Tensor], tensor: Tensor, graph: floats.Graph
) -> ints.Linear:
    x, name = tensors[operation.x], operation.name
    _check(operation, tensors)
    shared = _shared_weights(operation, graph, tensors)
    weights, weight_scale = shared or weights_of(operation, x)
    bias = np.rint(operation.bias / (x.scale * weight_scale)).astype(np.int64)
    most = np.abs(weights.astype(np.int64)).sum(1) * _largest(x) + np.abs(bias)
    if operation.kind != "dense" and most.max() >= 1 << 31:
        raise ConfigError(
            f"layer {name}: sums over its {weights.shape[1]} inputs may not fit 32 bits; give it fewer channels or taps"
        )
    factor = x.scale * weight_scale / tensor.scale
    factors = [(factor, most)]
    residual_factor = np.zeros(operation.channels)
    if operation.residual:
        residual = tensors[operation.residual]
        residual_factor = operation.residual_gain * residual.scale / tensor.scale
        factors.append((residual_factor, np.full(operation.channels, _largest(residual))))
    offset = operation.offset / tensor.scale
    shift = _shift(factors, offset)
    if shift < 1:
        raise ConfigError(f"layer {name}: its output is so much finer than its input that integers cannot scale it")
    low, high = (
        np.clip(np.rint(limit / tensor.scale), LOWEST[tensor.kind], HIGHEST[tensor.kind]).astype(np.int64)
        for limit in (operation.low, operation.high)
    )
    return ints.Linear(
        name,
        operation.inputs,
        operation.kind,
        weights,
        bias,
        np.rint(factor * 2.0**shift).astype(np.int64),
        np.rint(residual_factor * 2.0**shift).astype(np.int64),
        np.rint(offset * 2.0**shift).astype(np.int64) + (1 << (shift - 1)),
        shift,
        low,
        high,
        taps=len(operation.kernel) if operation.kind == "conv" else 1,
        stride=operation.stride,
        before=operation.before,
        gate=operation.gate,
        residual=operation.residual,
        shares=operation.shares if shared else "",
    )
