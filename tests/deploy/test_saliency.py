"""What a network looked at: planted beats are found, and random weights see something else (Adebayo et al., 2018)."""

import dataclasses
import pathlib

import numpy as np
import pytest

import lrhnet_jax
from lrhnet_jax import tasks
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.deploy import answer_page, model_folder, numpy_network, saliency, shipped
from lrhnet_jax.deploy.model import Model
from lrhnet_jax.ecg import readers
from lrhnet_jax.ecg.preprocess import Preprocess, preprocess
from lrhnet_jax.ecg.recording import Recording

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
RATE = 100
BEATS = (2.0, 5.5)  # s, of the shape that the detector knows
OTHERS = (1.0, 3.5, 7.0)
SHAPE = np.diff(np.exp(-0.5 * ((np.arange(-15, 16)) / 4) ** 2))  # up, then down


def detector(template: np.ndarray, window: int = 400) -> Model:
    """A network of one convolution and a maximum, on lead I of leads I and II, that knows a beat's shape."""

    def run(signal, demographics):
        peaks = [np.convolve(one, template[::-1], "valid").max() for one in signal[..., 0]]
        present = 1 / (1 + np.exp(3 - np.array(peaks)))
        return np.stack([1 - present, present, *np.zeros((2, len(present)))], 1).astype(np.float32)

    meta = {"name": "detector", "leads": ["I", "II"], "window": window}
    return Model(meta, tasks.PHYSIONET2017, Preprocess(rate=float(RATE)), run)


def planted(beats=BEATS) -> Recording:
    """Eight seconds of noise in which some beats have the shape, and others its mirror image."""
    signal = np.random.default_rng(0).normal(0, 0.02, (8 * RATE, 2))
    for times, shape in ((beats, SHAPE), (OTHERS, -SHAPE)):
        for time in times:
            first = round(time * RATE) - 15
            signal[first : first + len(shape), 0] += 5 * shape
    signal[:, 1] = np.roll(signal[:, 0], 200)  # beats in a lead that the detector does not read
    return Recording(signal.astype(np.float32), float(RATE), ("I", "II"), pathlib.Path("planted.csv"))


def test_planted_beats_are_found_in_each_window_and_nothing_else_is():
    seen = saliency.explain(detector(SHAPE), planted(), 1)
    assert len(seen.times) == 80 and seen.name == "atrial fibrillation"
    near = np.abs(seen.times[:, None] - np.array(BEATS)).min(1) < saliency.PIECE / 2
    # Each window of four seconds has one of the beats, and covering it takes the window's answer away.
    assert seen.shade[near].max() == 1 and np.abs(seen.relevance[~near]).max() < 0.2 * seen.relevance.max()
    for beat in BEATS:
        assert seen.shade[np.abs(seen.times - beat).argmin()] > 0.6
    assert seen.silent["I"] < 0.1 and seen.silent["II"] == pytest.approx(seen.probability)
    assert f"what spoke for {seen.name}" in str(seen) and "without lead II" in str(seen)


def test_a_beat_that_windows_share_counts_once_in_each():
    """Windows overlap where the recording is no multiple of them: the answer is that of the covered recording."""
    model, recording = detector(SHAPE, 500), planted(beats=(4.0,))
    seen = saliency.explain(model, recording, 1)
    piece = int(np.abs(seen.times - 4.0).argmin())
    prepared = preprocess(recording.signal, RATE, model.options)
    times = np.arange(len(prepared)) / RATE - seen.times[piece]
    dip = np.where(np.abs(times) < 0.2, np.sin(np.pi * times / 0.4) ** 2, 1)[:, None]
    records = Dataset.from_arrays([prepared * dip], leads=("I", "II"), classes=model.task.classes)
    assert seen.covered[piece] == pytest.approx(model.probabilities(records)[0, 1], abs=0.01)
    assert seen.covered[piece] < 0.7 * seen.probability
    assert seen.probability == pytest.approx(model.predict_recording(recording).probabilities[1], abs=1e-6)


def test_other_weights_see_something_else():
    """With its weights shuffled the detector is blind to the beats; random networks do not look alike."""
    shuffled = np.random.default_rng(3).permutation(SHAPE)
    seen = [saliency.explain(detector(template), planted(), 1).relevance for template in (SHAPE, shuffled)]
    assert abs(np.corrcoef(*seen)[0, 1]) < 0.5


def test_a_trained_network_with_its_weights_shuffled_sees_something_else():
    model, rng = lrhnet_jax.load("dx24-2"), np.random.default_rng(0)
    recording = readers.read(EXAMPLES / "HR09289.edf")
    answer = model.predict_recording(recording)
    index = saliency.chosen(answer)
    _, arrays = model_folder.read(shipped.resolve("dx24-2"))
    shuffled = {name: rng.permutation(values.ravel()).reshape(values.shape) for name, values in arrays.items()}
    blind = dataclasses.replace(model, run=numpy_network.make(shuffled, 2, len(answer.classes), exclusive=False))
    seen = [saliency.explain(one, recording, index, seconds=5.0) for one in (model, blind)]
    assert seen[0].name == "atrial fibrillation" and seen[0].probability == pytest.approx(answer.probabilities[index])
    assert len(seen[0].times) == 50 and set(seen[0].silent) == {"I", "II"} and seen[1].covered.std() > 0
    assert abs(np.corrcoef(*(one.relevance for one in seen))[0, 1]) < 0.5


def test_where_nothing_matters_nothing_is_shaded():
    flat = detector(np.zeros(30))
    seen = saliency.explain(flat, planted(), 1)
    assert not seen.shade.any() and "No single piece" in str(seen)


def test_the_page_and_the_picture_show_it(tmp_path, monkeypatch):
    drawn = []
    page = answer_page.squared_paper.page
    monkeypatch.setattr(
        answer_page.squared_paper, "page", lambda *given, **more: drawn.append(page(*given, **more)) or drawn[-1]
    )
    model, recording = detector(SHAPE), planted()
    model.meta.update({"model": "detector", "parameters": 30, "trained_on": "physionet2017"})
    answer = model.predict_recording(recording)
    answer_page.write(tmp_path / "planted", model, recording, answer)
    told = str(saliency.explain(model, recording, 1))
    assert answer.decisions[1] and told in (tmp_path / "planted.html").read_text().replace("&#x27;", "'")
    (figure,) = drawn
    assert " ".join(figure.texts[0].get_text().split()).count(told) == 1
    images = figure.axes[0].images
    assert len(images) == 2  # behind both leads
    opacity = images[0].get_array()[0, :, 3]
    assert opacity.max() == pytest.approx(answer_page.squared_paper.DARKEST) and opacity[-1] == 0  # after 8 s: paper
    assert abs(np.linspace(0, 10, len(opacity))[opacity.argmax()] - np.array(BEATS)).min() < 0.2


def test_of_a_long_recording_the_begin_is_explained():
    recording = planted()
    long = Recording(np.tile(recording.signal, (10, 1)), recording.rate, recording.leads, recording.path)
    seen = saliency.explain(detector(SHAPE), long, 1)
    assert len(seen.times) == round(saliency.CONTEXT / saliency.STEP)


def test_the_class_that_is_explained():
    recording = readers.select(planted(), ("I", "II"))
    answer = detector(SHAPE).predict_recording(recording)
    assert saliency.chosen(answer) == 1
