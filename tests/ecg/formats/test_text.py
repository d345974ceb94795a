"""Tables as text, in the dialects that people have."""

import time

import numpy as np
import pytest

from lrhnet_jax.ecg import readers
from lrhnet_jax.ecg.recording import RecordError
from tests.helpers import ecg_texts
from tests.helpers.ecg_files import counts, millivolts
from tests.helpers.ecg_texts import TABLES, write_table

VALUES = counts()
EXPECTED = ecg_texts.TWO_LEADS
ROWS = EXPECTED.tolist()


@pytest.mark.parametrize("dialect", TABLES)
def test_dialects(tmp_path, dialect):
    recording = readers.read(write_table(tmp_path / "a.csv", *TABLES[dialect]))
    assert (recording.rate, recording.leads) == (500, ("I", "II"))
    np.testing.assert_allclose(recording.signal, EXPECTED, atol=1e-5)


@pytest.mark.parametrize(
    ("encoding", "newline"), [("utf-8-sig", "\n"), ("utf-16", "\r\n"), ("latin-1", "\r\n"), ("utf-8", "\r\n")]
)
def test_encodings_and_line_ends(tmp_path, encoding, newline):
    head, row = TABLES["microvolts above"]
    recording = readers.read(write_table(tmp_path / "a.csv", head, row, ROWS, encoding, newline))
    np.testing.assert_allclose(recording.signal, EXPECTED, atol=1e-5)
    assert recording.notes == ()


def test_what_the_file_does_not_say_is_given(tmp_path):
    path = write_table(tmp_path / "a.csv", [], lambda i, a, b: f"{a:.4f},{b:.4f}")
    recording = readers.read(path, rate=500, leads=["II", "V1"], unit="mV")
    assert (recording.rate, recording.leads, recording.notes) == (500, ("II", "V1"), ())
    np.testing.assert_allclose(recording.signal, EXPECTED, atol=1e-5)
    pandas = write_table(tmp_path / "c.csv", [",0,1"], lambda i, a, b: f"{i},{a:.4f},{b:.4f}")
    np.testing.assert_allclose(readers.read(pandas, 500, ["I", "II"], "mV").signal, EXPECTED, atol=1e-5)
    with_time = write_table(tmp_path / "b.csv", [], lambda i, a, b: f"{i / 500:.3f},{a:.4f},{b:.4f}")
    recording = readers.read(with_time, leads=["II", "V1"])
    np.testing.assert_allclose(recording.signal, EXPECTED, atol=1e-5)
    assert recording.notes == (
        "the column of times does not say its unit: taken as seconds",
        "the file names no unit; its samples are taken as mV",
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"leads": ["I", "II"]}, "does not say its sampling rate; give the rate in Hz"),
        ({"rate": 500}, "does not name its 2 columns of samples; give their names, as I,II,V2"),
        ({"rate": 500, "leads": ["I"]}, "has 2 columns of samples, which 1 names do not fit"),
        ({"rate": 500, "leads": ["I", "II"], "unit": "furlong"}, "unit 'furlong' is not a voltage"),
    ],
)
def test_what_is_missing_is_asked_for(tmp_path, given, message):
    path = write_table(tmp_path / "a.csv", [], lambda i, a, b: f"{a:.4f},{b:.4f}")
    with pytest.raises(RecordError, match=message):
        readers.read(path, **given)


def test_columns_that_are_no_leads_are_left_and_named(tmp_path):
    path = write_table(tmp_path / "a.csv", ["time,PPG,II,MLII"], lambda i, a, b: f"{i / 500},7,{b:.4f},{a:.4f}")
    recording = readers.read(path)
    assert recording.leads == ("II", "MLII")
    assert "columns that name no lead are not read: PPG" in recording.notes
    renamed = readers.read(path, rename={"MLII": "I"})
    assert "MLII is read as lead I" in renamed.notes
    np.testing.assert_allclose(readers.select(renamed, ["I", "II"]).signal, EXPECTED, atol=1e-5)


def test_missing_numbers(tmp_path):
    path = write_table(
        tmp_path / "a.csv", ["time,I,II"], lambda i, a, b: f"{i / 500},{a:.4f},{b:.4f}" if i != 9 else f"{i / 500},,NA"
    )
    recording = readers.read(path)
    assert np.isnan(recording.signal[9]).all() and np.isfinite(np.delete(recording.signal, 9, 0)).all()
    assert "1 missing samples in lead II" in recording.notes


def test_times_with_gaps_or_backwards(tmp_path):
    gap = write_table(tmp_path / "a.csv", ["time,I,II"], lambda i, a, b: f"{i / 500 + (i > 600):.3f},{a:.4f},{b:.4f}")
    recording = readers.read(gap)
    assert recording.rate == 500
    assert "1 gaps in the times (first after 1.20 s) are closed: what follows is moved up" in recording.notes
    back = write_table(tmp_path / "b.csv", ["time,I,II"], lambda i, a, b: f"{i % 700 / 500:.3f},{a:.4f},{b:.4f}")
    with pytest.raises(RecordError, match="times does not grow from row to row"):
        readers.read(back)


def test_times_that_are_rounded_to_milliseconds(tmp_path):
    values = np.repeat(EXPECTED, 4, axis=0).tolist()
    path = write_table(tmp_path / "a.csv", ["time,I,II"], lambda i, a, b: f"{i / 360:.3f},{a:.4f},{b:.4f}", values)
    assert readers.read(path).rate == 360


def test_a_table_that_is_cut(tmp_path):
    path = write_table(tmp_path / "a.csv", *TABLES["comma, seconds"])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(RecordError, match=r"its rows are not alike \(.*\); it may be truncated"):
        readers.read(path)


def test_patient_in_comments(tmp_path):
    path = write_table(
        tmp_path / "a.csv", ["# age: 61 years", "# sex: F", "# fs: 500", "I,II"], lambda i, a, b: f"{a},{b}"
    )
    recording = readers.read(path)
    assert (recording.age, recording.sex, recording.rate) == (61, "F", 500)


@pytest.mark.parametrize(("language", "rate"), [("en", "512"), ("de", "512.844"), ("de", "511")])
def test_the_apple_watch(tmp_path, language, rate):
    values = counts(1, 4)
    ecg_texts.write_apple(tmp_path / "ecg.csv", values, language, rate)
    recording = readers.read(tmp_path / "ecg.csv")
    assert (recording.rate, recording.leads) == (float(rate), ("I",))
    np.testing.assert_allclose(recording.signal, millivolts(values), atol=1e-6)
    assert recording.notes == ()
    assert recording.age == (61 if language == "en" else None)


@pytest.mark.parametrize("line", [part * 300_000 for part in ("(", " x", "1", "fs ", "a,", "'1,")])
def test_long_lines_take_no_time(tmp_path, line):
    path = write_table(tmp_path / "a.csv", [line, "time,I,II"], TABLES["comma, seconds"][1])
    start = time.perf_counter()
    assert readers.read(path).rate == 500
    alone = write_table(tmp_path / "b.csv", [line], lambda i, a, b: f"{a:.4f}")
    with pytest.raises(RecordError):
        readers.read(alone)
    assert time.perf_counter() - start < 2
