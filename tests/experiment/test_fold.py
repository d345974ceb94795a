"""A fold: what teachers say of training records, and on which windows networks answer."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import common
from lrhnet_jax.data import splits
from lrhnet_jax.data.batch import draw_windows
from lrhnet_jax.data.store import make_store
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.experiment import check, cross_fit, graph, provenance
from lrhnet_jax.experiment.fold import Fold
from lrhnet_jax.models import registry
from lrhnet_jax.models.description import Description
from lrhnet_jax.runtime.devices import make_parallel
from lrhnet_jax.scoring import predict
from lrhnet_jax.training import checkpoint, loop
from tests.helpers import fakes
from tests.helpers.tiny import Tiny

WINDOW, PARTS = 64, 3


@pytest.fixture
def fold(monkeypatch, tmp_path):
    """A teacher and a student that is taught by its copies, on records of which a patient has two."""
    monkeypatch.setitem(registry._MODELS, "tiny", Tiny)
    monkeypatch.setattr(Tiny, "description", Description(stem="layer1_0", head="fc2"))
    config = common.experiment("test", common.parse("preset=demo,data=synthetic"), {})
    config.window, config.windows_per_record, config.teacher_logits = WINDOW, 0, "record"
    config.train.epochs, config.train.batch_size, config.train.keep = 1, 8, "last"
    fields = config.train.to_dict()
    networks = [
        graph.Network("teacher", "tiny", ("I", "II"), train=fields),
        graph.Network("student", "tiny", ("I",), {"teacher": 1.0}, train={**fields, "cross_fit": PARTS}),
    ]
    records = fakes.records(60)
    records.folds[:] = np.arange(60) // 2 % 5
    split = splits.make(records, 0, "reference", 10)
    store, parallel = make_store(records, 128), make_parallel("jit", 1)
    return Fold(config, networks, records, store, parallel, 0, split, [len(split.train)], tmp_path, {})


@pytest.mark.slow
def test_a_records_logits_come_from_a_copy_that_saw_no_record_of_its_patient(fold, monkeypatch):
    teacher, student = fold.networks
    fold.obtain(teacher)
    inputs = fold.inputs([student])
    assert inputs.teacher_logits.shape == (48, 1, 1, 24) and inputs.shifts.shape == (48, 0)
    answered = np.zeros(48, int)
    monkeypatch.setattr(loop, "train", lambda run: pytest.fail("what is finished is trained again"))
    for without, copy, held_out in cross_fit.copies(fold, teacher, PARTS):
        rows = fold.split.train[held_out]
        patients = fold.records.patients
        assert not set(patients[rows]) & set(patients[without.split.train])
        assert not set(patients[rows]) & set(patients[fold.split.test])
        assert len(without.split.train) + len(rows) == 48
        without.obtain(copy)  # as it was saved
        trained = without.trained[copy.name]
        assert trained.log["history"][-1]["step"] == min(without.sizes) // 8
        predictor = fold.assessor.predictor(trained.lead_network, trained.variables)
        expected = predictor.record_logits(fold.store, rows, fold.records.lengths[rows])
        np.testing.assert_allclose(inputs.teacher_logits[held_out, 0, 0], expected, atol=1e-5)
        answered[held_out] += 1
        own = fold.trained["teacher"]  # which has seen them, and says something else
        seen = fold.assessor.predictor(own.lead_network, own.variables).record_logits(
            fold.store, rows, fold.records.lengths[rows]
        )
        assert np.abs(seen - expected).max() > 1e-3
    np.testing.assert_array_equal(answered, 1)
    again = fold.inputs([student])
    np.testing.assert_array_equal(inputs.teacher_logits, again.teacher_logits)


def test_whole_records_are_taught_whatever_window_is_drawn(fold):
    teacher, student = fold.networks
    fold.obtain(teacher)
    inputs = fold.inputs([dataclasses.replace(student, train={**student.train, "cross_fit": 0})])
    rows = np.arange(48)
    draws = [draw_windows(inputs, rows, jax.random.key(seed), WINDOW) for seed in (0, 1)]
    assert (draws[0].start != draws[1].start).any() and not np.asarray(draws[0].window).any()
    own = fold.trained["teacher"]
    predictor = fold.assessor.predictor(own.lead_network, own.variables)
    per_window = predictor.logits(fold.store, fold.split.train[:1].astype(np.int32).repeat(2), np.array([0, 40]))
    assert np.abs(per_window[0] - per_window[1]).max() > 1e-4  # windows of a record differ; its answer is one
    assert inputs.teacher_logits.shape == (48, 1, 1, 24)


def test_networks_can_be_scored_and_used_on_longer_windows_than_they_train_on(fold):
    assert provenance.answer_window(fold.config) == WINDOW
    fold.config.evaluation.window = 128
    network = fold.networks[0]
    fold.obtain(network)
    assert checkpoint.load_model(fold.folder_of(network))[0]["window"] == 128
    trained, rows = fold.trained["teacher"], fold.split.test
    found = fold.assessor.probabilities(trained.lead_network, trained.variables, rows)
    store, lengths = make_store(fold.records, 128), fold.records.lengths[rows]
    answers = [
        predict.Predictor(trained.lead_network, trained.variables, window).probabilities(store, rows, lengths)
        for window in (128, WINDOW)
    ]
    np.testing.assert_allclose(found, answers[0], atol=1e-5)
    assert np.abs(found - answers[1]).max() > 1e-3


def test_a_student_starts_as_its_teacher_with_the_leads_that_it_reads(fold):
    teacher, student = fold.networks
    fold.obtain(teacher)
    started = dataclasses.replace(student, name="started", leads=("II",), teachers={}, start="teacher")
    run = fold.make_run(started, fold.inputs([started]))
    known = fold.trained["teacher"].variables
    kernel = known["params"]["layer1_0"]["kernel"]
    np.testing.assert_array_equal(run.variables["params"]["layer1_0"]["kernel"], kernel[:, 1:])
    assert kernel.shape[1] == 2
    for part in ("params", "batch_stats"):
        same = [name for name in known[part] if name != "layer1_0"]
        jax.tree.map(
            np.testing.assert_array_equal, *({name: one[part][name] for name in same} for one in (known, run.variables))
        )
    fold.obtain(started)  # and trains on from there
    trained = fold.trained["started"].variables["params"]["fc2"]["kernel"]
    assert 0 < np.abs(trained - known["params"]["fc2"]["kernel"]).max() < 0.1
    assert fold.trained["teacher"].variables["params"]["fc2"]["kernel"].shape == trained.shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": "nobody"}, "no network is called 'nobody'; there are student, teacher"),
        ({"start": "teacher", "checkpoint": "elsewhere"}, "loaded or pruned starts elsewhere"),
        ({"start": "teacher", "model": "lrhnet_wide"}, "teacher is another network than student"),
        ({"start": "teacher", "options": {"head_relu": False}}, "teacher is another network than student"),
        ({"start": "teacher", "leads": ("I", "V2")}, "teacher does not read V2"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(changes, message):
    train = common.experiment("test", common.parse("preset=demo,data=synthetic"), {}).train.to_dict()
    student = {"model": "lrhnet", "leads": ("I",), **changes}
    with pytest.raises(ConfigError, match=rf"config\.networks\.student\.start: .*{message}"):
        graph.parse({"teacher": {"model": "lrhnet", "leads": ("I", "II")}, "student": student}, train)


@pytest.mark.parametrize(
    ("student", "teacher", "teacher_logits", "message"),
    [
        ({"cross_fit": 3}, {}, "in_graph", "whole records; set config.teacher_logits=record"),
        ({"cross_fit": 1}, {}, "record", "1 parts are too few; give at least 2, or 0"),
        ({"cross_fit": 3, "method": common.method("semckd")}, {}, "record", "semckd reads features"),
        ({"cross_fit": 3}, {"checkpoint": "elsewhere"}, "record", "teacher has to learn from labels alone, here"),
    ],
)
def test_teachers_that_cannot_be_trained_again_are_refused(student, teacher, teacher_logits, message):
    fields = common.experiment("test", common.parse("preset=demo,data=synthetic"), {}).train.to_dict()
    networks = [
        graph.Network("teacher", "lrhnet", ("I",), train=fields, **teacher),
        graph.Network("student", "lrhnet", ("I",), {"teacher": 1.0}, train={**fields, **student}),
    ]
    with pytest.raises(ConfigError, match=rf"config\.networks\.student\.train\.cross_fit: .*{message}"):
        check.cross_fitting(networks[1], networks, teacher_logits)
    check.cross_fitting(networks[0], networks, teacher_logits)
