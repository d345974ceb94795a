"""Makes a graph short: what surrounds a convolution becomes part of it, as `graph.Linear` can say it.

BatchNorm, ReLU, squeeze-excite's gate and the shortcut's sum each follow one convolution, and nobody else reads what
lies between: so each is composed with it, in float64, without any change of what the graph computes. And the mean over
time that squeeze-excite takes of a convolution's output is a dense layer of the means of its input (`graph.Means`).
"""

import dataclasses

import numpy as np

from lrhnet_jax.deploy.int8.graph import Concat, Graph, Linear, Means, Operation, linear


def fuse(graph: Graph, sums: bool = True) -> Graph:
    """Returns a graph that computes the same in fewer operations.

    Args:
      sums: of a convolution and its shortcut become one operation.
    """
    while True:
        # A sum comes last: it had better become part of the convolution whose gate is by then its own.
        shorter = (
            _merge_once(graph, sums=False)
            or _take_means_before_convolution(graph)
            or _flatten(graph)
            or (_merge_once(graph, sums=True) if sums else None)
        )
        if shorter is None:
            return graph
        graph = shorter


def _merge_once(graph: Graph, sums: bool) -> Graph | None:
    """Composes one pointwise operation with the one that it follows, where no other reads that one."""
    for second in graph.operations.values():
        if not isinstance(second, Linear) or second.kind != "pointwise" or bool(second.residual) > sums:
            continue
        if second.plain and not second.bias.any() and np.allclose(second.kernel, 1, rtol=0, atol=1e-12):
            return _replace(graph, second, graph.operations[second.x])
        for view in _views(graph, second):
            first = graph.operations[view.x]
            if isinstance(first, Linear) and len(graph.readers(first.name)) == 1:
                composed = _compose(first, view)
                if composed:
                    return _replace(graph, second, composed)
    return None


def _views(graph: Graph, operation: Linear) -> list[Linear]:
    """The sum of two tensors is either one with the other as residual; that of the larger convolution comes first."""
    if not operation.residual or operation.gate or operation.bias.any():
        return [operation]
    other = dataclasses.replace(
        operation,
        inputs=(operation.residual, operation.x),
        residual=operation.x,
        kernel=operation.residual_gain,
        residual_gain=operation.kernel,
    )
    return sorted([operation, other], key=lambda view: -_size(graph.operations[view.x]))


def _size(operation: Operation) -> int:
    return operation.kernel.size if isinstance(operation, Linear) else 0


def _compose(first: Linear, second: Linear) -> Linear | None:
    """Returns second(first(x)) as one operation, or None if it cannot be one."""
    if second.residual and (first.residual or first.clips):
        return None
    if second.gate and not first.plain:
        return None
    gain = second.kernel
    bias, offset = first.bias * gain, first.offset * gain
    if second.gate:
        bias, offset = bias + second.bias, second.offset
    else:
        offset = offset + second.bias + second.offset
    gate = first.gate or second.gate
    if not gate:
        bias, offset = bias + offset, np.zeros_like(offset)
    # Clipping before a gain and an offset is clipping behind them, elsewhere.
    moved = [
        np.where(gain == 0, 0, gain * np.where(gain == 0, 0, limit)) + second.bias + second.offset
        for limit in (first.low, first.high)
    ]
    low, high = np.minimum(*moved), np.maximum(*moved)
    if not first.clips:
        low, high = np.full_like(gain, -np.inf), np.full_like(gain, np.inf)
    residual = first.residual or second.residual
    return dataclasses.replace(
        first,
        inputs=(first.x, *filter(None, (gate, residual))),
        kernel=first.kernel * gain,
        bias=bias,
        offset=offset,
        gate=gate,
        residual=residual,
        residual_gain=first.residual_gain * gain if first.residual else second.residual_gain,
        low=np.clip(low, second.low, second.high),
        high=np.clip(high, second.low, second.high),
    )


def _take_means_before_convolution(graph: Graph) -> Graph | None:
    """Replaces the mean over time of one convolution's output by a dense layer of what its taps see on average."""
    for mean in graph.operations.values():
        conv = graph.operations[mean.x] if isinstance(mean, Means) else None
        if not isinstance(mean, Means) or not isinstance(conv, Linear):
            continue
        if mean.taps > 1 or conv.kind != "conv" or conv.stride > 1 or not conv.plain:
            continue
        taps, inputs, _ = conv.kernel.shape
        seen = Means(f"{conv.name}/means", (conv.x,), 0, taps * inputs, taps, conv.before, conv.rows)
        kernel = conv.kernel.reshape(taps * inputs, -1)
        shares = conv.name if len(graph.readers(conv.name)) > 1 else ""
        dense = linear(mean.name, seen, "dense", kernel, conv.bias, shares=shares)
        operations: dict[str, Operation] = {}
        for name, operation in graph.operations.items():
            if operation is mean:
                operations |= {seen.name: seen, dense.name: dense}
            elif operation is not conv or shares:
                operations[name] = operation
        return Graph(operations)
    return None


def _flatten(graph: Graph) -> Graph | None:
    """Makes one concatenation of one inside another."""
    for outer in graph.operations.values():
        for name in outer.inputs:
            inner = graph.operations[name]
            if isinstance(outer, Concat) and isinstance(inner, Concat) and len(graph.readers(name)) == 1:
                at = outer.inputs.index(name)
                inputs = (*outer.inputs[:at], *inner.inputs, *outer.inputs[at + 1 :])
                flat = dataclasses.replace(outer, inputs=inputs)
                kept = {key: operation for key, operation in graph.operations.items() if operation is not inner}
                return Graph({key: flat if operation is outer else operation for key, operation in kept.items()})
    return None


def _replace(graph: Graph, old: Operation, new: Operation) -> Graph:
    """Puts `new`, under its own name, in the place of `old`; an operation of the same name elsewhere goes."""
    operations: dict[str, Operation] = {}
    known = graph.operations.get(new.name) is new
    for name, operation in graph.operations.items():
        if operation is old:
            if not known:
                operations[new.name] = new
        elif name != new.name or known:
            operations[name] = _renamed(operation, old.name, new.name)
    return Graph(operations)


def _renamed(operation: Operation, old: str, new: str) -> Operation:
    if old not in operation.inputs:
        return operation
    fields: dict[str, object] = {"inputs": tuple(new if name == old else name for name in operation.inputs)}
    if isinstance(operation, Linear):
        fields |= {key: new for key in ("gate", "residual") if getattr(operation, key) == old}
    return dataclasses.replace(operation, **fields)  # type: ignore[arg-type]
