"""Integer programs: near the network, exact to the last bit, and never beyond what their types hold."""

import dataclasses

import numpy as np
import pytest

from lrhnet_jax import models
from lrhnet_jax.deploy.int8 import calibrate, graph, program, quantize
from lrhnet_jax.errors import ConfigError, DataError
from tests.helpers import int8
from tests.helpers.sketch import Sketch

LRHNET = models.create("lrhnet", 2)


@pytest.mark.slow
@pytest.mark.parametrize("model", [LRHNET, Sketch()], ids=["lrhnet", "sketch"])
@pytest.mark.parametrize("method", calibrate.METHODS)
def test_logits_are_near_the_networks(model, method):
    made = int8.make(model, 512, 2, method=method)
    found = program.run(made.program, *made.inputs) / program.LOGIT_ONE
    spread = made.logits.std(0).mean()
    assert np.sqrt(np.square(found - made.logits).mean()) < 0.15 * spread


def exact(step: program.Linear, x: np.ndarray, rows: int, residual: np.ndarray, gate: np.ndarray) -> np.ndarray:
    """A convolution or dense layer in Python's integers, of any size, one output at a time."""
    result = np.zeros((max(rows, 1), len(step.bias)), object)
    inputs = step.weights.shape[1] // step.taps
    for row in range(max(rows, 1)):
        for channel, weights in enumerate(step.weights.tolist()):
            total = int(step.bias[channel])
            for tap in range(step.taps):
                place = row * step.stride + tap - step.before
                if 0 <= place < len(x):
                    some = weights[tap * inputs : (tap + 1) * inputs]
                    total += sum(w * int(v) for w, v in zip(some, x[place], strict=True))
            multiplier = int(step.multiplier[channel])
            if step.gate:
                multiplier = (multiplier * int(gate[channel]) + 2**14) // 2**15
            total = total * multiplier + int(step.offset[channel])
            if step.residual:
                total += int(residual[row, channel]) * int(step.residual_multiplier[channel])
            assert abs(total) < 2**63
            result[row, channel] = min(max(total // 2**step.shift, int(step.low[channel])), int(step.high[channel]))
    return result.astype(np.int64)


@pytest.mark.slow
@pytest.mark.parametrize("model", [models.create("lrhnet", 2, inner=(3, 4, 5)), Sketch()], ids=["lrhnet", "sketch"])
def test_floating_point_sums_are_exact(model):
    made = int8.make(model, 64, 2)
    signal, person = (array[:1] for array in made.inputs)
    found = program.tensors(made.program, signal, person)
    linear = [step for step in made.program.steps if isinstance(step, program.Linear)]
    assert {step.kind for step in linear} >= {"conv", "dense"}
    for step in linear:
        tensor = made.program.tensors[step.name]
        residual, gate = (found[name][0] if name else np.zeros(0) for name in (step.residual, step.gate))
        expected = exact(step, np.atleast_2d(found[step.x][0]), tensor.rows, residual, gate)
        np.testing.assert_array_equal(np.atleast_2d(found[step.name][0]), expected, err_msg=step.name)


@pytest.mark.parametrize("value", [-32768, 32767])
def test_the_largest_signals_stay_within_the_types(value):
    """Sums must fit 32 bits and totals 62, whatever comes in."""
    made = int8.make(LRHNET, 512, 2)
    signal = np.full((1, 512, 2), value, np.int16)
    signal[0, ::3] = -value - 1
    found = program.tensors(made.program, signal, np.full((1, 5), value, np.int16))
    for name, tensor in made.program.tensors.items():
        assert program.LOWEST[tensor.kind] <= found[name].min() <= found[name].max() <= program.HIGHEST[tensor.kind]


def test_bounds_hold_for_the_worst_inputs():
    for step in int8.make(LRHNET, 512, 2).program.steps:
        if isinstance(step, program.Linear) and step.kind == "conv":
            most = np.abs(step.weights.astype(np.int64)).sum(1) * (2**15 if step.x == "signal" else 255)
            assert (most + np.abs(step.bias)).max() < 2**31
            assert np.abs(step.multiplier).max() <= 2**30 and np.abs(step.residual_multiplier).max() <= 2**30
            assert ((most + np.abs(step.bias)) * np.abs(step.multiplier)).max() < 2**62


def test_a_layer_of_too_many_inputs_is_refused():
    made = int8.make(LRHNET, 512, 2)
    conv = made.graph.operations["conv1"]
    wide = graph.linear(
        "conv1", dataclasses.replace(made.graph.operations["signal"], channels=100), "conv", np.ones((8, 100, 16))
    )
    operations = {**made.graph.operations, "conv1": dataclasses.replace(wide, rows=conv.rows)}
    operations["signal"] = dataclasses.replace(operations["signal"], channels=100)
    with pytest.raises(ConfigError, match="layer conv1: sums over its 800 inputs may not fit 32 bits"):
        quantize.quantize(graph.Graph(operations), dict.fromkeys(operations, 1.0))


def test_sigmoid_and_softmax_are_near_the_real_ones():
    logits = np.arange(-32768, 32768, dtype=np.int64)
    real = 1 / (1 + np.exp(-logits / 1024))
    found = program.sigmoid(logits) / 65536
    assert np.abs(found - real).max() < 7e-5
    assert (np.diff(found) >= 0).all()
    np.testing.assert_array_equal(program.sigmoid(np.array([0])), [32768])
    rng = np.random.default_rng(0)
    logits = rng.integers(-12000, 12000, (1000, 4))
    powers = np.exp((logits - logits.max(1, keepdims=True)) / 1024)
    found = program.softmax(logits) / 65536
    assert np.abs(found - powers / powers.sum(1, keepdims=True)).max() < 4e-4
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-4)
    np.testing.assert_array_equal(found.argmax(1), logits.argmax(1))


def test_inputs_are_rounded_and_saturate():
    signal, person = program.quantize_inputs(np.array([[[0.0005, -40.0, 40.0]]]), np.array([[0.61, 1, 0, 1, 1]]))
    np.testing.assert_array_equal(signal, [[[1, -32768, 32767]]])
    np.testing.assert_array_equal(person, [[9994, 16384, 0, 16384, 16384]])


def test_other_windows_are_refused():
    made = int8.make(LRHNET, 512, 2)
    signal, person = made.inputs
    with pytest.raises(ValueError, match=r"must be \(8, 512, 2\) int16, not \(8, 511, 2\)"):
        program.run(made.program, signal[:, 1:], person)
    with pytest.raises(ValueError, match="float32"):
        program.run(made.program, made.signal, person)
    assert program.run(made.program, signal[:0], person[:0]).shape == (0, 24)


def test_calibration_needs_finite_windows():
    made = int8.make(LRHNET, 512, 2)
    with pytest.raises(DataError, match="no window to calibrate with"):
        calibrate.Histograms(made.graph, (made.signal[:0], made.demographics[:0]))
    signal = made.signal.copy()
    signal[3, 7] = np.nan
    with pytest.raises(DataError, match="NaN"):
        calibrate.Histograms(made.graph, (signal, made.demographics))


@pytest.mark.slow
def test_ranges_cover_what_they_say():
    made = int8.make(LRHNET, 512, 2)
    histograms = calibrate.Histograms(made.graph, (made.signal, made.demographics), batch=3)
    tensors = graph.run(made.graph, made.signal, made.demographics)
    values = np.abs(np.asarray(tensors["layer1_0/conv1"]))
    ranges = {method: histograms.ranges(method, made.graph)["layer1_0/conv1"] for method in calibrate.METHODS}
    np.testing.assert_allclose(ranges["maximum"], values.max(), rtol=1e-6)
    np.testing.assert_allclose((values <= ranges["99.9 %"]).mean(), 0.999, atol=2e-4)
    assert ranges["99.9 %"] < ranges["99.99 %"] < ranges["maximum"]

    def error(largest):
        step = largest / 127
        return np.square(np.clip(np.rint(values / step), 0, 127) * step - values).mean()

    others = [error(ranges["maximum"] * share) for share in np.linspace(0.05, 1, 60)]
    assert error(ranges["least squares"]) < 1.2 * min(others)
