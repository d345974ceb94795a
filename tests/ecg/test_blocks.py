"""Blocks: they hold what reading a file whole gives, and preparing them gives what preparing the whole gives."""

import numpy as np
import pytest

from lrhnet_jax.ecg import blocks, preprocess, readers, wfdb_blocks, wfdb_formats
from lrhnet_jax.ecg import recording as recordings
from lrhnet_jax.ecg.formats import edf, text
from lrhnet_jax.ecg.recording import RecordError
from lrhnet_jax.ecg.wfdb import read_recording
from tests.helpers import plain_record
from tests.helpers.plain_record import MILLIVOLTS, PLAIN, signal_lines, write
from tests.helpers.wfdb_files import write_noise

NAMES = ("I", "II", "V1")


def whole(opened):
    return np.concatenate(list(opened.blocks))


def noise(seconds, rate, leads=2):
    rng = np.random.default_rng(0)
    return (np.cumsum(rng.normal(size=(round(seconds * rate), leads)), 0) / 100).astype(np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(wfdb_blocks, "VALUES", 1000)
    monkeypatch.setattr(edf, "_BLOCK_SAMPLES", 1000)
    monkeypatch.setattr(text, "_BLOCK_BYTES", 20_000)


@pytest.mark.parametrize("name", ["HR00001.hea", "HR09289.edf", "A00002.csv", "A00004.hea", "HR10862.dcm"])
def test_blocks_are_the_recording(name, request):
    path = request.config.rootpath / "examples" / name
    expected, opened = readers.read(path), readers.read_blocks(path)
    np.testing.assert_array_equal(whole(opened), expected.signal)
    for field in ("rate", "leads", "age", "sex", "path"):
        assert getattr(opened, field) == getattr(expected, field)
    assert tuple(opened.notes) == expected.notes


@pytest.mark.parametrize("form", [8, 16, 24, 32, 61, 80, 160, 212, 310, 311])
def test_every_wfdb_format_in_blocks(tmp_path, form):
    samples = 1999
    data = np.random.default_rng(form).bytes(wfdb_formats.size(form, samples * len(NAMES)))
    lines = [f"x.dat {form} {10_000_000 if form == 32 else 10_000}/mV 16 0 3 0 0 {name}" for name in NAMES]
    path = write(tmp_path, "x", lines, record=f"x 3 250 {samples}", data=data)
    parts = list(wfdb_blocks.read(path).blocks)
    np.testing.assert_array_equal(np.concatenate(parts), read_recording(path).signal)
    assert len(parts) > 5 or form == wfdb_formats.DIFFERENCES  # these add up: read whole


def test_frames_of_several_samples_checksums_and_ends_that_are_missing(tmp_path):
    frames = np.concatenate([PLAIN[:, 0].reshape(-1, 4), PLAIN[:, 1].reshape(-1, 4)], 1).astype("<i2").tobytes()
    lines = signal_lines("x.dat", PLAIN, storage="16x4")
    path = write(tmp_path, "x", lines, record="x 2 125 1250", data=frames)
    np.testing.assert_array_equal(whole(readers.read_blocks(path)), MILLIVOLTS)
    (tmp_path / "x.dat").write_bytes(frames[:9000] + b"\1\1" + frames[9002:])
    with pytest.raises(RecordError, match=r"x\.hea: checksum mismatch in lead I"):
        whole(readers.read_blocks(path))
    (tmp_path / "x.dat").write_bytes(frames[:9000])
    with pytest.raises(RecordError, match="short signal: 562 of 1250 samples"):
        next(readers.read_blocks(path).blocks)


def test_segments_and_their_gaps(tmp_path):
    for i, part in enumerate(np.split(PLAIN, 2)):
        lines = signal_lines(f"x_{i}.dat", part)[: 2 - i]  # the second one lacks lead II
        data = part[:, : 2 - i].astype("<i2").tobytes()
        write(tmp_path, f"x_{i}", lines, record=f"x_{i} {2 - i} 500 2500", data=data, comments=())
    path = write(tmp_path, "x", ["x_0 2500", "~ 3000", "x_1 2500"], record="x/3 2 500 8000")
    found = whole(readers.read_blocks(path))
    np.testing.assert_array_equal(found, read_recording(path).signal)
    assert found.shape == (8000, 2) and np.isnan(found[2500:5500]).all() and np.isnan(found[5500:, 1]).all()


def test_tables_keep_their_time_where_samples_are_left_out(tmp_path):
    values = noise(60, 250)
    rows = [f"{i / 250:.3f},{a:.4f},{b:.4f}" for i, (a, b) in enumerate(values)]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["time (s),I (mV),II (mV)", *rows[:5000], *rows[7500:]]) + "\n")
    opened = readers.read_blocks(path)
    found = whole(opened)
    assert opened.rate == 250 and opened.samples is None and found.shape == values.shape
    np.testing.assert_allclose(found[:5000], values[:5000], atol=1e-4)
    np.testing.assert_allclose(found[7500:], values[7500:], atol=1e-4)
    assert np.isnan(found[5000:7500]).all()
    path.write_text(
        "\n".join(["time (s),I (mV)", *(f"{i / 250:.3f},{i % 7}" for i in range(3000)), "99999,1", "99999.004,1"])
    )
    with pytest.raises(RecordError, match=r"x\.csv: its times leave out 27\.8 h; cut it there into two files"):
        whole(readers.read_blocks(path))


