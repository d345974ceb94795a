"""How weights lie in C: in fours as kernels.h wants them, and sparse where most are zero.

Sparse weights are a bit for each, which says whether it is there, and those that are there, one after another. A stage
unpacks those of its layers into the arena before it begins: flash is saved, and RAM is spent.
"""

import numpy as np

from lrhnet_jax.deploy.int8 import program as ints
from lrhnet_jax.deploy.int8.program import Program, Step

Array = np.ndarray


def in_fours(weights: Array) -> Array:
    """Returns weights (outputs, inputs) as kernels.h wants them: (outputs / 4, inputs / 4, 4, 4)."""
    outputs, inputs = weights.shape
    padded = np.pad(weights, ((0, -outputs % 4), (0, -inputs % 4)))
    return padded.reshape(-(-outputs // 4), 4, -(-inputs // 4), 4).transpose(0, 2, 1, 3)


def pack(weights: Array) -> tuple[Array, Array]:
    """Returns which weights are there, uint8 of eight each, the lowest bit first, and their values, int8."""
    flat = weights.ravel()
    return np.packbits(flat != 0, bitorder="little"), flat[flat != 0]


def unpack(mask: Array, kept: Array, count: int) -> Array:
    """Returns `count` weights of what `pack` has made, as C does."""
    weights = np.zeros(count, np.int8)
    weights[np.unpackbits(mask, bitorder="little")[:count].astype(bool)] = kept
    return weights


def worth_packing(program: Program) -> dict[str, int]:
    """Returns the layers that take less flash when their weights are sparse, and the bytes of these when unpacked.

    Only convolutions are packed, and only those whose weights no dense layer shares.
    """
    shared = {step.shares for step in program.steps if isinstance(step, ints.Linear)}
    sizes = {}
    for step in program.steps:
        if isinstance(step, ints.Linear) and step.kind == "conv" and step.name not in shared:
            dense = in_fours(step.weights)
            if sum(part.size for part in pack(dense)) < dense.size:
                sizes[step.name] = dense.size
    return sizes


def stored_bytes(step: Step, packed: bool) -> int:
    """Returns the bytes of flash that a step's weights take."""
    if not isinstance(step, ints.Linear) or step.shares:
        return 0
    dense = step.weights if step.kind == "pointwise" else in_fours(step.weights)
    return sum(part.size for part in pack(dense)) if packed else dense.size
