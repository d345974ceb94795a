"""Convolutions of few channels on NVIDIA GPUs, as Pallas kernels.

cuDNN is made for many channels; in layers of 16 or 32 it reaches a fraction of the memory's speed, which is what bounds
them. Signals are (batch, time, channels), so the samples that an output sees lie in memory one after another, and a
convolution is a product of two matrices of which the left one's rows overlap: the kernels read them where they are, and
nobody writes the patches down. Outputs of several samples are computed as the channels of one (`expand`): tensor cores
want more columns than 16, and fewer rows then overlap less.

The gradient by the input is such a convolution too (`conv1d._input_gradient`); that by the filter is the product of the
same rows, transposed, with the output's gradient, summed by parts.
"""

import dataclasses
import functools
import logging
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

logger = logging.getLogger(__name__)

NARROW = 32  # channels in and out up to which the kernels win over cuDNN, on an H200
VECTORISED = (
    64  # and that of many networks at once, for which cuDNN has grouped convolutions, between two transpositions
)
INTERPRET = False  # for tests: runs the kernels' code anywhere, slowly


class Tiles(NamedTuple):
    """How a kernel is cut up; chosen on an H200, at LRH-Net's layers.

    Attributes:
      columns: outputs times the samples that are computed as one.
      rows, depth: of a tile of the overlapping rows.
      warps, stages: as Triton takes them.
    """

    columns: int
    rows: int
    depth: int
    warps: int
    stages: int


