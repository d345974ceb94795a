"""How large each tensor of a graph gets on recordings, and how much of that its eight bits had better cover.

A range that covers every value makes the steps between integers coarse; a narrower one cuts off the few large values.
Four ways to choose are known, none of them best for every network: `METHODS`.
"""

import functools
from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from lrhnet_jax.deploy.int8 import graph as floats
from lrhnet_jax.errors import DataError

Array = np.ndarray

BINS = 2048
# Covers all values; this share of the values; or what makes the mean squared error smallest.
METHODS: dict[str, float | None] = {"maximum": 1.0, "99.99 %": 0.9999, "99.9 %": 0.999, "least squares": None}

Windows = tuple[Array, Array]  # (windows, window, leads) float32 as prepared, (windows, 5) float32


class Histograms:
    """Magnitudes of a graph's tensors: the largest ones, and for tensors over time their histograms up to these."""

    def __init__(self, graph: floats.Graph, windows: Windows, batch: int = 16):
        """Runs the graph over windows.

        Raises:
          DataError: for no windows, or values that are not finite.
        """
        signal, demographics = windows
        if not len(signal):
            raise DataError("there is no window to calibrate with: give recordings that the network can read")
        if not (np.isfinite(signal).all() and np.isfinite(demographics).all()):
            raise DataError("the windows to calibrate with hold NaN or infinity")
        self.largest: dict[str, float] = {}
        self.counts: dict[str, Array] = {}
        run = jax.jit(functools.partial(floats.run, graph))
        for inputs in _batches(windows, batch):
            for name, x in run(*inputs).items():
                self.largest[name] = max(self.largest.get(name, 0.0), float(jnp.abs(x).max()))
        if not np.isfinite(list(self.largest.values())).all():
            raise DataError("the network computes NaN or infinity for the windows to calibrate with")
        over_time = [
            name
            for name, operation in graph.operations.items()
            if operation.rows and isinstance(operation, floats.Linear)
        ]
        for inputs in _batches(windows, batch):
            tensors = run(*inputs)
            for name in over_time:
                step = max(self.largest[name], 1e-30) / (BINS - 1)
                places = (np.abs(np.asarray(tensors[name])) / step).astype(np.int32).ravel()
                self.counts[name] = self.counts.get(name, 0) + np.bincount(places, minlength=BINS)[:BINS]

    def ranges(self, method: str, graph: floats.Graph) -> dict[str, float]:
        """Returns the magnitude that each tensor has to hold, by one of `METHODS`."""
        ranges = dict(self.largest)
        for name, counts in self.counts.items():
            operation = graph.operations[name]
            assert isinstance(operation, floats.Linear)
            levels = 255 if (operation.low >= 0).all() else 127
            ranges[name] = self.largest[name] * _share_of_range(counts, METHODS[method], levels)
        return ranges


def _batches(windows: Windows, batch: int) -> Iterable[Windows]:
    """Batches of one size; the last one repeats the first windows, which changes no range."""
    count = len(windows[0])
    for start in range(0, count, batch):
        rows = np.arange(start, start + min(batch, count)) % count
        yield windows[0][rows], windows[1][rows]


def _share_of_range(counts: Array, share: float | None, levels: int) -> float:
    """Returns the part of the histogram's range that holds a share of the values, or that least squares choose."""
    edges = np.arange(1, BINS + 1) / BINS
    if share is not None:
        return float(edges[np.searchsorted(np.cumsum(counts), share * counts.sum())])
    middle = edges - 0.5 / BINS
    candidates = edges[BINS // 64 - 1 :: BINS // 128]
    beyond = np.maximum(middle[None] - candidates[:, None], 0)
    # A value inside the range is off by up to half of a step, evenly spread; one outside by what is cut off.
    inside = (beyond == 0) * np.square(candidates[:, None] / levels) / 12
    errors = (np.square(beyond) + inside) @ counts
    return float(candidates[errors.argmin()])


def best_method(errors: Mapping[str, float]) -> str:
    """Returns the method of the smallest error; of equals the one that covers more."""
    return min(METHODS, key=lambda method: errors[method])
