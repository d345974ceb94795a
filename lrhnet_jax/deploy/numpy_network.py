"""`lrhnet_wide` in NumPy alone: a small network has answered before JAX would have been imported.

The arithmetic of `models.lrhnet_wide` in float32, with every BatchNorm folded into the convolution before it. A test
holds the answers to those of the network in Flax.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from lrhnet_jax.ecg.leads import DEMOGRAPHICS
from lrhnet_jax.errors import CheckpointError

MODELS = ("lrhnet_wide",)  # that are run here
BLOCKS = 5  # all but the first halve the length
POOLED = 2  # outputs of the stem of which the highest goes on
EPSILON = 1e-5  # of BatchNorm
Run = Callable[[np.ndarray, np.ndarray], np.ndarray]


def make(arrays: Mapping[str, np.ndarray], leads: int, classes: int, exclusive: bool) -> Run:
    """Returns what gives the probabilities of prepared windows, any number at a time; see `model.Run`.

    Args:
      arrays: the variables of a trained lrhnet_wide by their paths, as "params/conv1/kernel".
      exclusive: the classes exclude each other: softmax, else sigmoid.

    Raises:
      CheckpointError: if an array is missing, or of another shape than its layer, or belongs to none.
    """
    left = _Arrays(arrays)
    stem = left.convolution("conv1", "bn1", leads, stride=2)
    blocks: list[_Block] = []
    channels = len(stem.shift)
    for index in range(BLOCKS):
        blocks.append(left.block(f"layer{index + 1}_0", channels, stride=2 if index else 1))
        channels = len(blocks[-1].second.shift)
    person = left.take("params/fc1/kernel", len(DEMOGRAPHICS), None), left.take("params/fc1/bias", None)
    head = left.take("params/fc/kernel", len(person[1]) + 2 * channels, classes), left.take("params/fc/bias", classes)
    left.check_none()

    def run(signal: np.ndarray, demographics: np.ndarray) -> np.ndarray:
        x = _relu(stem(np.asarray(signal, np.float32)))
        x = x[:, : x.shape[1] // POOLED * POOLED].reshape(len(x), -1, POOLED, x.shape[2]).max(2)
        for block in blocks:
            x = block(x)
        read = np.concatenate([demographics @ person[0] + person[1], x.mean(1), x.max(1)], axis=1)
        logits = read @ head[0] + head[1]
        return _softmax(logits) if exclusive else _sigmoid(logits)

    return run


@dataclasses.dataclass(frozen=True)
class _Convolution:
    """A convolution with zeros for half of its taps before and behind, and the BatchNorm that follows it.

    Attributes:
      kernel: (taps * inputs, outputs).
      shift: (outputs,), added to the result.
      taps, stride: samples.
    """

    kernel: np.ndarray
    shift: np.ndarray
    taps: int
    stride: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(batch, time, inputs) -> (batch, time / stride, outputs)."""
        batch, time, inputs = x.shape
        half = self.taps // 2
        padded = np.zeros((batch, time + 2 * half, inputs), np.float32)
        padded[:, half : half + time] = x
        length = (time + 2 * half - self.taps) // self.stride + 1
        # The samples that an output reads lie one after another: a row of a matrix.
        along, step, one = padded.strides
        shape, strides = (batch, length, self.taps * inputs), (along, self.stride * step, one)
        rows = np.ascontiguousarray(np.lib.stride_tricks.as_strided(padded, shape, strides))
        result = rows.reshape(batch * length, -1) @ self.kernel
        result += self.shift
        return result.reshape(batch, length, -1)


@dataclasses.dataclass(frozen=True)
class _Block:
    """Two convolutions, squeeze-and-excite's two layers if it has them, and a shortcut beside them."""

    first: _Convolution
    second: _Convolution
    gate: tuple[np.ndarray, np.ndarray] | None
    shortcut: _Convolution | None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        result = self.second(_relu(self.first(x)))
        if self.gate:
            inner, outer = self.gate
            result *= _sigmoid(_relu(result.mean(1) @ inner) @ outer)[:, None]
        result += self.shortcut(x) if self.shortcut else x
        return _relu(result)


class _Arrays:
    """The variables that no layer has taken yet."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self._left = dict(arrays)

    def take(self, name: str, *shape: int | None) -> np.ndarray:
        """Returns an array; None in `shape` is any number."""
        array = self._left.pop(name, None)
        there = None if array is None else array.shape
        fits = there is not None and len(there) == len(shape)
        if array is None or not fits or any(b not in (None, a) for a, b in zip(array.shape, shape, strict=True)):
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise CheckpointError(f"{name} has shape {there}, where the network has ({wanted})")
        return np.asarray(array, np.float32)

    def convolution(self, conv: str, norm: str, inputs: int, stride: int = 1) -> _Convolution:
        kernel = self.take(f"params/{conv}/kernel", None, inputs, None)
        taps, _, outputs = kernel.shape
        if not taps % 2:
            raise CheckpointError(f"params/{conv}/kernel has {taps} taps, where the network has an odd number")
        scale, bias = (self.take(f"params/{norm}/{name}", outputs).astype(np.float64) for name in ("scale", "bias"))
        mean, var = (self.take(f"batch_stats/{norm}/{name}", outputs).astype(np.float64) for name in ("mean", "var"))
        gain = scale / np.sqrt(var + EPSILON)
        folded = (kernel * gain).reshape(taps * inputs, outputs).astype(np.float32)
        return _Convolution(folded, (bias - gain * mean).astype(np.float32), taps, stride)

    def block(self, name: str, inputs: int, stride: int) -> _Block:
        first = self.convolution(f"{name}/conv1", f"{name}/bn1", inputs, stride)
        second = self.convolution(f"{name}/conv2", f"{name}/bn2", len(first.shift))
        channels, gate, shortcut = len(second.shift), None, None
        if f"params/{name}/se/fc_0/kernel" in self._left:
            inner = self.take(f"params/{name}/se/fc_0/kernel", channels, None)
            gate = inner, self.take(f"params/{name}/se/fc_2/kernel", inner.shape[1], channels)
        if stride > 1 or channels != inputs:
            shortcut = self.convolution(f"{name}/downsample_0", f"{name}/downsample_1", inputs, stride)
        return _Block(first, second, gate, shortcut)

    def check_none(self) -> None:
        if self._left:
            raise CheckpointError(f"{min(self._left)} belongs to no layer of the network")


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0, out=x)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # then it is 0, as it should be
        return 1 / (1 + np.exp(-x))


def _softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
