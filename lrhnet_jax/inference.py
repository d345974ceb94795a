"""A trained network over whole records: deterministic windows, batched, averaged."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from lrhnet_jax import data, host, steps, stream, windows


@functools.partial(jax.jit, static_argnames=("reader", "window"))
def _window_logits(
    variables: Any,
    store: windows.Store,
    index: jax.Array,
    shift: jax.Array,
    signal: jax.Array | None,
    *,
    reader: steps.Reader,
    window: int,
) -> jax.Array:
    signal = windows.cut_windows(store, index, shift, window) if signal is None else signal
    return steps.predict_logits(reader, variables, signal, store.demographics[index])


def logits(
    reader: steps.Reader,
    variables: Any,
    store: windows.Store,
    index: np.ndarray,
    shift: np.ndarray,
    window: int,
    batch_size: int,
    progress: str = "",
) -> np.ndarray:
    """Returns a network's logits on the given windows, (windows, classes) float32.

    Args:
      index, shift: (windows,) int32, as `windows.cut_windows` takes them.
      progress: the label of a progress bar; none if empty.
    """
    n = len(index)
    size = min(batch_size, n)
    # The last batch is filled up with the first windows: one shape, one compilation.
    batches = (np.arange(start, start + size) % n for start in range(0, n, size))
    samples, store = store.host, store.replace(host=None)
    columns: tuple[int, ...] = ()
    if samples is not None:
        columns, (reader,) = stream.pack([reader])

    def fetch(rows: np.ndarray) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        signal = None if samples is None else jax.device_put(samples.cut(index[rows], shift[rows], window, columns))
        return jnp.asarray(index[rows]), jnp.asarray(shift[rows]), signal

    results, waiting = [], None
    with tqdm.tqdm(total=n, desc=progress, unit="window", disable=None if progress else True) as bar:
        for batch in host.ahead(fetch, batches):
            answer = _window_logits(variables, store, *batch, reader=reader, window=window)
            # One batch stays in flight while the one before it is fetched.
            if waiting is not None:
                results.append(np.asarray(waiting))
            waiting = answer
            bar.update(min(size, n - bar.n))
        results.append(np.asarray(waiting))
    return np.concatenate(results)[:n]


def to_probabilities(logits: np.ndarray | jax.Array, exclusive: bool) -> np.ndarray:
    """Returns the probabilities of logits (n, classes): their softmax if the classes exclude each other, or sigmoid."""
    return np.asarray(jax.nn.softmax(logits) if exclusive else jax.nn.sigmoid(logits))


def store_probabilities(
    reader: steps.Reader,
    variables: Any,
    store: windows.Store,
    records: np.ndarray,
    lengths: np.ndarray,
    window: int,
    batch_size: int,
    progress: str = "",
    exclusive: bool = False,
) -> np.ndarray:
    """Returns each record's class probabilities, averaged over the windows that cover it.

    Args:
      records: (n,) rows of the store.
      lengths: (n,) their lengths in samples.
      exclusive: as in `to_probabilities`.

    Returns:
      (n, classes) float32.
    """
    row, shift = windows.covering_windows(lengths, window)
    index = np.asarray(records, np.int32)[row]
    found = logits(reader, variables, store, index, shift, window, batch_size, progress)
    per_window = to_probabilities(found, exclusive)
    sums = np.zeros((len(records), per_window.shape[1]))
    np.add.at(sums, row, per_window)
    return (sums / np.bincount(row, minlength=len(records))[:, None]).astype(np.float32)


def probabilities(
    model: nn.Module,
    variables: Any,
    records: data.Records,
    leads: tuple[str, ...],
    window: int,
    batch_size: int = 64,
    exclusive: bool = False,
) -> np.ndarray:
    """Returns the class probabilities of every record, (n, classes) float32; see `store_probabilities`."""
    reader = steps.Reader(model, records.columns(leads))
    store = stream.make_store(records, window, round_up=True)
    rows, lengths = np.arange(len(records)), records.lengths
    return store_probabilities(reader, variables, store, rows, lengths, window, batch_size, exclusive=exclusive)
