"""Integer programs of networks with random variables, and windows for them."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrhnet_jax.deploy.int8 import calibrate, fuse, program, quantize, trace
from lrhnet_jax.deploy.int8.graph import Graph
from tests.helpers import fakes


class Made(NamedTuple):
    """A network as a graph and as an integer program, with windows, and its own logits of them."""

    traced: Graph
    graph: Graph
    program: program.Program
    signal: np.ndarray
    demographics: np.ndarray
    logits: np.ndarray

    @property
    def inputs(self):
        return program.quantize_inputs(self.signal, self.demographics)


def windows(count: int, window: int, leads: int, seed: int = 0):
    """Wandering signals of deviation one, as prepared ones are, and people."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(count, window, leads)).cumsum(1)
    signal = (signal - signal.mean(1, keepdims=True)) / signal.std(1, keepdims=True)
    return signal.astype(np.float32), rng.random((count, 5)).astype(np.float32)


@functools.cache
def make(model, window: int, leads: int, count: int = 8, method: str = "least squares") -> Made:
    signal, demographics = windows(count, window, leads)
    variables = fakes.variables(model, signal[:1], demographics[:1])

    def answer(signal, demographics):
        return model.apply(variables, signal, demographics, train=False).logits

    traced = trace.trace(answer, window, leads)
    graph = fuse.fuse(traced)
    histograms = calibrate.Histograms(graph, (signal, demographics))
    made = quantize.quantize(graph, histograms.ranges(method, graph))
    logits = jax.jit(answer)(jnp.asarray(signal), jnp.asarray(demographics))
    return Made(traced, graph, made, signal, demographics, np.asarray(logits))
