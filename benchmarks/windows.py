"""Random windows of a data set, made in each of the ways that benchmarks.input compares."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.data.store import Store, cut_windows, make_store, random_shifts


def tasks(records: Dataset, batch: int, window: int, columns: tuple[int, ...], count: int) -> dict[str, measure.Task]:
    """Returns tasks that make `count` batches of random windows: resident and streamed."""
    resident, streamed = (make_store(records, window, resident=flag) for flag in (True, False))
    rng = np.random.default_rng(0)
    n = len(records)

    @jax.jit
    def cut(store: Store, key: jax.Array) -> jax.Array:
        index_key, shift_key = jax.random.split(key)
        index = jax.random.randint(index_key, (batch,), 0, n)
        shift = random_shifts(shift_key, store.lengths[index], window, 1)[:, 0]
        signal = cut_windows(store, index, shift, window)
        return signal[..., np.array(columns)].astype(jnp.float32)

    def from_device() -> None:
        for key in jax.random.split(jax.random.key(int(rng.integers(2**31))), count):
            cut(resident, key).block_until_ready()

    def from_host() -> None:
        assert streamed.host is not None
        for _ in range(count):
            index = rng.integers(0, n, batch)
            slack = records.lengths[index] - window
            shift = np.sign(slack) * rng.integers(0, np.abs(slack) + 1)
            signal = jax.device_put(streamed.host.cut(index, shift, window, columns))
            signal.astype(jnp.float32).block_until_ready()

    return {"resident": from_device, "streamed": from_host}


def torch_task(records: Dataset, file: pathlib.Path, batch: int, window: int, count: int, workers: int) -> measure.Task:
    """Returns the same of a PyTorch DataLoader, over the same samples in `file`, all leads."""
    from benchmarks import torch_windows

    source = torch_windows.Windows(
        file,
        records.offsets,
        records.lengths,
        records.labels,
        records.demographics,
        records.signals.shape[1],
        window,
        batch * count,
    )
    loader = torch_windows.loader(source, batch, workers)
    return lambda: [None for _ in loader]
