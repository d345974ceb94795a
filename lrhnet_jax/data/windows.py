"""Windows on the host: where they lie in a record, how they are cut, and the mean of their answers. NumPy alone.

`store` cuts the same windows on the device.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class HostSignals:
    """The samples of a data set that stay in host memory, or in a file that is mapped into it; see `dataset.Dataset`.

    Attributes:
      signals: (total samples, leads) float16.
      offsets, lengths: (n,) first sample and number of samples of each record.
    """

    signals: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray

    def cut(self, index: np.ndarray, shift: np.ndarray, window: int, columns: Sequence[int]) -> np.ndarray:
        """Cuts the windows that `store.cut_windows` cuts, of some leads only.

        Args:
          index, shift: (batch,) as `store.cut_windows` takes them.
          columns: of `signals`.

        Returns:
          (batch, window, len(columns)) float16.
        """
        result = np.zeros((len(index), window, len(columns)), np.float16)
        whole = tuple(columns) == tuple(range(self.signals.shape[1]))
        first = np.maximum(shift, 0)
        last = np.maximum(np.minimum(shift + window, self.lengths[index]), first)
        places = (self.offsets[index], shift, first, last)
        for cut, origin, start, begin, end in zip(result, *(place.tolist() for place in places), strict=True):
            inside, samples = slice(begin - start, end - start), self.signals[origin + begin : origin + end]
            if whole:
                cut[inside] = samples
            else:  # one lead after another: NumPy copies short rows slowly
                for to, column in enumerate(columns):
                    cut[inside, to] = samples[:, column]
        return result


def covering_windows(lengths: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the fewest evenly spread windows that cover each record; a short record sits in the middle of one.

    Returns:
      record: (windows,) int32, which record; shift: (windows,) int32, as `store.cut_windows` takes it.
    """
    record, shift = [], []
    for i, length in enumerate(np.asarray(lengths).tolist()):
        count = max(1, -(-length // window))
        starts = [-((window - length) // 2)] if length <= window else np.linspace(0, length - window, count).round()
        record += [i] * count
        shift += [int(start) for start in starts]
    return np.array(record, np.int32), np.array(shift, np.int32)


def batches(count: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields which of `count` windows to answer together, `size` at most, and the same filled up to a power of two.

    A compiled network so sees few sizes.
    """
    for first in range(0, count, size):
        rows = np.arange(first, min(first + size, count))
        yield rows, np.resize(rows, min(size, 1 << (len(rows) - 1).bit_length()))


def average(per_window: np.ndarray, record: np.ndarray, count: int) -> np.ndarray:
    """Returns each record's mean over its windows, (count, classes) float32.

    Args:
      per_window: (windows, classes) probabilities or logits.
      record: (windows,) which of the `count` records; each has a window.
    """
    sums = np.zeros((count, per_window.shape[1]))
    np.add.at(sums, record, per_window)
    return (sums / np.bincount(record, minlength=count)[:, None]).astype(np.float32)
