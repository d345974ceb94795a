"""Long recordings: a window is answered as a recording of its own, in blocks as in one piece; what an episode is."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from matplotlib.image import imread

import lrhnet_jax
from lrhnet_jax import export, predict
from lrhnet_jax.deploy import timeline
from lrhnet_jax.deploy.model import NOT_A_DEVICE
from lrhnet_jax.ecg import blocks, preprocess, readers
from lrhnet_jax.ecg.recording import RecordError, Recording, in_blocks
from tests.helpers import fakes
from tests.helpers.wfdb_files import write_noise

WINDOW, RATE = 512, 257.0
CLOSE = 2e-4  # of a probability: float16, and the ends of filters


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    network = fakes.network(folder / "network", "physionet2020", ("I", "II"), WINDOW, "lrhnet_wide")
    export.export(network, folder / "packed", [export.MODEL], name="small")
    return folder / "packed"


@pytest.fixture(scope="module")
def model(packed):
    return lrhnet_jax.load(packed)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """Seven minutes of two leads."""
    return write_noise(tmp_path_factory.mktemp("records"), "noise", leads=("I", "II"), seconds=420, rate=250)


def test_blocks_give_the_answers_of_one_piece(model, record, monkeypatch):
    whole = timeline.follow(model, in_blocks(readers.read(record)))
    monkeypatch.setattr(blocks, "BLOCK_SECONDS", 40.0)
    found = timeline.follow(model, readers.read_blocks(record))
    np.testing.assert_array_equal(found.starts, whole.starts)
    np.testing.assert_allclose(found.probabilities, whole.probabilities, atol=CLOSE)
    assert found.answered.all() and found.seconds == pytest.approx(420, abs=0.01)
    assert np.ptp(found.probabilities, 0).max() > 10 * CLOSE
    # Side by side from the begin to the end.
    steps = np.diff(found.starts)
    np.testing.assert_allclose(steps[:-1], WINDOW / RATE)
    assert found.starts[-1] + found.window == pytest.approx(found.seconds)


def test_a_window_is_answered_as_a_recording_of_its_own(model, record):
    recording = readers.read(record)
    found = timeline.follow(model, in_blocks(recording))
    prepared = preprocess.resample(recording.signal, recording.rate, model.options)
    for place in (0, 17, 100):
        start = round(found.starts[place] * RATE)
        answer = model.predict(prepared[start : start + WINDOW], RATE, age=recording.age, sex=recording.sex)
        np.testing.assert_allclose(found.probabilities[place], answer.probabilities, atol=CLOSE)


def test_windows_without_a_signal_are_not_answered(model, record):
    recording = readers.read(record)
    signal = recording.signal.copy()
    signal[25_000:30_000, 1] = np.nan  # 100 to 120 s
    signal[50_000:60_000] = 0.5  # 200 to 240 s: both leads are off
    found = timeline.follow(model, in_blocks(dataclasses.replace(recording, signal=signal)))
    gone = {reason: [s for s, r in zip(found.starts, found.unanswered, strict=True) if r == reason]
            for reason in (timeline.NO_SAMPLES, timeline.NO_SIGNAL)}  # fmt: skip
    assert min(gone[timeline.NO_SAMPLES]) > 98 and max(gone[timeline.NO_SAMPLES]) < 120
    assert min(gone[timeline.NO_SIGNAL]) > 199 and max(gone[timeline.NO_SIGNAL]) < 240
    assert len(gone[timeline.NO_SAMPLES]) >= 10 and len(gone[timeline.NO_SIGNAL]) >= 15
    np.testing.assert_array_equal(found.answered, [reason == "" for reason in found.unanswered])
    assert not found.decisions[~found.answered].any()
    assert any("windows are not answered: no signal, samples are missing" in note for note in found.notes)
    assert found.notes[-1] == NOT_A_DEVICE


@pytest.mark.parametrize(
    ("inside", "spans"),
    [
        ([], []),
        ([0, 1, 2], []),  # 24 s: too short
        ([0, 1, 2, 3], [(0, 32)]),
        ([0, 1, 4, 5], [(0, 48)]),  # 16 s between
        ([0, 1, 2, 3, 7, 8, 9, 10], [(0, 88)]),  # 24 s between
        ([0, 1, 2, 3, 8, 9, 10, 11], [(0, 32), (64, 96)]),  # 32 s between
        ([0, 9], []),
    ],
)
def test_episodes_are_joined_and_short_ones_left_out(inside, spans):
    starts, where = np.arange(12) * 8.0, np.isin(np.arange(12), inside)
    likely = np.where(where, 0.75, 0.25)
    found = timeline.episodes(starts, 8.0, where, likely)
    assert [(one.start, one.end) for one in found] == spans
    assert all(0.25 < one.probability <= 0.75 for one in found)


def test_fibrillation_is_more_probable_than_sinus_rhythm():
    classes = ("164889003", "426783006", "x")
    probabilities = np.array([[0.6, 0.5, 1], [0.4, 0.5, 1], [0.6, 0.1, 1]], np.float32)
    inside, likely = timeline._fibrillation(classes, probabilities, probabilities >= 0.3)
    assert inside.tolist() == [True, False, True] and likely.tolist() == probabilities[:, 0].tolist()
    inside, _ = timeline._fibrillation(("x", "y"), probabilities[:, :2], probabilities[:, :2] >= 0.3)
    assert not inside.any()


def test_what_cannot_be_followed_is_said(model, record):
    recording = readers.read(record)
    with pytest.raises(RecordError, match=r"noise\.hea: lacks lead II"):
        timeline.follow(model, in_blocks(dataclasses.replace(recording, leads=("I", "V5"))))
    short = Recording(recording.signal[:100], 250, recording.leads, recording.path)
    with pytest.raises(RecordError, match=r"is shorter than a window of the model, 1\.99 s"):
        timeline.follow(model, in_blocks(short))


@pytest.mark.slow
def test_predict_writes_tables_and_a_page_of_a_long_recording(packed, record, tmp_path, capsys):
    assert predict.main([str(record), f"--model={packed}", f"--output={tmp_path}"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        *("predictions.csv", "noise.json", "noise-windows.csv", "noise.png", "noise.html")
    }
    told = json.loads((tmp_path / "noise.json").read_text())
    with (tmp_path / "noise-windows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = timeline.follow(lrhnet_jax.load(packed), readers.read_blocks(record))
    assert told["windows"] == {"count": len(rows), "answered": len(rows), "seconds": found.window}
    assert told["episodes"] == [dataclasses.asdict(one) for one in found.episodes]
    assert told["decision"] == str(found) and told["decision"] in (tmp_path / "noise.html").read_text()
    afib = [float(row["probability_AF"]) for row in rows]
    np.testing.assert_allclose(afib, found.probabilities[:, found.classes.index("164889003")], rtol=1e-5)
    assert [float(row["start"]) for row in rows] == pytest.approx(found.starts.tolist(), abs=1e-3)
    assert imread(tmp_path / "noise.png").shape[1] > 1000
    printed = capsys.readouterr().out
    assert "noise.hea" in printed and "atrial fibrillation" in printed and NOT_A_DEVICE in printed


def test_durations_are_told_in_hours():
    assert [timeline.duration(seconds) for seconds in (0, 59.6, 3661, 90_000)] == [
        *("0:00:00", "0:01:00", "1:01:01", "25:00:00")
    ]
