"""One model, one answer: a checkpoint, its exports, a signal in memory and `evaluate` say the same."""

import csv

import jax
import numpy as np
import pytest

from lrhnet_jax import evaluate, export, tasks
from lrhnet_jax.deploy import model as models
from lrhnet_jax.ecg.leads import LEADS, LeadError
from lrhnet_jax.ecg.wfdb import read_header, read_signal
from lrhnet_jax.errors import CheckpointError, DataError
from tests.helpers import fakes
from tests.helpers.wfdb_files import write_noise

WINDOW = 512
CLOSE = 1e-4  # of a probability


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return fakes.network(tmp_path_factory.mktemp("networks") / "student", "physionet2020", ("I", "II"), WINDOW)


@pytest.fixture(scope="module")
def model(network):
    return models.load(network)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A record of seven seconds: several windows."""
    path = write_noise(tmp_path_factory.mktemp("records"), "noise", seconds=7.0)
    header = read_header(path)
    return path, header, read_signal(header, LEADS)


@pytest.mark.slow
def test_a_signal_in_memory_gets_the_answer_of_evaluation_and_of_every_export(network, model, recording, tmp_path):
    path, header, signal = recording
    answer = model.predict(signal, header.rate, LEADS, header.age, header.sex)
    assert answer.classes == tasks.PHYSIONET2020.classes and len(answer.starts) > 1
    np.testing.assert_allclose(answer.window_probabilities.mean(0), answer.probabilities, atol=1e-6)
    np.testing.assert_array_equal(answer.decisions, answer.probabilities >= 0.5)
    evaluate.evaluate(network, path.parent, tmp_path / "evaluated")
    with (tmp_path / "evaluated/predictions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    told = [float(row[f"probability_{name}"]) for name in tasks.PHYSIONET2020.abbreviations]
    np.testing.assert_allclose(told, answer.probabilities, rtol=1e-5)
    export.export(network, tmp_path / "exported")
    for name in ("model.onnx", "model.stablehlo"):
        other = models.load(tmp_path / "exported" / name).predict(signal, header.rate, LEADS, header.age, header.sex)
        np.testing.assert_allclose(other.probabilities, answer.probabilities, atol=CLOSE)
        np.testing.assert_array_equal(other.starts, answer.starts)
    # Answers of another signal are far away, so that the comparisons can fail.
    other = model.predict(np.random.default_rng(1).normal(size=signal.shape), header.rate, LEADS)
    assert np.abs(other.probabilities - answer.probabilities).max() > 10 * CLOSE


def test_leads_are_found_by_name_and_said_to_be_derived(model, recording):
    _, header, signal = recording
    expected = model.predict(signal, header.rate, LEADS).probabilities
    mixed = signal[:, [5, 1, 0]]
    np.testing.assert_array_equal(model.predict(mixed, header.rate, ["avf", "Lead II", "i"]).probabilities, expected)
    np.testing.assert_array_equal(model.predict(signal[:, :2], header.rate).probabilities, expected)
    np.testing.assert_array_equal(model.predict(signal, header.rate).probabilities, expected)
    with pytest.raises(LeadError, match="lacks lead I"):
        model.predict(signal[:, 6:8], header.rate, ["V1", "V2"])


def test_notes_say_what_the_answer_must_not_be_taken_for(network, model, recording):
    _, header, signal = recording
    notes = model.predict(signal, header.rate).notes
    assert models.NOT_A_DEVICE in notes and not any("padded" in note for note in notes)
    short = model.predict(signal[:500], header.rate)
    assert any("shorter than the network's window: 1.0 s, padded" in note for note in short.notes)
    assert short.starts.tolist() == [pytest.approx(-((WINDOW - 257) // 2) / 257)]
    flat = np.array(signal)
    flat[:, 1] = 0.2
    assert any(note.startswith("flat (II)") for note in model.predict(flat, header.rate).notes)


@pytest.mark.parametrize(
    ("signal", "rate", "leads", "message"),
    [
        (np.zeros(9), 500, None, r"shape \(9,\): \(time, leads\) expected"),
        (np.zeros((1, 2)), 500, None, "two samples or more"),
        (np.zeros((900, 2)), 0.0, None, "a rate of 0.0 Hz is not one of an ECG"),
        (np.zeros((900, 2)), float("nan"), None, "a rate of nan Hz"),
        (np.zeros((900, 3)), 500, None, "3 columns, and names for 12"),
        (np.full((900, 2), np.nan), 500, None, "1800 samples of the leads I, II are missing or not finite"),
    ],
)
def test_a_signal_that_makes_no_sense_is_refused(model, signal, rate, leads, message):
    with pytest.raises(DataError, match=message):
        model.predict(signal, rate, leads)


def test_classes_that_exclude_each_other_have_one_decision(tmp_path):
    folder = fakes.network(tmp_path / "af", "physionet2017", ("I",), 300)
    answer = models.load(folder).predict(np.cumsum(np.random.default_rng(0).normal(size=(900, 1)), 0) / 100, 300)
    assert answer.thresholds is None and answer.decisions.sum() == 1 and answer.probabilities.sum() == pytest.approx(1)
    assert str(answer) == answer.names[answer.probabilities.argmax()]


def test_answers_that_are_not_numbers_are_refused():
    with pytest.raises(CheckpointError, match="student: the network answers NaN"):
        models.check_answers("student", np.array([[np.nan]]))


def test_few_sizes_are_compiled(model, monkeypatch):
    sizes = []
    spied = models.Model(
        model.meta, model.task, model.options, lambda s, d: sizes.append(len(s)) or np.zeros((len(s), 24))
    )
    for count in (1, 2, 3, 5, 16, 21):
        assert spied.windows(fakes.records(40).select(np.arange(count)))[2].shape[1] == 24
    assert set(sizes) <= {1, 2, 4, 8, 16, 32, 64} and max(sizes) <= 16 * len(jax.local_devices())
