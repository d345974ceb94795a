"""A trained network over whole records: deterministic windows, batched, averaged.

Batches are shared out over devices as in training. Every process gets all results.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import tqdm

from lrhnet_jax.data import stream
from lrhnet_jax.data.batch import LeadNetwork, predict_logits
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.data.store import Store, covering_windows, cut_windows
from lrhnet_jax.kernels.conv1d import laid_out
from lrhnet_jax.runtime import host, processes
from lrhnet_jax.runtime.devices import Parallel, one_device

CPU_WINDOWS = 16  # at a time at most, of a CPU: what a layer makes of more leaves its caches before the next reads it


def windows_a_call(batch_size: int, devices: Sequence[jax.Device]) -> int:
    """Returns how many windows the devices are given at a time: `batch_size`; CPUs `CPU_WINDOWS` each at most."""
    return min(batch_size, CPU_WINDOWS * len(devices)) if devices[0].platform == "cpu" else batch_size


@functools.partial(jax.jit, static_argnames=("lead_network", "window", "parallel"))
def _window_logits(
    variables: Any,
    store: Store,
    index: jax.Array,
    shift: jax.Array,
    signal: jax.Array | None,
    *,
    lead_network: LeadNetwork,
    window: int,
    parallel: Parallel,
) -> jax.Array:
    index, shift = parallel.constrain_batch((index, shift))
    signal = cut_windows(store, index, shift, window) if signal is None else signal[0]
    with laid_out(parallel.layout):
        logits = predict_logits(lead_network, variables, signal, store.demographics[index])
    return parallel.constrain_replicated(logits)


def logits(
    lead_network: LeadNetwork,
    variables: Any,
    store: Store,
    index: np.ndarray,
    shift: np.ndarray,
    window: int,
    batch_size: int,
    progress: str = "",
    parallel: Parallel | None = None,
) -> np.ndarray:
    """Returns a network's logits on the given windows, (windows, classes) float32.

    Args:
      index, shift: (windows,) int32, as `store.cut_windows` takes them.
      batch_size: see `windows_a_call`; rounded up to a multiple of the devices.
      progress: the label of a progress bar; none if empty.
      parallel: the devices that share a batch, with `store` on all of them (`Parallel.replicate`); None: one device.
    """
    # Whatever the steps run by, here it is jit over their devices.
    parallel = dataclasses.replace(parallel, kind="jit") if parallel else one_device()
    variables = parallel.replicate(variables)
    n, devices = len(index), len(parallel.devices)
    size = -(-min(windows_a_call(batch_size, parallel.devices), n) // devices) * devices
    # The last batch is filled up with the first windows: one shape, one compilation.
    batches = (np.arange(start, start + size) % n for start in range(0, n, size))
    samples, store = store.host, store.replace(host=None)
    columns: tuple[int, ...] = ()
    if samples is not None:
        columns, (lead_network,) = stream.pack([lead_network])

    def fetch(rows: np.ndarray) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        signal = None
        if samples is not None:
            shape = (1, size, window, len(columns))
            signal = parallel.shard_windows(
                shape, lambda part: samples.cut(index[rows[part]], shift[rows[part]], window, columns)[None]
            )
        return (*parallel.replicate((index[rows], shift[rows])), signal)

    results, waiting = [], None
    hidden = None if progress and processes.is_first() else True
    with tqdm.tqdm(total=n, desc=progress, unit="window", disable=hidden) as bar:
        for batch in host.ahead(fetch, batches):
            answer = _window_logits(
                variables, store, *batch, lead_network=lead_network, window=window, parallel=parallel
            )
            # One batch stays in flight while the one before it is fetched.
            if waiting is not None:
                results.append(np.asarray(waiting))
            waiting = answer
            bar.update(min(size, n - bar.n))
        results.append(np.asarray(waiting))
    return np.concatenate(results)[:n]


def activate(logits: np.ndarray | jax.Array, exclusive: bool) -> jax.Array:
    """Returns the probabilities of logits (n, classes): their softmax if the classes exclude each other, or sigmoid."""
    return jax.nn.softmax(logits) if exclusive else jax.nn.sigmoid(logits)


def to_probabilities(logits: np.ndarray | jax.Array, exclusive: bool) -> np.ndarray:
    """Returns what `activate` does, on the host."""
    return np.asarray(activate(logits, exclusive))


def average(per_window: np.ndarray, record: np.ndarray, count: int) -> np.ndarray:
    """Returns each record's mean over its windows, (count, classes) float32.

    Args:
      per_window: (windows, classes) probabilities.
      record: (windows,) which of the `count` records; each has a window.
    """
    sums = np.zeros((count, per_window.shape[1]))
    np.add.at(sums, record, per_window)
    return (sums / np.bincount(record, minlength=count)[:, None]).astype(np.float32)


def store_probabilities(
    lead_network: LeadNetwork,
    variables: Any,
    store: Store,
    records: np.ndarray,
    lengths: np.ndarray,
    window: int,
    batch_size: int,
    progress: str = "",
    exclusive: bool = False,
    parallel: Parallel | None = None,
) -> np.ndarray:
    """Returns each record's class probabilities, averaged over the windows that cover it.

    Args:
      records: (n,) rows of the store.
      lengths: (n,) their lengths in samples.
      exclusive: as in `to_probabilities`.
      batch_size, progress, parallel: as of `logits`.

    Returns:
      (n, classes) float32.
    """
    row, shift = covering_windows(lengths, window)
    index = np.asarray(records, np.int32)[row]
    found = logits(lead_network, variables, store, index, shift, window, batch_size, progress, parallel)
    return average(to_probabilities(found, exclusive), row, len(records))


def probabilities(
    model: nn.Module,
    variables: Any,
    records: Dataset,
    leads: tuple[str, ...],
    window: int,
    batch_size: int = 64,
    exclusive: bool = False,
) -> np.ndarray:
    """Returns the class probabilities of every record, (n, classes) float32; see `store_probabilities`."""
    lead_network = LeadNetwork(model, records.columns(leads))
    store = stream.make_store(records, window, round_up=True)
    rows, lengths = np.arange(len(records)), records.lengths
    return store_probabilities(lead_network, variables, store, rows, lengths, window, batch_size, exclusive=exclusive)
