import dataclasses
import logging
import os
import signal

import jax
import numpy as np
import pytest

from lrhnet_jax.data import store as data_store
from lrhnet_jax.data import stream
from lrhnet_jax.data.batch import StepNumbers, plain_inputs
from lrhnet_jax.data.store import make_store, random_shifts
from lrhnet_jax.data.windows import covering_windows
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.experiment import teachers as teaching
from lrhnet_jax.runtime import host, interrupt
from lrhnet_jax.runtime.devices import make_parallel
from lrhnet_jax.scoring import predict
from lrhnet_jax.training import loop
from lrhnet_jax.training.state import init_variables
from tests.helpers import fakes, tiny
from tests.helpers.runs import WINDOW, assert_same, change, make_run, without_rates

RECORDS = fakes.records(40)


@dataclasses.dataclass(frozen=True)
class Device:
    """A device that has so much memory, or does not say."""

    limit: int | None

    def memory_stats(self):
        return None if self.limit is None else {"bytes_limit": self.limit}


def taught_run(folder, resident, count, precompute, **changes):
    """A student of two leads, taught by itself untrained and by a network on leads that it does not read."""
    store = make_store(RECORDS, WINDOW, resident=resident)
    run = make_run(folder)
    shifts = random_shifts(jax.random.key(1), store.lengths, WINDOW, count)[:32]
    wide = tiny.lead_network(0, 7, 3)
    named = [
        ("wide", teaching.Trained(wide, init_variables(wide.model, jax.random.key(9), 3, WINDOW), {})),
        ("narrow", teaching.Trained(run.spec.student, run.variables, {})),
    ]
    inputs = plain_inputs(store, np.arange(3, 35, dtype=np.int32), shifts)
    teachers = ()
    if precompute:
        cache = folder / "teacher_logits"
        inputs = teaching.precomputed(inputs, named, window=WINDOW, batch_size=16, cache=cache)
    else:
        inputs, teachers = teaching.in_step(inputs, named), tuple(trained.lead_network for _, trained in named)
    numbers = StepNumbers(weights=(0.6, 0.4))
    return change(run, inputs=inputs, teachers=teachers, numbers=numbers, epochs=2, **changes)


def stop_after(dispatches, monkeypatch):
    """Sends SIGTERM to this process when training waits for that dispatch."""
    interrupt.install()
    wait, calls = jax.block_until_ready, []

    def count(value):
        calls.append(value)
        if len(calls) == dispatches:
            os.kill(os.getpid(), signal.SIGTERM)
        return wait(value)

    monkeypatch.setattr(jax, "block_until_ready", count)


@pytest.mark.slow
@pytest.mark.parametrize(
    "count, precompute, changes",
    [
        (0, False, {}),
        (3, True, {"parallel": make_parallel("jit", 4), "steps_per_dispatch": 2}),
        (3, False, {"parallel": make_parallel("pmap", 2)}),
    ],
    ids=["one_device", "mesh", "pmap"],
)
def test_a_streamed_run_is_bit_for_bit_the_resident_one(tmp_path, monkeypatch, count, precompute, changes):
    resident = loop.train(taught_run(tmp_path / "resident", True, count, precompute, **changes))
    if "parallel" not in changes:  # it goes on where a resident one was stopped, in the middle of an epoch
        stop_after(6, monkeypatch)
        with pytest.raises(SystemExit):
            loop.train(taught_run(tmp_path / "streamed", True, count, precompute, **changes))
        monkeypatch.undo()
        interrupt.install()
    streamed = loop.train(taught_run(tmp_path / "streamed", False, count, precompute, **changes))
    assert_same(resident.variables, streamed.variables)
    assert without_rates(resident.history) == without_rates(streamed.history)
    assert resident.history[0]["kl"] > 0


def test_streamed_logits_are_the_resident_ones():
    lead_network = tiny.lead_network(7, 0)
    variables = init_variables(lead_network.model, jax.random.key(0), 2, WINDOW)
    index, shift = covering_windows(RECORDS.lengths, WINDOW)
    found = [
        predict.Predictor(lead_network, variables, 256, 7).logits(
            make_store(RECORDS, WINDOW, resident=resident), index, shift
        )
        for resident in (True, False)
    ]
    assert len(index) % 7 and found[0].shape == (len(index), 24)
    np.testing.assert_array_equal(*found)


def test_only_leads_that_are_read_are_sent():
    columns, (student, teacher) = stream.pack([fakes.lead_network(columns=(7, 0)), fakes.lead_network(columns=(0, 3))])
    assert columns == (0, 3, 7)
    assert student.columns == (2, 0) and teacher.columns == (0, 1)


def test_data_streams_where_it_would_take_more_than_half_of_the_device(caplog):
    size = (len(RECORDS.signals) + 2 * WINDOW) * 12 * 2
    with caplog.at_level(logging.INFO, "lrhnet_jax"):
        resident = stream.make_store(RECORDS, WINDOW, "auto", [Device(2 * size), Device(9 * size)])
        streamed = stream.make_store(RECORDS, WINDOW, "auto", [Device(9 * size), Device(2 * size - 1)])
    assert resident.host is None and len(resident.signals) == len(RECORDS.signals) + 2 * WINDOW
    assert streamed.host is not None and len(streamed.signals) == 0
    assert "data stays on the device" in caplog.messages[0] and "data is streamed" in caplog.messages[1]
    assert stream.make_store(RECORDS, WINDOW, "stream").host is not None
    assert stream.make_store(RECORDS, WINDOW, "device", [Device(size)]).host is None
    with pytest.raises(ConfigError, match=r"config\.input: the data set takes .* GB, the device has .*; choose stream"):
        stream.make_store(RECORDS, WINDOW, "device", [Device(size - 1)])


def test_cpu_devices_share_what_the_host_has(monkeypatch):
    monkeypatch.setattr(host, "memory", lambda: 1000)
    assert stream.device_memory([Device(None)] * 4) == 250
    assert stream.device_memory([Device(70), Device(90)]) == 70


def test_a_set_too_long_for_a_resident_store_streams(monkeypatch):
    monkeypatch.setattr(data_store, "MAX_ROWS", 1000)
    assert stream.make_store(RECORDS, WINDOW, "auto", [Device(1 << 40)]).host is not None


def test_chunks_hold_as_many_steps_as_their_memory_allows(monkeypatch):
    monkeypatch.setattr(stream, "CHUNK_BYTES", 1000)
    assert [stream.steps_per_chunk(most, 8, 5, 2) for most in (1, 6, 7)] == [1, 6, 6]  # 160 bytes a step
    assert stream.steps_per_chunk(4, 80, 50, 2) == 1


def test_dispatches_end_with_their_epoch():
    found = [*stream.dispatches(3, last=10, per_epoch=5, stride=3)]
    assert found == [(0, 3, 2), (1, 0, 3), (1, 3, 2)]
    assert [*stream.dispatches(10, last=10, per_epoch=5, stride=3)] == []
