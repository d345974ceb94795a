"""The ragged store that windows are cut from.

A data set is copied to the device once: the samples of all records one after another, with offsets and lengths. Windows
are cut, zero-padded and cast on the device, inside the training step, so nothing crosses the host after loading. The
samples of a set that is too large for that stay on the host, where the same windows are cut; see `stream`.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.data.windows import HostSignals
from lrhnet_jax.errors import DataError

MAX_ROWS = 2**31 - 1  # of a resident store, whose offsets are int32


class Store(flax.struct.PyTreeNode):
    """A data set on the device, as one ragged buffer.

    Attributes:
      signals: (margin + total samples + margin, leads) float16; the zero margins of one window let a slice run over. No
        rows where the samples stay on the host.
      offsets: (n,) int32, first row of each record in `signals`.
      lengths: (n,) int32.
      labels: (n, classes) float32.
      demographics: (n, 5) float32.
      host: the samples, where they stay on the host; no part of the tree.
    """

    signals: jax.Array
    offsets: jax.Array
    lengths: jax.Array
    labels: jax.Array
    demographics: jax.Array
    host: HostSignals | None = flax.struct.field(pytree_node=False, default=None)


def make_store(records: Dataset, window: int, round_up: bool = False, resident: bool = True) -> Store:
    """Copies `records` to the default device, ready for windows of `window` samples.

    Args:
      round_up: pad every array to a power of two, so that stores of many sizes share a few compiled programs.
      resident: False leaves the samples on the host.

    Raises:
      DataError: if the samples are too many for the offsets of a resident store.
    """

    def size(n: int) -> int:
        return 1 << (n - 1).bit_length() if round_up else n

    def padded(rows: np.ndarray, dtype: Any) -> jax.Array:
        filled = np.zeros((size(len(rows)), *rows.shape[1:]), dtype)
        filled[: len(rows)] = rows
        return jnp.asarray(filled)

    if resident:
        rows = size(len(records.signals) + 2 * window)
        if rows > MAX_ROWS:
            raise DataError(f"{rows} samples do not fit the store's 32-bit offsets; set --config.input=stream")
        signals = np.zeros((rows, records.signals.shape[1]), np.float16)
        signals[window : window + len(records.signals)] = records.signals
        host, offsets = None, records.offsets + window
    else:
        # A plain view: slices of a memory map are slow to make.
        host = HostSignals(records.signals.view(np.ndarray), records.offsets, records.lengths)
        signals, offsets = np.zeros((0, records.signals.shape[1]), np.float16), np.zeros(len(records))
    return Store(
        signals=jax.device_put(signals),  # jnp.asarray would hold one more copy meanwhile
        offsets=padded(offsets, np.int32),
        lengths=padded(records.lengths, np.int32),
        labels=padded(records.labels, np.float32),
        demographics=padded(records.demographics, np.float32),
        host=host,
    )


def cut_windows(store: Store, index: jax.Array, shift: jax.Array, window: int) -> jax.Array:
    """Cuts one window a record; what lies outside its record is zero.

    Args:
      index: (batch,) int32, which records.
      shift: (batch,) int32, first sample of the window relative to the record's; negative pads in front.
      window: length, static.

    Returns:
      (batch, window, leads) float16.
    """

    def one(i: jax.Array, s: jax.Array) -> jax.Array:
        rows = lax.dynamic_slice_in_dim(store.signals, store.offsets[i] + s, window)
        position = s + jnp.arange(window)
        inside = (position >= 0) & (position < store.lengths[i])
        return jnp.where(inside[:, None], rows, 0)

    return jax.vmap(one)(index, shift)


def random_shifts(key: jax.Array, lengths: jax.Array, window: int, count: int) -> jax.Array:
    """Draws `count` window positions a record: a random crop, or random zero padding of a short record.

    Returns:
      (n, count) int32, in [0, length - window] for long and [length - window, 0] for short records.
    """
    slack = (lengths - window)[:, None]
    draw = jax.random.uniform(key, (len(lengths), count))
    steps = jnp.floor(draw * (jnp.abs(slack) + 1)).astype(jnp.int32)
    return jnp.sign(slack) * jnp.minimum(steps, jnp.abs(slack))
