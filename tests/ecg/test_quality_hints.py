import numpy as np
import pytest

from lrhnet_jax.ecg import quality_hints
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.ecg.wfdb import find_headers, read_header, read_signal
from tests.helpers.ecg_files import counts, millivolts

RATE = 500
RNG = np.random.default_rng(0)
CLEAN = millivolts(counts(12, 10)) + RNG.normal(0, 0.002, (5000, 12)).astype(np.float32)


def _with(lead, change):
    signal = CLEAN.copy()
    signal[:, LEADS.index(lead)] += change(np.arange(len(signal)) / RATE)
    return signal


@pytest.mark.parametrize(
    ("signal", "notes"),
    [
        (CLEAN, ()),
        (_with("V2", lambda t: RNG.normal(0, 0.1, len(t))), ("noisy: V2",)),
        (_with("V2", lambda t: 0.2 * np.sin(2 * np.pi * 50 * t)), ("noisy: V2",)),
        (_with("V2", lambda t: RNG.normal(0, 0.1, len(t)) * (t < 1)), ()),  # one second of ten
        (_with("aVF", lambda t: 2 * np.sin(2 * np.pi * 0.2 * t)), ("the baseline wanders by more than 3 mV: aVF",)),
        (-CLEAN, ("lead I is negative: the arm electrodes may be swapped, or the axis of the heart points right",)),
    ],
)
def test_hints(signal, notes):
    assert quality_hints.hints(signal, RATE, LEADS) == notes


def test_a_recording_that_begins_or_ends_without_a_signal():
    signal = CLEAN.copy()
    signal[:300] = signal[300]
    signal[-400:] = 0
    assert quality_hints.hints(signal, RATE, LEADS) == (
        "begins with 0.6 s in which nothing moves: padding, or not yet connected",
        "ends with 0.8 s in which nothing moves: padding, or not yet connected",
    )


def test_flat_leads_are_marked_and_not_hinted_at():
    signal = CLEAN.copy()
    signal[:, :3] = np.nan
    notes = quality_hints.all_notes(signal, RATE, LEADS)
    assert len(notes) == 1 and notes[0].startswith("flat (I, II, III)")


def test_missing_samples_are_no_noise():
    signal = CLEAN.copy()
    signal[100:400] = np.nan
    assert quality_hints.hints(signal, RATE, LEADS) == ()


def test_a_day_is_looked_at_in_pieces():
    hour = np.tile(CLEAN[:, :1], (360, 1))
    assert quality_hints.hints(hour, RATE, ("I",)) == ()
    noisy = hour + RNG.normal(0, 0.1, hour.shape).astype(np.float32)
    assert quality_hints.hints(noisy, RATE, ("I",)) == ("noisy: I",)


PADDED = "6 s long: padded with silence to the 10 s that the network reads"


@pytest.mark.parametrize(
    ("seconds", "rate", "notes"),
    [
        (10, 500, ()),
        (6, 500, (PADDED, "6 s long: the network has seen 9 to 61 s")),
        (3600, 500, ("3600 s long: the network has seen 9 to 61 s",)),
        (10, 100, ("recorded at 100 Hz: the network has seen 257 to 1000 Hz",)),
    ],
)  # fmt: skip
def test_what_the_network_has_not_seen(seconds, rate, notes):
    assert quality_hints.range_notes(seconds, rate, 10, (257, 1000), (9, 61)) == notes
    assert quality_hints.range_notes(seconds, rate) == ()


def test_few_real_recordings_are_hinted_at(real_records):
    headers = [read_header(path) for path in find_headers(real_records / "challenge-2020")[::20]]
    hinted = [h.record_id for h in headers if quality_hints.hints(read_signal(h), h.rate, h.leads)]
    assert 0 < len(hinted) < 0.1 * len(headers)