FORWARD = {"bfloat16": Tiles(64, 128, 32, 4, 4), "float32": Tiles(32, 256, 32, 4, 3)}
FILTER = {"bfloat16": Tiles(64, 64, 64, 4, 3), "float32": Tiles(128, 32, 32, 4, 3)}
PROGRAMS = {"bfloat16": 528, "float32": 1056}  # that share out the sum of a filter's gradient; an H200 runs 132 at once


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a program that may use the kernels runs: on one device, or with its batch shared out over a mesh by jit.

    XLA cannot share out a kernel of ours by itself.

    Attributes:
      networks: how many a device computes at once.
    """

    mesh: Mesh | None = None
    axis: str = ""
    networks: int = 1

    @property
    def channels(self) -> int:
        """In and out, up to which layers have the kernels."""
        return NARROW if self.networks == 1 else VECTORISED


def available(device: Any) -> bool:
    """Whether a device can run the kernels: NVIDIA's from Ampere on, unless LRHNET_GPU_KERNELS=0 says no.

    Elsewhere, and where JAX no longer has what the kernels are written in, convolutions are XLA's.
    """
    if device.platform != "gpu" or os.environ.get("LRHNET_GPU_KERNELS") == "0":
        return False
    try:
        suits = float(device.compute_capability) >= 8  # AMD's are called gfx...
    except (AttributeError, ValueError):
        return False
    return suits and _supported()


@functools.cache
def _supported() -> bool:
    """Whether this JAX takes the kernels: its Triton backend is deprecated since 0.11. If not, the log says so."""
    x, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 64, 16), (8, 16, 16)))
    forms = (
        functools.partial(_conv1d, stride=1, padding=(3, 4)),
        lambda x, _: _filter_gradient(x, x, taps=8, stride=1, padding=(3, 4), networks=1),
    )
    try:
        for form in forms:
            traced = jax.jit(form).trace(x, kernel)
            if jax.default_backend() == "gpu":
                traced.lower()
    except Exception as error:  # in whatever way it has gone
        logger.warning(
            "JAX %s has no Pallas Triton backend (%s: %s): convolutions of few channels are XLA's, which are slower",
            jax.__version__,
            type(error).__name__,
            error,
        )
        return False
    return True


def suit(x: jax.Array, kernel: jax.Array, layout: Layout) -> bool:
    """Whether the kernels compute this convolution, and faster than cuDNN does.

    Args:
      x: (batch, time, in).
      kernel: (taps, in, out).
    """
    taps, inputs, outputs = kernel.shape
    narrow = max(inputs, outputs) <= layout.channels and outputs.bit_count() == 1  # Triton's tiles are powers of two
    small = x.shape[0] * x.shape[1] * layout.channels < 2**31  # a kernel's indices are 32-bit
    return taps > 1 and narrow and small and str(x.dtype) in FORWARD


def conv1d(x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int], layout: Layout) -> jax.Array:
    """Computes what `conv1d.conv1d` computes; without a gradient of its own."""
    run = functools.partial(_conv1d, stride=stride, padding=padding)
    if layout.mesh is None:
        return run(x, kernel)
    each, whole = PartitionSpec(layout.axis), PartitionSpec()
    return jax.shard_map(run, mesh=layout.mesh, in_specs=(each, whole), out_specs=each, check_vma=False)(x, kernel)


def filter_gradient(
    x: jax.Array, gradient: jax.Array, taps: int, stride: int, padding: tuple[int, int], layout: Layout
) -> jax.Array:
    """Returns the gradient of `conv1d` by its kernel, (taps, in, out) float32, from that by its output."""
    run = functools.partial(_filter_gradient, taps=taps, stride=stride, padding=padding, networks=layout.networks)
    if layout.mesh is None:
        return run(x, gradient)
    each, whole = PartitionSpec(layout.axis), PartitionSpec()

    def share(x: jax.Array, gradient: jax.Array) -> jax.Array:
        return lax.psum(run(x, gradient), layout.axis)

    return jax.shard_map(share, mesh=layout.mesh, in_specs=(each, each), out_specs=whole, check_vma=False)(x, gradient)


def expand(kernel: jax.Array, group: int, stride: int) -> jax.Array:
    """Returns the kernel whose outputs are those of `group` samples: (taps + (group - 1) * stride, in, group * out)."""
    taps, inputs, outputs = kernel.shape
    width = taps + (group - 1) * stride
    shifted = [jnp.pad(kernel, ((i * stride, width - taps - i * stride), (0, 0), (0, 0))) for i in range(group)]
    return jnp.stack(shifted, 2).reshape(width, inputs, group * outputs)


def contract(gradient: jax.Array, taps: int, group: int, stride: int) -> jax.Array:
    """Returns the gradient by a kernel from that by what `expand` made of it."""
    width, inputs, columns = gradient.shape
    gradient = gradient.reshape(width, inputs, group, columns // group)
    return sum((gradient[i * stride : i * stride + taps, :, i] for i in range(1, group)), gradient[:taps, :, 0])


class _Rows(NamedTuple):
    """The overlapping rows of a record: row r is the samples from r * step + first on, zero outside 0 to size.

    Attributes:
      step, first, size: in values, samples times channels.
      number: of rows.
    """

    step: int
    first: int
    size: int
    number: int

    def load(self, x_ref: Any, record: Any, row: Any, column: Any) -> Any:
        """Returns a tile: for every one of `row` its values `column`."""
        from jax.experimental.pallas import triton

        place = (row * self.step + self.first)[:, None] + column[None, :]
        return triton.load(x_ref.at[record, place], mask=(place >= 0) & (place < self.size), other=0.0)


def _conv1d(x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    (taps, inputs, outputs), (batch, time, _) = kernel.shape, x.shape
    tiles = FORWARD[str(x.dtype)]
    group = max(1, tiles.columns // outputs)
    steps = (time + sum(padding) - taps) // stride + 1
    rows = _Rows(group * stride * inputs, -padding[0] * inputs, time * inputs, -(-steps // group))
    kernel = expand(kernel, group, stride).reshape(-1, group * outputs)
    kernel = jnp.pad(kernel, ((0, -len(kernel) % tiles.depth), (0, 0)))
    depth, columns = kernel.shape

    def body(x_ref: Any, kernel_ref: Any, y_ref: Any) -> None:
        from jax.experimental import pallas as pl
        from jax.experimental.pallas import triton

        record, block = pl.program_id(0), pl.program_id(1)
        row = block * tiles.rows + jnp.arange(tiles.rows)

        def add(i: Any, total: jax.Array) -> jax.Array:
            tile = rows.load(x_ref, record, row, i * tiles.depth + jnp.arange(tiles.depth))
            part = kernel_ref[pl.ds(i * tiles.depth, tiles.depth), :]
            return total + jnp.dot(tile, part, preferred_element_type=jnp.float32)

        total = lax.fori_loop(0, depth // tiles.depth, add, jnp.zeros((tiles.rows, columns), jnp.float32))
        place = y_ref.at[record, pl.ds(block * tiles.rows, tiles.rows), :]
        triton.store(place, total.astype(y_ref.dtype), mask=(row < rows.number)[:, None])

    blocks = -(-rows.number // tiles.rows)
    call = _call(body, (batch, rows.number, columns), x.dtype, (batch, blocks), tiles)
    y = call(x.reshape(batch, rows.size), kernel)
    return y.reshape(batch, rows.number * group, outputs)[:, :steps]


def _filter_gradient(
    x: jax.Array, gradient: jax.Array, taps: int, stride: int, padding: tuple[int, int], networks: int
) -> jax.Array:
    (batch, time, inputs), (_, steps, outputs) = x.shape, gradient.shape
    tiles = FILTER[str(x.dtype)]
    group = max(1, tiles.columns // outputs)
    columns, width = group * outputs, taps + (group - 1) * stride
    rows = _Rows(group * stride * inputs, -padding[0] * inputs, time * inputs, -(-steps // group))
    gradient = jnp.pad(gradient, ((0, 0), (0, rows.number * group - steps), (0, 0)))
    slabs, blocks = -(-width * inputs // tiles.depth), -(-rows.number // tiles.rows)
    total = batch * blocks
    each = min(total, -(-total * slabs * networks // PROGRAMS[str(x.dtype)]))  # blocks of rows that a program sums
    parts = -(-total // each)

    def body(x_ref: Any, gradient_ref: Any, sum_ref: Any) -> None:
        from jax.experimental import pallas as pl
        from jax.experimental.pallas import triton

        part, slab = pl.program_id(0), pl.program_id(1)
        column = slab * tiles.depth + jnp.arange(tiles.depth)

        def add(i: Any, so_far: jax.Array) -> jax.Array:
            item = jnp.minimum(part * each + i, total - 1)
            record, block = item // blocks, item % blocks
            row = block * tiles.rows + jnp.arange(tiles.rows)
            inside = (row < rows.number) & (part * each + i < total)
            tile = rows.load(x_ref, record, row, column)
            place = gradient_ref.at[record, pl.ds(block * tiles.rows, tiles.rows), :]
            part_of_gradient = triton.load(place, mask=inside[:, None], other=0.0)
            return so_far + jnp.dot(tile.T, part_of_gradient, preferred_element_type=jnp.float32)

        products = lax.fori_loop(0, each, add, jnp.zeros((tiles.depth, columns), jnp.float32))
        sum_ref[part, pl.ds(slab * tiles.depth, tiles.depth), :] = products

    call = _call(body, (parts, slabs * tiles.depth, columns), jnp.float32, (parts, slabs), tiles)
    sums = call(x.reshape(batch, rows.size), gradient.reshape(batch, rows.number, columns))
    per_tap = sums.sum(0)[: width * inputs].reshape(width, inputs, columns)
    return contract(per_tap, taps, group, stride)


def _call(body: Any, shape: tuple[int, ...], dtype: Any, grid: tuple[int, ...], tiles: Tiles) -> Any:
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    return pl.pallas_call(
        body,
        out_shape=jax.ShapeDtypeStruct(shape, dtype),
        grid=grid,
        compiler_params=triton.CompilerParams(num_warps=tiles.warps, num_stages=tiles.stages),
        interpret=INTERPRET,
    )
