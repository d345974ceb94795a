"""What the device can do at best, measured: products of large matrices, and a copy of a large array."""

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