@pytest.mark.parametrize("rate", [250.0, 257.0, 360.0, 128.0])
@pytest.mark.parametrize("options", [preprocess.PAPER, preprocess.OPTIONS["monitor"]], ids=lambda o: o.bandpass)
def test_prepared_blocks_are_the_prepared_recording(monkeypatch, rate, options):
    monkeypatch.setattr(blocks, "BLOCK_SECONDS", 30.0)
    signal = noise(200, rate)
    expected = preprocess.bandpass(preprocess.resample(signal, rate, options), options)
    for cuts in ([], [100, 777, 40_000], [30]):
        parts = list(blocks.prepare(np.split(signal, cuts), rate, options))
        found = np.concatenate([part for part, _ in parts])
        assert found.shape == expected.shape and len(parts) > 3 and all(known.all() for _, known in parts)
        np.testing.assert_allclose(found[:-1000], expected[:-1000], atol=2e-5)  # mV, of a signal of several
        np.testing.assert_allclose(found, expected, atol=5e-4)  # how the end goes on depends on the begin


def test_missing_samples_are_known_where_they_are(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SECONDS", 30.0)
    signal = noise(150, 500)
    signal[30_000:32_000, 1] = np.nan
    parts = list(blocks.prepare([signal], 500, preprocess.OPTIONS["monitor"]))
    known = np.concatenate([there for _, there in parts])
    assert np.isfinite(np.concatenate([part for part, _ in parts])).all()
    gone = np.flatnonzero(~known) / 257
    assert gone.min() == pytest.approx(60, abs=0.01) and gone.max() == pytest.approx(64, abs=0.01)
    assert len(gone) == pytest.approx(4 * 257, abs=2)


def test_what_is_in_memory_comes_in_blocks_too(tmp_path):
    recording = readers.read(write_noise(tmp_path, "noise", seconds=400, rate=100, leads=("I",)))
    opened = recordings.in_blocks(recording)
    parts = list(opened.blocks)
    assert len(parts) == 2 and opened.samples == 40_000
    np.testing.assert_array_equal(np.concatenate(parts), recording.signal)


def test_plain_records_are_named_as_ever(tmp_path):
    path = plain_record.write_plain(tmp_path, names=("Lead I", "MLII"))
    opened = readers.read_blocks(path, rename={"MLII": "II"})
    assert opened.leads == ("I", "II") and "MLII is read as lead II" in opened.notes
