"""How PyTorch users train the same networks: as a reference loop does it, and as well as anyone would write it.

Knows no JAX. Both learn as the LRH-Net paper does: from labels, and from the mean of the teachers' softmaxes at T = 7.
"""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks import torch_models, torch_windows
from benchmarks.recipe import LEARNING_RATE, WEIGHT_DECAY

ALPHA, TEMPERATURE = 0.3, 7.0
GRAPHED = 256  # up to this batch the compiled loop uses CUDA graphs
Network = tuple[str, int]  # model, leads
Task = Callable[[], float]
OPTIONS: dict[str, dict[str, float]] = {"seresnet": {"dropout": 0.2}}


def loss_of(
    student: torch.nn.Module,
    teachers: Sequence[tuple[torch.nn.Module, int]],
    leads: int,
    signal: torch.Tensor,
    person: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    """Returns the student's loss on windows (batch, all leads, time); `teachers` are networks and their leads."""
    logits = student(signal[:, :leads], person)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    if not teachers:
        return loss
    with torch.no_grad():
        taught = [(teacher(signal[:, :count], person) / TEMPERATURE).softmax(1) for teacher, count in teachers]
    own = (logits / TEMPERATURE).log_softmax(1)
    kl = sum(torch.nn.functional.kl_div(own, target, reduction="batchmean") for target in taught) / len(taught)
    return ALPHA * loss + (1 - ALPHA) * kl


def network(model: str, leads: int) -> torch.nn.Module:
    """Returns a network as the reference trains it."""
    return torch_models.MODELS[model](leads, **OPTIONS.get(model, {}))


def _make(student: Network, teachers: Sequence[Network], device: str) -> tuple[torch.nn.Module, list[Any]]:
    taught_by = [(network(*teacher).to(device).eval(), teacher[1]) for teacher in teachers]
    return network(*student).to(device).train(), taught_by


def reference_loop(
    student: Network,
    teachers: Sequence[Network],
    windows: torch_windows.Windows,
    batch: int,
    device: str,
    workers: int,
) -> Task:
    """Returns a task that trains over `windows` once: cut by the DataLoader, sent batch by batch, eager, float32.

    Every step fetches its loss.
    """
    learner, taught_by = _make(student, teachers, device)
    optimizer = torch.optim.Adam(learner.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    loader = torch_windows.loader(windows, batch, workers)

    def train() -> float:
        value = float("nan")
        for arrays in loader:
            signal, person, labels = (array.to(device, torch.float32) for array in arrays)
            optimizer.zero_grad()
            loss = loss_of(learner, taught_by, student[1], signal, person, labels)
            loss.backward()
            optimizer.step()
            value = loss.item()
        return value

    return train


def best_loop(
    student: Network,
    teachers: Sequence[Network],
    arrays: Sequence[np.ndarray],
    batch: int,
    window: int,
    count: int,
    device: str,
    bfloat16: bool,
    compiled: bool,
) -> Task:
    """Returns a task that takes `count` steps on records on the device, all of one length; it fetches one loss.

    Args:
      arrays: signals (records, leads, time) float16, demographics and labels.
      bfloat16: computes under autocast.
      compiled: by torch.compile; small batches on a GPU in CUDA graphs, where launching kernels would take longest.
    """
    learner, taught_by = _make(student, teachers, device)
    signals, persons, targets = (torch.from_numpy(array).to(device) for array in arrays)
    optimizer = torch.optim.Adam(
        learner.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=device == "cuda"
    )
    place, length = torch.arange(window, device=device), signals.shape[2]
    signals = torch.nn.functional.pad(signals, (window, window))

    def forward(signal: torch.Tensor, person: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return loss_of(learner, taught_by, student[1], signal, person, labels)

    mode = "reduce-overhead" if device == "cuda" and batch <= GRAPHED else "default"
    function = torch.compile(forward, mode=mode) if compiled else forward

    def draw() -> Iterator[torch.Tensor]:
        rows = torch.randint(len(signals), (batch,), device=device)
        shift = window + ((length - window) * torch.rand(batch, device=device)).long()
        yield signals[rows[:, None], :, shift[:, None] + place].transpose(1, 2).float()
        yield persons[rows]
        yield targets[rows]

    def train() -> float:
        loss = torch.tensor(float("nan"))
        for _ in range(count):
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
                loss = function(*draw())
            loss.backward()
            optimizer.step()
        return loss.item()

    return train


def write_windows(
    folder: pathlib.Path, signals: np.ndarray, persons: np.ndarray, labels: np.ndarray, window: int, size: int
) -> torch_windows.Windows:
    """Writes records (n, time, leads) float16 to a flat file, and returns `size` random windows of them."""
    path = folder / "signals.f16"
    signals.tofile(path)
    lengths = np.full(len(signals), signals.shape[1])
    offsets = np.arange(len(signals)) * signals.shape[1]
    return torch_windows.Windows(path, offsets, lengths, labels, persons, signals.shape[2], window, size)
