"""A trained network over whole records: deterministic windows, batched, averaged.

Batches are shared out over devices as in training. Every process gets all results.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import tqdm

from lrhnet_jax.data import stream
from lrhnet_jax.data.batch import LeadNetwork, predict_logits
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.data.store import Store, cut_windows
from lrhnet_jax.data.windows import average, covering_windows
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
    start: jax.Array,
    signal: jax.Array | None,
    *,
    lead_network: LeadNetwork,
    window: int,
    parallel: Parallel,
) -> jax.Array:
    index, start = parallel.constrain_batch((index, start))
    signal = cut_windows(store, index, start, window) if signal is None else signal[0]
    with laid_out(parallel.layout):
        logits = predict_logits(lead_network, variables, signal, store.demographics[index])
    return parallel.constrain_replicated(logits)


def activate(logits: np.ndarray | jax.Array, exclusive: bool) -> jax.Array:
    """Returns the probabilities of logits (n, classes): their softmax if the classes exclude each other, or sigmoid."""
    return jax.nn.softmax(logits) if exclusive else jax.nn.sigmoid(logits)


def to_probabilities(logits: np.ndarray | jax.Array, exclusive: bool) -> np.ndarray:
    """Returns what `activate` does, on the host."""
    return np.asarray(activate(logits, exclusive))


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A trained network that answers for windows and records.

    Attributes:
      lead_network, variables: the network, and its parameters and statistics.
      window: samples it sees at a time.
      batch_size: windows at a time; see `windows_a_call`. Rounded up to a multiple of the devices.
      exclusive: classes exclude each other; see `activate`.
      parallel: the devices that share a batch, on all of which the store has to be (`Parallel.replicate`).
    """

    lead_network: LeadNetwork
    variables: Any
    window: int
    batch_size: int = 64
    exclusive: bool = False
    parallel: Parallel = dataclasses.field(default_factory=one_device)

    def logits(self, store: Store, index: np.ndarray, start: np.ndarray, progress: str = "") -> np.ndarray:
        """Returns the logits of the given windows, (windows, classes) float32.

        Args:
          index, start: (windows,) int32, as `store.cut_windows` takes them.
          progress: the label of a progress bar; none if empty.
        """
        # Whatever the training steps run by, here it is jit over their devices.
        parallel, window, lead_network = dataclasses.replace(self.parallel, kind="jit"), self.window, self.lead_network
        variables = parallel.replicate(self.variables)
        n, devices = len(index), len(parallel.devices)
        size = -(-min(windows_a_call(self.batch_size, parallel.devices), n) // devices) * devices
        # The last batch is filled up with the first windows: one shape, one compilation.
        batches = (np.arange(first, first + size) % n for first in range(0, n, size))
        samples, store = store.host, store.replace(host=None)
        columns: tuple[int, ...] = ()
        if samples is not None:
            columns, (lead_network,) = stream.pack([lead_network])

        def fetch(rows: np.ndarray) -> tuple[jax.Array, jax.Array, jax.Array | None]:
            signal = None
            if samples is not None:
                shape = (1, size, window, len(columns))
                signal = parallel.shard_windows(
                    shape, lambda part: samples.cut(index[rows[part]], start[rows[part]], window, columns)[None]
                )
            return (*parallel.replicate((index[rows], start[rows])), signal)

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

    def record_logits(self, store: Store, records: np.ndarray, lengths: np.ndarray, progress: str = "") -> np.ndarray:
        """Returns each record's logits, (n, classes) float32, averaged over the windows that cover it.

        Arguments as of `probabilities`.
        """
        row, start = covering_windows(lengths, self.window)
        answers = self.logits(store, np.asarray(records, np.int32)[row], start, progress)
        return average(answers, row, len(records))

    def probabilities(self, store: Store, records: np.ndarray, lengths: np.ndarray, progress: str = "") -> np.ndarray:
        """Returns each record's class probabilities, (n, classes) float32, averaged over the windows that cover it.

        Args:
          records: (n,) rows of the store.
          lengths: (n,) their lengths in samples.
          progress: as of `logits`.
        """
        row, start = covering_windows(lengths, self.window)
        index = np.asarray(records, np.int32)[row]
        answers = self.logits(store, index, start, progress)
        return average(to_probabilities(answers, self.exclusive), row, len(records))

    def of_dataset(self, records: Dataset) -> np.ndarray:
        """Returns the class probabilities of every record of a data set, (n, classes) float32."""
        store = stream.make_store(records, self.window, round_up=True)
        return self.probabilities(store, np.arange(len(records)), records.lengths)
