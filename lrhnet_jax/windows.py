"""The ragged device store that training cuts its windows from.

A data set is copied to the device once: the samples of all records one after another, with offsets and lengths. Windows
are cut, zero-padded and cast on the device, inside the training step, so nothing crosses the host after loading.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lrhnet_jax.data import Records
from lrhnet_jax.errors import DataError


class Store(flax.struct.PyTreeNode):
    """A data set on the device, as one ragged buffer.

    Attributes:
      signals: (margin + total samples + margin, leads) float16; the zero margins of one window let a slice run over.
      offsets: (n,) int32, first row of each record in `signals`.
      lengths: (n,) int32.
      labels: (n, classes) float32.
      demographics: (n, 5) float32.
    """

    signals: jax.Array
    offsets: jax.Array
    lengths: jax.Array
    labels: jax.Array
    demographics: jax.Array


def make_store(records: Records, window: int, round_up: bool = False) -> Store:
    """Copies `records` to the default device, ready for windows of `window` samples.

    Args:
      round_up: pad every array to a power of two, so that stores of many sizes share a few compiled programs.
    """

    def size(n: int) -> int:
        return 1 << (n - 1).bit_length() if round_up else n

    def padded(rows: np.ndarray, dtype: Any) -> jax.Array:
        filled = np.zeros((size(len(rows)), *rows.shape[1:]), dtype)
        filled[: len(rows)] = rows
        return jnp.asarray(filled)

    rows = size(len(records.signals) + 2 * window)
    if rows >= 2**31:
        raise DataError(f"{rows} samples do not fit the store's 32-bit offsets; split the data set")
    signals = np.zeros((rows, records.signals.shape[1]), np.float16)
    signals[window : window + len(records.signals)] = records.signals
    return Store(
        signals=jnp.asarray(signals),
        offsets=padded(records.offsets + window, np.int32),
        lengths=padded(records.lengths, np.int32),
        labels=padded(records.labels, np.float32),
        demographics=padded(records.demographics, np.float32),
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


def covering_windows(lengths: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the fewest evenly spread windows that cover each record; a short record sits in the middle of one.

    Returns:
      record: (windows,) int32, which record; shift: (windows,) int32, as `cut_windows` takes it.
    """
    record, shift = [], []
    for i, length in enumerate(np.asarray(lengths).tolist()):
        count = max(1, -(-length // window))
        starts = [-((window - length) // 2)] if length <= window else np.linspace(0, length - window, count).round()
        record += [i] * count
        shift += [int(start) for start in starts]
    return np.array(record, np.int32), np.array(shift, np.int32)
