import numpy as np
import pytest

from lrhnet_jax.ecg import quality
from lrhnet_jax.ecg.wfdb import find_headers, read_header, read_signal

RNG = np.random.default_rng(0)
BEATS = np.cumsum(RNG.normal(0, 0.02, (5000, 3)), axis=0).astype(np.float32)
LEADS = ("I", "II", "V2")


def _with(column, values):
    signal = BEATS.copy()
    signal[:, column] = values
    return signal


@pytest.mark.parametrize(
    ("signal", "marks", "cell"),
    [
        (BEATS, {}, ""),
        (np.zeros_like(BEATS), {"no signal": LEADS}, "no signal"),
        (np.full_like(BEATS, 32.767), {"no signal": LEADS}, "no signal"),
        (_with(1, 0.0), {"flat": ("II",)}, "flat II"),
        (_with(1, np.nan), {"flat": ("II",)}, "flat II"),
        (np.clip(BEATS, None, np.quantile(BEATS, 0.9, axis=0)), {"clipped": LEADS}, "clipped I II V2"),
        (BEATS * [1, 1, 1000], {"scale": ("V2",)}, "scale V2"),
        (BEATS * [0.001, 0, 1], {"flat": ("II",), "scale": ("I",)}, "flat II; scale I"),
    ],
)
def test_marks_of_what_carries_nothing(signal, marks, cell):
    assert quality.marks(signal, LEADS) == marks
    assert quality.describe(marks) == cell
    assert [note.split(" (")[0] for note in quality.notes(signal, LEADS)] == list(marks)


def test_a_missing_sample_is_not_a_fault_of_the_rest():
    signal = BEATS.copy()
    signal[7] = np.nan
    assert quality.marks(signal, LEADS) == {}


def test_a_few_samples_at_the_peak_of_a_beat_are_not_clipping():
    signal = BEATS.copy()
    signal[100:110, 0] = 5.0
    signal[1000:1010, 0] = 5.0
    assert quality.marks(signal, LEADS) == {}


def test_few_real_recordings_are_marked(real_records):
    paths = find_headers(real_records / "challenge-2020")[::10] + find_headers(real_records / "challenge-2021")
    headers = [read_header(path) for path in paths]
    marked = {h.record_id: m for h in headers if (m := quality.marks(read_signal(h), h.leads))}
    assert marked["JS45551"]["flat"] == ("V4", "V5", "V6")
    assert len(marked) < 0.05 * len(paths)
