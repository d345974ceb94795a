"""Any network as a `graph.Graph`: JAX traces its forward pass, and every primitive operation is translated.

So a network need not describe itself a second time, and what was pruned or added is seen. What depends on constants
alone is computed at once: BatchNorm arrives as a multiplication and an addition. An operation that a microcontroller's
program has no counterpart for is refused, by the name of its layer.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from lrhnet_jax.deploy.int8.graph import DEMOGRAPHICS, SIGNAL, Graph, Input, MaxPool, Operation
from lrhnet_jax.deploy.int8.translate import TRANSLATIONS, Layer, Value
from lrhnet_jax.ecg.leads import DEMOGRAPHICS as COLUMNS
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.kernels.conv1d import plain

Array = np.ndarray
Answer = Callable[[jax.Array, jax.Array], jax.Array]
CALLS = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint")


def trace(answer: Answer, window: int, leads: int) -> Graph:
    """Returns the graph of a network for one window.

    Args:
      answer: (signal (1, window, leads), demographics (1, 5)) -> logits (1, classes); variables are constants of it.

    Raises:
      ConfigError: if a layer does what integer programs cannot do.
    """
    with plain():
        closed = jax.make_jaxpr(answer)(jnp.zeros((1, window, leads)), jnp.zeros((1, len(COLUMNS))))
    tracer = _Tracer()
    inputs: list[Value] = [
        tracer.add(Input(SIGNAL, (), window, leads)),
        tracer.add(Input(DEMOGRAPHICS, (), 0, len(COLUMNS))),
    ]
    (logits,) = tracer.evaluate(closed.jaxpr, [np.asarray(const) for const in closed.consts], inputs, "")
    if not isinstance(logits, Operation) or logits.rows:
        raise ConfigError("the network gives no vector of logits for a window: it cannot become an integer program")
    return Graph(_needed(tracer.operations, logits.name))


def _needed(operations: dict[str, Operation], output: str) -> dict[str, Operation]:
    """The operations that the output depends on, and the signal; the output is the last of them."""
    needed = {SIGNAL, output}
    for name, operation in reversed(operations.items()):
        if name in needed:
            needed.update(operation.inputs)
    kept = {name: operation for name, operation in operations.items() if name in needed and name != output}
    return {**kept, output: operations[output]}


class _Tracer:
    """Walks over a jaxpr. Its values are constants, or operations that are added to the graph."""

    def __init__(self) -> None:
        self.operations: dict[str, Operation] = {}

    def add(self, operation: Operation) -> Operation:
        """Adds an operation, under another name if there is one of that name; max-pooling once for all that read it."""
        for known in self.operations.values():
            if isinstance(operation, MaxPool) and operation == dataclasses.replace(known, name=operation.name):
                return known
        name = next(
            name
            for count in itertools.count(1)
            if (name := operation.name if count == 1 else f"{operation.name}_{count}") not in self.operations
        )
        self.operations[name] = operation = dataclasses.replace(operation, name=name)
        return operation

    def evaluate(self, jaxpr: Any, consts: Sequence[Array], inputs: Sequence[Value], scope: str) -> list[Value]:
        values: dict[Any, Value] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *inputs], strict=True))

        def read(atom: Any) -> Value:
            return np.asarray(atom.val) if isinstance(atom, core.Literal) else values[atom]

        for equation in jaxpr.eqns:
            inside = "/".join(filter(None, (scope, str(equation.source_info.name_stack))))
            operands = [read(atom) for atom in equation.invars]
            values.update(zip(equation.outvars, self._apply(equation, operands, inside), strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _apply(self, equation: Any, operands: list[Value], scope: str) -> list[Value]:
        params = equation.params
        if equation.primitive.name in CALLS:
            inner = params.get("call_jaxpr", params.get("jaxpr"))
            jaxpr, consts = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, [])
            return self.evaluate(jaxpr, [np.asarray(const) for const in consts], operands, scope)
        if all(isinstance(operand, np.ndarray) for operand in operands):
            result = equation.primitive.bind(*operands, **params)
            return [np.asarray(one) for one in (result if equation.primitive.multiple_results else [result])]
        layer = Layer(self, equation, scope)
        translate = TRANSLATIONS.get(equation.primitive.name)
        operation = translate(layer, *operands) if translate else None
        if operation is None:
            raise layer.refusal()
        return [operation]
