"""What the device can do at best, measured, and how near to it a step comes: products of large matrices, and a copy of
a large array."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import measure


def _noise(shape: tuple[int, ...], dtype: str) -> jax.Array:
    """Random values: on ones the arithmetic takes less power, and a GPU runs faster than it does on data."""
    few = jax.random.normal(jax.random.key(0), (2**20,))  # repeated: drawing many takes memory
    return jax.jit(lambda: jnp.resize(few, shape).astype(dtype))()


def matmul(size: int, repeats: int, dtype: str = "float32") -> float:
    """Returns the FLOP/s of the fastest of `repeats` products of two square matrices, at JAX's default precision."""
    matrix = _noise((size, size), dtype)
    product = jax.jit(lambda a, b: a @ b)
    timing = measure.interleave({"matmul": lambda: product(matrix, matrix).block_until_ready()}, repeats)["matmul"]
    return 2 * size**3 / min(timing["seconds"])


def bandwidth(size: int, repeats: int) -> float:
    """Returns the bytes/s, read and written, of the fastest of `repeats` passes over `size` float32 values."""
    array = _noise((size,), "float32")
    add = jax.jit(lambda x: x + 1)  # a bare copy might be answered without one
    timing = measure.interleave({"copy": lambda: add(array).block_until_ready()}, repeats)["copy"]
    return 2 * array.nbytes / min(timing["seconds"])


def roofline(row: dict[str, Any], ceiling: float, bandwidth: float) -> dict[str, Any]:
    """Returns the least seconds of a step by operations and by bytes, and the share of the longer in the measured."""
    times = {"operations": row["operations"] / ceiling}
    if row["xla_bytes"]:
        times["bytes"] = row["xla_bytes"] / bandwidth
    bound = max(times, key=lambda name: times[name])
    return {
        "least_seconds": times,
        "bound": bound,
        "bound_samples_per_second": row["batch"] / times[bound],
        "share": times[bound] * row["samples_per_second"] / row["batch"],
        "operations_share": times["operations"] * row["samples_per_second"] / row["batch"],
    }
