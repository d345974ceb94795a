"""Input for data sets that do not fit on the device: windows are cut on the host, and sent while the step before runs.

A streamed run takes the same steps as a resident one. What a step draws is a function of the key and its number: the
host computes the draws of an epoch beforehand, by the function that the step itself calls, and cuts what they say.
"""

import dataclasses
import functools
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from lrhnet_jax.data import store
from lrhnet_jax.data.batch import Draw, Inputs, LeadNetwork
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.data.store import Store
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.runtime import host, processes

logger = logging.getLogger(__name__)

KINDS = ("auto", "device", "stream")
RESIDENT_SHARE = 0.5  # of a device's memory; the other half is for networks and what they compute
CHUNK_BYTES = 64 << 20  # of windows in one dispatch; three such chunks are alive at a time
AHEAD = 2  # chunks that are prepared while one is used, by a thread each


class Dispatch(NamedTuple):
    """Steps that are taken in one call: `size` of them, from `place` in `epoch` on; both count from 0."""

    epoch: int
    place: int
    size: int


def dispatches(step: int, last: int, per_epoch: int, stride: int) -> Iterator[Dispatch]:
    """Yields how training from `step` to `last` is taken in calls of `stride` steps, or fewer at an epoch's end."""
    while step < last:
        epoch, place = divmod(step, per_epoch)
        size = min(stride, per_epoch - place, last - step)
        yield Dispatch(epoch, place, size)
        step += size


def make_store(
    records: Dataset, window: int, kind: str = "auto", devices: Sequence[Any] | None = None, round_up: bool = False
) -> Store:
    """Returns a store that holds the samples on the device, or leaves them on the host; the log says which.

    Args:
      kind: "device", "stream", or "auto": on the device where they take at most half of its memory.
      devices: of this process that share the batches, each with a copy of the store; None: the default device.
      round_up: see `store.make_store`.

    Raises:
      ConfigError: if `kind` is "device" and the samples cannot fit there.
    """
    rows = len(records.signals) + 2 * window
    size = rows * records.signals.shape[1] * np.dtype(np.float16).itemsize * (2 if round_up else 1)
    # One answer for all processes: they have to run the same programs.
    memory = min(processes.exchange(device_memory(devices or jax.local_devices()[:1])))
    if kind == "device" and size > memory:
        raise ConfigError(
            f"config.input: the data set takes {size / 1e9:.1f} GB, the device has {memory / 1e9:.1f} GB; choose stream"
        )
    resident = kind == "device" or (kind == "auto" and size <= RESIDENT_SHARE * memory and rows <= store.MAX_ROWS)
    logger.info(
        "%s: %.2f GB of samples, %.1f GB of memory on a device",
        "data stays on the device" if resident else "data is streamed from the host",
        size / 1e9,
        memory / 1e9,
    )
    return store.make_store(records, window, round_up, resident)


def device_memory(devices: Sequence[Any]) -> int:
    """Returns the bytes that each of the devices can use; CPU devices share what the host has available."""
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    return min(limit or host.memory() // len(devices) for limit in limits)


def pack(lead_networks: Sequence[LeadNetwork]) -> tuple[tuple[int, ...], tuple[LeadNetwork, ...]]:
    """Returns the columns that any of the networks reads, and the networks as they read those columns alone."""
    columns = tuple(sorted({column for lead_network in lead_networks for column in lead_network.columns}))
    packed = (
        dataclasses.replace(lead_network, columns=tuple(columns.index(column) for column in lead_network.columns))
        for lead_network in lead_networks
    )
    return columns, tuple(packed)


def steps_per_chunk(most: int, batch_size: int, window: int, columns: int) -> int:
    """Returns how many steps' windows are sent at a time: `most`, or what `CHUNK_BYTES` holds, and at least one."""
    return max(1, min(most, CHUNK_BYTES // (batch_size * window * columns * np.dtype(np.float16).itemsize)))


def feed(
    inputs: Inputs,
    columns: tuple[int, ...],
    window: int,
    draw_epoch: Callable[[int], Draw],
    dispatches: Iterable[Dispatch],
    scatter: Callable[[tuple[int, ...], Callable[[slice], np.ndarray]], jax.Array],
) -> Generator[jax.Array]:
    """Yields the windows of each dispatch, on the devices: (steps, batch, window, leads) float16.

    Args:
      inputs: what training reads; its store's samples are on the host.
      columns: the leads to send.
      draw_epoch: epoch -> what its steps draw, (steps, batch).
      dispatches: in order.
      scatter: see `devices.Parallel.shard_windows`.
    """
    samples, records = inputs.store.host, np.asarray(inputs.records)
    assert samples is not None

    @functools.lru_cache(maxsize=2)
    def drawn(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        draw = draw_epoch(epoch)
        return records[np.asarray(draw.rows)], np.asarray(draw.start)

    def send(dispatch: Dispatch) -> jax.Array:
        index, shift = (rows[dispatch.place : dispatch.place + dispatch.size] for rows in drawn(dispatch.epoch))

        def make(part: slice) -> np.ndarray:
            flat = samples.cut(index[:, part].reshape(-1), shift[:, part].reshape(-1), window, columns)
            return flat.reshape(len(index), -1, window, len(columns))

        return scatter((*index.shape, window, len(columns)), make)

    return host.ahead(send, dispatches, AHEAD)
