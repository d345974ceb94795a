import functools
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrhnet_jax.data.batch import fill_up
from lrhnet_jax.errors import ConfigError, DataError
from lrhnet_jax.runtime import interrupt
from lrhnet_jax.runtime.devices import Parallel
from lrhnet_jax.scoring import predict
from lrhnet_jax.training import checkpoint, loop, steps
from lrhnet_jax.training.state import create_state, init_variables
from tests.helpers import fakes
from tests.helpers.runs import EPOCHS, WINDOW, assert_same, change, make_run, without_rates


@pytest.mark.slow
def test_rows_that_fill_the_inputs_up_are_not_trained_on(tmp_path):
    plain = make_run(tmp_path / "plain", epochs=2)
    expected = loop.train(plain)
    filled = fill_up(plain.inputs, 45)
    assert len(filled.records) == len(filled.shifts) == len(filled.teacher_logits) == 45
    found = loop.train(change(plain, folder=tmp_path / "filled", inputs=filled, records=32))
    assert_same(found.variables, expected.variables)
    # Fewer steps an epoch than the records fill.
    shorter = loop.train(change(plain, folder=tmp_path / "shorter", epoch_steps=2))
    assert [row["step"] for row in shorter.history] == [2, 4]


@pytest.mark.parametrize("after", [1, 4, 6, 11])
def test_stopped_by_sigterm_and_resumed_is_bit_for_bit_the_uninterrupted_run(tmp_path, monkeypatch, after):
    whole = loop.train(make_run(tmp_path / "whole"))
    interrupt.install()
    run = make_run(tmp_path / "cut")
    calls = 0
    wait = jax.block_until_ready

    def terminate_after(value):
        nonlocal calls
        calls += 1
        if calls == after:
            os.kill(os.getpid(), signal.SIGTERM)
        return wait(value)

    monkeypatch.setattr(jax, "block_until_ready", terminate_after)
    with pytest.raises(SystemExit) as stopped:
        loop.train(run)
    assert stopped.value.code == 0 and calls == after
    monkeypatch.undo()
    interrupt.install()
    resumed = loop.train(run)
    assert_same(whole.variables, resumed.variables)
    assert without_rates(whole.history) == without_rates(resumed.history)
    lines = [json.loads(line) for line in (tmp_path / "cut/metrics.jsonl").read_text().splitlines()]
    assert lines == resumed.history and [row["epoch"] for row in lines] == [1, 2, 3]


@pytest.mark.slow
def test_training_learns_what_lead_one_shows(tmp_path):
    run = make_run(tmp_path, n=40, epochs=12, student=fakes.lead_network())
    result = loop.train(run)
    records = fakes.records(40)
    found = predict.Predictor(run.spec.student, result.variables, WINDOW).of_dataset(records)
    positive = records.labels[:, 0]
    assert np.median(found[positive, 0]) > np.median(found[~positive, 0]) + 0.2
    assert result.history[-1]["loss"] < 0.8 * result.history[0]["loss"]


@pytest.mark.slow
def test_the_best_epoch_is_kept_or_the_last(tmp_path):
    seen = []

    def score(variables):
        seen.append(jax.tree.map(jnp.copy, variables))
        return [0.3, 0.8, 0.8][len(seen) - 1]

    best = loop.train(make_run(tmp_path / "best", score=score))
    assert best.best_epoch == 2 and [row["validation_score"] for row in best.history] == [0.3, 0.8, 0.8]
    assert_same(best.variables, seen[1])
    last = loop.train(make_run(tmp_path / "last"))
    assert last.best_epoch == EPOCHS
    assert_same(last.variables, seen[2])


@pytest.mark.slow
def test_many_steps_a_dispatch_train_the_same_network(tmp_path):
    one = loop.train(make_run(tmp_path / "one"))
    many = loop.train(make_run(tmp_path / "many", steps_per_dispatch=3))  # 3 and 1 of 4 steps an epoch
    assert [row["loss"] for row in one.history] == pytest.approx([row["loss"] for row in many.history], rel=1e-4)
    # Rounding differs, and where a gradient is next to nothing Adam makes a step of it: seldom in one dispatch.
    runs = (make_run(tmp_path / "one3", stop=3), make_run(tmp_path / "many3", stop=3, steps_per_dispatch=3))
    one, many = (loop.train(run) for run in runs)
    assert int(one.state.step) == int(many.state.step) == 3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-4), one.state.variables, many.state.variables)


@pytest.mark.slow
@pytest.mark.parametrize("dispatched", [1, 3])
def test_a_job_stops_at_a_step_and_goes_on_from_there(tmp_path, dispatched):
    whole = loop.train(make_run(tmp_path / "whole", steps_per_dispatch=dispatched))
    run = make_run(tmp_path / "cut", steps_per_dispatch=dispatched, stop=6)  # of 4 an epoch
    begun = loop.train(run)
    assert int(begun.state.step) == 6 and [row["epoch"] for row in begun.history] == [1]
    assert_same(begun.variables, begun.state.variables)
    ended = loop.train(change(run, stop=0))
    assert int(ended.state.step) == 12 and len(ended.history) == len(whole.history)
    if dispatched == 1:
        assert without_rates(ended.history) == without_rates(whole.history)
        assert_same(whole.variables, ended.variables)
    else:  # the stop cuts a dispatch of three in two, which may round differently
        close = functools.partial(np.testing.assert_allclose, atol=1e-6, rtol=1e-5)
        jax.tree.map(close, whole.variables, ended.variables)


def test_jobs_share_compiled_steps_where_they_are_given_a_place_for_them(tmp_path, monkeypatch):
    compiled = []
    compile_ = Parallel.compile
    monkeypatch.setattr(Parallel, "compile", lambda *a: compiled.append(1) or compile_(*a))
    programs = {}
    run = make_run(tmp_path / "one", epochs=1, steps_per_dispatch=3, compiled_steps=programs)  # 3 and 1 of 4 steps
    one = loop.train(run)
    two = loop.train(change(run, folder=tmp_path / "two"))
    assert len(programs) == len(compiled) == 2
    assert_same(one.variables, two.variables)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_remedy(tmp_path):
    run = make_run(tmp_path)
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, run.variables)
    with pytest.raises(DataError, match=r"student: the loss is nan in epoch 1; lower config\.train\.learning_rate"):
        loop.train(change(run, variables=broken))


def test_too_few_records_or_epochs_are_errors(tmp_path):
    with pytest.raises(
        DataError, match=r"5 training records do not fill a batch of 8; lower config\.train\.batch_size"
    ):
        loop.train(make_run(tmp_path, n=5))
    with pytest.raises(ConfigError, match="needs at least 1 epoch"):
        loop.train(make_run(tmp_path, epochs=0))


def test_progress_of_another_network_is_an_error_that_names_the_folder(tmp_path):
    interrupt.install()
    run = make_run(tmp_path)
    progress = checkpoint.Progress(tmp_path)
    progress.save(create_state(run.variables, run.spec.optimizer, steps.METRICS).replace(step=jnp.int32(4)), [])
    progress.close()
    lead_network = fakes.lead_network("cnn1d", (0, 1))
    other = change(run, student=lead_network, variables=init_variables(lead_network.model, jax.random.key(0), 2, 4096))
    with pytest.raises(checkpoint.CheckpointError, match=r"progress/4: cannot be restored .* delete that folder"):
        loop.train(other)
