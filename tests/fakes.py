"""Small made-up data for tests of what comes after the builders."""

import jax
import jax.numpy as jnp
import numpy as np

from lrhnet_jax import data, ecg, models, steps, windows


def records(n: int = 40, seed: int = 0, shortest: int = 150, longest: int = 700) -> data.Records:
    """Random signals whose first scored class shows as a tone in lead I, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, longest, n)
    labels = rng.random((n, len(ecg.CLASSES))) < 0.3
    signals = []
    for length, label in zip(lengths, labels, strict=True):
        signal = rng.normal(size=(length, len(ecg.LEADS)))
        signal[:, 0] += 2 * label[0] * np.sin(np.arange(length) / 3)
        signals.append(signal.astype(np.float16))
    demographics = np.stack([ecg.demographics_vector(age, "female") for age in rng.uniform(20, 90, n)])
    ids = [f"R{i:04d}" for i in range(n)]
    patients = [f"P{i // 2:04d}" for i in range(n)]
    return data.Records.from_arrays(
        signals, labels, demographics, ids, ["a", "b"] * (n // 2), patients, np.arange(n) % 5
    )


def inputs(store: windows.Store, n: int, shifts: jax.Array | None = None) -> steps.Inputs:
    """Training inputs over the first n records, without teachers."""
    classes = store.labels.shape[1]
    return steps.Inputs(
        store=store,
        records=jnp.arange(n, dtype=jnp.int32),
        shifts=jnp.zeros((n, 0), jnp.int32) if shifts is None else shifts,
        teacher_logits=jnp.zeros((n, 0, 0, classes)),
    )


def reader(name: str = "lrhnet", columns: tuple[int, ...] = (0, 1)) -> steps.Reader:
    return steps.Reader(models.create(name, len(columns)), columns)
