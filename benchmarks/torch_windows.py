"""How a PyTorch user feeds the same windows: a Dataset over the same file of samples, and a DataLoader.

Knows no JAX, so that the DataLoader's workers do not import it.
"""

import pathlib

import numpy as np
import torch


class Windows(torch.utils.data.Dataset):
    """Random windows of the records of a flat file, zero-padded where a record is shorter.

    Args:
      path: samples of all records one after another, (samples, leads) float16.
      offsets, lengths: (n,) of the records.
      labels: (n, classes); demographics: (n, 5).
      leads: number of columns of the file.
      window: samples.
      size: how many windows make an epoch.
    """

    def __init__(
        self,
        path: pathlib.Path,
        offsets: np.ndarray,
        lengths: np.ndarray,
        labels: np.ndarray,
        demographics: np.ndarray,
        leads: int,
        window: int,
        size: int,
    ):
        self.path, self.offsets, self.lengths, self.labels = path, offsets, lengths, labels.astype(np.float32)
        self.demographics, self.leads, self.window, self.size = demographics, leads, window, size
        self.signals: np.ndarray | None = None

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns signal (leads, window) float32, demographics (5,) and labels (classes,)."""
        if self.signals is None:  # in the worker: a mapped file is not sent to it
            self.signals = np.memmap(self.path, np.float16, "r").reshape(-1, self.leads)
        record = i % len(self.lengths)
        offset, length = int(self.offsets[record]), int(self.lengths[record])
        slack = length - self.window
        shift = int(torch.randint(abs(slack) + 1, ())) * (1 if slack > 0 else -1)
        first, last = max(shift, 0), min(shift + self.window, length)
        signal = np.zeros((self.leads, self.window), np.float32)
        signal[:, first - shift : last - shift] = self.signals[offset + first : offset + last].T
        rows = (signal, self.demographics[record], self.labels[record])
        return tuple(map(torch.from_numpy, rows))  # type: ignore[return-value]


def loader(windows: Windows, batch: int, workers: int) -> torch.utils.data.DataLoader:
    """Returns a DataLoader over random records; its workers stay from epoch to epoch."""
    sampler = torch.utils.data.RandomSampler(windows, replacement=True, num_samples=len(windows))
    return torch.utils.data.DataLoader(
        windows,
        batch,
        sampler=sampler,
        num_workers=workers,
        drop_last=True,
        persistent_workers=workers > 0,
        # Not forked: JAX holds threads, and a forked copy of a lock stays locked.
        multiprocessing_context="spawn" if workers else None,
    )
