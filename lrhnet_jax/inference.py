"""A trained network over whole records: deterministic windows, batched, averaged.

Batches are shared out over devices as in training. Every process gets all results.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from lrhnet_jax import data, processes, sharding, steps, windows


@functools.partial(jax.jit, static_argnames=("reader", "window", "parallel"))
def _window_logits(
    variables: Any,
    store: windows.Store,
    index: jax.Array,
    shift: jax.Array,
    *,
    reader: steps.Reader,
    window: int,
    parallel: sharding.Parallel,
) -> jax.Array:
    index, shift = parallel.split((index, shift))
    signal = windows.cut_windows(store, index, shift, window)
    return parallel.join(steps.predict_logits(reader, variables, signal, store.demographics[index]))


def logits(
    reader: steps.Reader,
    variables: Any,
    store: windows.Store,
    index: np.ndarray,
    shift: np.ndarray,
    window: int,
    batch_size: int,
    progress: str = "",
    parallel: sharding.Parallel | None = None,
) -> np.ndarray:
    """Returns a network's logits on the given windows, (windows, classes) float32.

    Args:
      index, shift: (windows,) int32, as `windows.cut_windows` takes them.
      batch_size: rounded up to a multiple of the devices.
      progress: the label of a progress bar; none if empty.
      parallel: the devices that share a batch, with `store` on all of them (`Parallel.place`); None: one device.
    """
    parallel = parallel or sharding.one()
    variables = parallel.place(variables)
    n, devices = len(index), len(parallel.devices)
    size = -(-min(batch_size, n) // devices) * devices
    results, waiting = [], None
    hidden = None if progress and processes.is_first() else True
    with tqdm.tqdm(total=n, desc=progress, unit="window", disable=hidden) as bar:
        for start in range(0, n, size):
            # The last batch is filled up with the first windows: one shape, one compilation.
            rows = np.arange(start, start + size) % n
            where = parallel.place((jnp.asarray(index[rows]), jnp.asarray(shift[rows])))
            batch = _window_logits(variables, store, *where, reader=reader, window=window, parallel=parallel)
            # One batch stays in flight while the one before it is fetched.
            if waiting is not None:
                results.append(np.asarray(waiting))
            waiting = batch
            bar.update(min(size, n - start))
        results.append(np.asarray(waiting))
    return np.concatenate(results)[:n]


def store_probabilities(
    reader: steps.Reader,
    variables: Any,
    store: windows.Store,
    records: np.ndarray,
    lengths: np.ndarray,
    window: int,
    batch_size: int,
    progress: str = "",
    parallel: sharding.Parallel | None = None,
) -> np.ndarray:
    """Returns each record's class probabilities, averaged over the windows that cover it.

    Args:
      records: (n,) rows of the store.
      lengths: (n,) their lengths in samples.
      batch_size, progress, parallel: as of `logits`.

    Returns:
      (n, classes) float32.
    """
    row, shift = windows.covering_windows(lengths, window)
    index = np.asarray(records, np.int32)[row]
    per_window = jax.nn.sigmoid(logits(reader, variables, store, index, shift, window, batch_size, progress, parallel))
    sums = np.zeros((len(records), per_window.shape[1]))
    np.add.at(sums, row, np.asarray(per_window))
    return (sums / np.bincount(row, minlength=len(records))[:, None]).astype(np.float32)


def probabilities(
    model: nn.Module, variables: Any, records: data.Records, leads: tuple[str, ...], window: int, batch_size: int = 64
) -> np.ndarray:
    """Returns the class probabilities of every record, (n, classes) float32; see `store_probabilities`."""
    reader = steps.Reader(model, records.columns(leads))
    store = windows.make_store(records, window, round_up=True)
    return store_probabilities(reader, variables, store, np.arange(len(records)), records.lengths, window, batch_size)
