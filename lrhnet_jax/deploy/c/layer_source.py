"""The text of model.c about layers: weights and other constants, each layer under a comment that says its shape."""

from collections.abc import Collection

import numpy as np

from lrhnet_jax.deploy.c import text, weights
from lrhnet_jax.deploy.int8 import program as ints
from lrhnet_jax.deploy.int8.program import Program

Array = np.ndarray


def layers(program: Program, packed: Collection[str]) -> str:
    """Returns the constants of all layers that have some.

    Args:
      packed: the layers whose weights are sparse.
    """
    linear = [step for step in program.steps if isinstance(step, ints.Linear)]
    in_order = sorted(linear, key=lambda step: bool(step.shares))
    return "\n".join(_layer(program, step, step.name in packed) for step in in_order)


def _layer(program: Program, step: ints.Linear, packed: bool) -> str:
    own, rows = text.name(step.name), program.tensors[step.name].rows
    inputs = 1 if step.kind == "pointwise" else step.weights.shape[1] // step.taps
    parts, fields = _weights(step, packed)
    parts.append(text.array(f"int32_t {own}_bias", step.bias))
    parts.append(text.array(f"int32_t {own}_multiplier", step.multiplier))
    fields |= {"bias": f"{own}_bias", "multiplier": f"{own}_multiplier"}
    if step.kind == "conv":
        fields["dot4"] = f"dot4_{program.tensors[step.x].kind}"
    if step.residual:
        parts.append(text.array(f"int32_t {own}_residual_multiplier", step.residual_multiplier))
        kind = program.tensors[step.residual].kind.upper()
        fields |= {"residual_multiplier": f"{own}_residual_multiplier", "residual_kind": kind}
    if _uniform(step.offset):
        fields["offset"] = f"INT64_C({step.offset[0]})"
    else:
        parts.append(text.array(f"int64_t {own}_offsets", step.offset, "LL"))
        fields["offsets"] = f"{own}_offsets"
    if _uniform(step.low) and _uniform(step.high):
        fields |= {"low": str(step.low[0]), "high": str(step.high[0])}
    else:
        parts.append(text.array(f"int16_t {own}_limits", np.stack([step.low, step.high], 1)))
        fields["limits"] = f"{own}_limits"
    fields |= {
        "inputs": str(inputs),
        "outputs": str(len(step.bias)),
        "taps": str(step.taps),
        "stride": str(step.stride),
        "before": str(step.before),
        "shift": str(step.shift),
        "kind": program.tensors[step.x].kind.upper(),
    }
    given = text.wrapped([f".{key} = {value}" for key, value in fields.items()], " " * 4)
    parts.append(f"static const linear_layer {own}_layer = {{\n    {given}\n}};\n")
    return _title(step, inputs, rows) + "".join(parts)


def _title(step: ints.Linear, inputs: int, rows: int) -> str:
    kernel = f"{step.kind}, {step.taps} taps, stride {step.stride}" if step.kind == "conv" else step.kind
    of = f" of {rows} rows" if rows else ""
    return text.comment(f"{step.name}: {kernel}, {inputs} -> {len(step.bias)} channels{of}")


def _weights(step: ints.Linear, packed: bool) -> tuple[list[str], dict[str, str]]:
    """Returns the arrays of a layer's weights, and the fields that name them."""
    own = text.name(step.name)
    if step.shares:
        return [], {"weights": f"{text.name(step.shares)}_weights"}
    values = step.weights if step.kind == "pointwise" else weights.in_fours(step.weights)
    if not packed:
        return [text.array(f"int8_t {own}_weights", values)], {"weights": f"{own}_weights"}
    mask, kept = weights.pack(values)
    arrays = [text.array(f"uint8_t {own}_mask", mask), text.array(f"int8_t {own}_kept", kept)]
    return arrays, {"weights": f"{own}_kept", "mask": f"{own}_mask"}


def _uniform(values: Array) -> bool:
    return bool((values == values[0]).all())
