"""The specification of WFDB headers, clause by clause, and against wfdb on headers that both must accept."""

import pathlib

import hypothesis
import numpy as np
import pytest
import wfdb
from hypothesis import strategies as st

from lrhnet_jax.ecg import wfdb_header
from lrhnet_jax.ecg.wfdb import RecordError, read_header, read_signal
from lrhnet_jax.errors import UserError
from tests.helpers.plain_record import MILLIVOLTS, PLAIN, write, write_plain

DATA = PLAIN.astype("<i2").tobytes()


def parse(*lines):
    return wfdb_header.parse(pathlib.Path("x.hea"), "\n".join(lines).encode())


def signal(line):
    return parse("x 1 500 5000", line).signals[0]


@pytest.mark.parametrize(
    ("line", "rate"),
    [
        *(("x 1", 250), ("x 1 360", 360), ("x 1 360.", 360), ("x 1 360.0", 360), ("x 1 3.6e2", 360)),
        *(("x\t1 \t 360", 360), ("x 1 360/720", 360), ("x 1 360/720(-5.5)", 360), ("n_1-2.x 1 360 0", 360)),
        *(("x 1 360 5000 13:05:00 25/4/1989", 360), ("x 1 360 5000 04-Jun-2020 15:11:55", 360)),
    ],
)
def test_record_lines(line, rate):
    assert parse("#comment", "", line, "x.dat 16").rate == rate


@pytest.mark.parametrize(
    "line",
    [
        "x",
        "x 0",
        "x -1",
        "x one",
        "x 1 0x10",
        "x 1 inf",
        "x 1 500 -1",
        "x 1 500 5_000",
        "x 1 \u0665\u0660\u0660",
        "x \uff11",
    ],
)
def test_record_lines_that_make_no_sense(line):
    with pytest.raises(UserError, match="unreadable header"):
        parse(line, "x.dat 16")


@pytest.mark.parametrize("rate", ["0", "0.001", "1e-300", "19", "20001", "1e308", "1e999"])
def test_rates_that_no_ecg_has(tmp_path, rate):
    with pytest.raises(RecordError, match=r"unreadable header .rate"):
        read_header(write_plain(tmp_path, record=f"x 2 {rate} 5000"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("x.dat 16", (200, 0, 0, None, "")),
        ("x.dat 16 0", (200, 0, 0, None, "")),
        ("x.dat 16 100.5", (100.5, 0, 0, None, "")),
        ("x.dat 16 1e2(-7)/uV", (1e5, -7, 0, None, "")),
        ("x.dat 16 100/mV 12", (100, 0, 0, None, "")),
        ("x.dat 16 100/mV 12 1024", (100, 1024, 1024, None, "")),
        ("x.dat 16 100(5)/mV 12 1024 995", (100, 5, 995, None, "")),
        ("x.dat 16 100/mV 12 1024 995 -22131", (100, 1024, 995, -22131, "")),
        ("x.dat 16 100/mV 12 1024 995 -22131 0", (100, 1024, 995, -22131, "")),
        ("x.dat\t16\t100/mV 12 1024 995 -22131 -512  ECG signal  0 ", (100, 1024, 995, -22131, "ECG signal  0")),
        ("x.dat 16 1/nV 16 0 0 0 0 I", (1e6, 0, 0, 0, "I")),
        ("x.dat 16 1/V 16 0 0 0 0 I", (1e-3, 0, 0, 0, "I")),
    ],
)
def test_signal_lines_may_end_early(line, expected):
    spec = signal(line)
    assert spec.problem == ""
    assert (pytest.approx(spec.gain), spec.baseline, spec.initial, spec.checksum, spec.lead) == expected


def test_modifiers_of_the_storage_format():
    assert signal("x.dat 212x4:3+100 1000")[:5] == ("x.dat", 212, 4, 3, 100)
    assert signal("x.dat 16+24")[:5] == ("x.dat", 16, 1, 0, 24)


@pytest.mark.parametrize("storage", ["", "sixteen", "16y", "\uff11\uff16", "16x", "-16", "9" * 30])
def test_storage_that_makes_no_sense(storage):
    with pytest.raises(UserError, match=r"unreadable header .(signal line|number)"):
        signal(f"x.dat {storage}")


@pytest.mark.parametrize(
    ("gain", "problem"),
    [
        ("-5/mV", "gain -5 makes no sense"),
        ("1e999/mV", "gain 1e999 makes no sense"),
        ("1e12/mV", "gain 1e12 makes no sense: all that 16 bits can hold is 7e-08 mV"),
        ("\u0661\u0662/mV", "unreadable header"),
        ("1000/\uff4dV", "unit"),
        ("nan/mV", "unreadable header"),
        ("1_000/mV", "unreadable header"),
        (f"1000({'9' * 30})/mV", "unreadable header"),
    ],
)
def test_gains_that_make_no_sense(tmp_path, gain, problem):
    path = write_plain(tmp_path, gain=gain)
    with pytest.raises(RecordError, match=problem):
        read_signal(read_header(path), ("I",))


@pytest.mark.parametrize(
    ("gain", "problem"),
    [
        ("0.001/mV", "lead I reaches .* mV: its gain or its baseline makes no sense"),
        ("1e-300/mV", "lead I reaches inf mV"),
        ("1000(2000000)/mV", "lead I reaches .* mV"),
        ("60000000(-50000000000)/mV", r"lead I is lost in its offset of 83\d\.\d+ mV"),
    ],
)
def test_values_that_no_body_has(tmp_path, gain, problem):
    with pytest.raises(RecordError, match=problem):
        read_signal(read_header(write_plain(tmp_path, gain=gain)), ("I",))


def test_extra_lines_are_disregarded_where_the_file_fits(tmp_path):
    lines = [f"x.dat 16 1000/mV 16 0 0 0 0 {name}" for name in ("I", "II", "V1")]
    path = write(tmp_path, "x", lines, record="x 2 500 5000", data=DATA)
    np.testing.assert_array_equal(read_signal(read_header(path), ("I", "II")), MILLIVOLTS)
    (tmp_path / "x.dat").write_bytes(DATA * 2)
    with pytest.raises(RecordError, match="wrong lead count: 2 announced, 3 described"):
        read_signal(read_header(path), ("I", "II"))


def test_skewed_signals_are_moved(tmp_path):
    lines = ["x.dat 16 1000/mV 16 0 0 0 0 I", "x.dat 16:7 1000/mV 16 0 0 0 0 II"]
    header = read_header(write(tmp_path, "x", lines, data=DATA))
    assert header.samples == 4993
    expected = np.stack([MILLIVOLTS[:4993, 0], MILLIVOLTS[7:, 1]], axis=1)
    np.testing.assert_array_equal(read_signal(header, ("I", "II")), expected)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["x.dat 16", "y.dat 16", "x.dat 16"], "do not follow one another"),
        (["x.dat 16", "x.dat 212", "y.dat 16"], "several formats or offsets"),
        (["x.dat 16", "x.dat 16+4", "y.dat 16"], "several formats or offsets"),
        (["x.dat 99", "y.dat 16", "z.dat 16"], "no storage format 99"),
    ],
)
def test_files_that_the_header_contradicts(tmp_path, lines, reason):
    names = ("I", "II", "V1")
    lines = [f"{line} 1000/mV 16 0 0 0 0 {name}" for line, name in zip(lines, names, strict=True)]
    path = write(tmp_path, "x", lines, data=DATA * 2)
    with pytest.raises(RecordError, match=reason):
        read_signal(read_header(path), ("I",))


def test_checksums_count_only_with_a_length(tmp_path):
    path = write_plain(tmp_path, record="plain 2 500")
    text = path.read_text().replace("16 0", "16 0", 1)
    lines = [line.replace(" 0 I", " 0 I") for line in text.split("\n")]
    lines[1] = "plain.dat 16 1000/mV 16 0 0 77 0 I"
    path.write_text("\n".join(lines))
    np.testing.assert_array_equal(read_signal(read_header(path), ("I", "II")), MILLIVOLTS)
    path.write_text("\n".join(["plain 2 500 5000", *lines[1:]]))
    with pytest.raises(RecordError, match="checksum mismatch in lead I"):
        read_signal(read_header(path), ("I", "II"))


number = st.integers(0, 30000).map(str)
real = st.one_of(
    st.integers(1, 60_000).map(str),
    st.floats(0.01, 6e4).map(lambda x: f"{x:.4f}"),
    st.floats(1, 6e4).map(lambda x: f"{x:.3e}"),
)
blank = st.sampled_from([" ", "\t", "  ", " \t "])
name = st.text("abcXYZ019 -", min_size=1, max_size=12).map(str.strip).filter(bool)


@st.composite
def signal_line(draw):
    """A signal line as the specification allows it: each field only if those before it are there."""
    modifiers = draw(st.sampled_from(["", "x1", ":0", "+0", "x1:0", "x1:0+0", "+12"]))
    gain = draw(real) + draw(st.one_of(st.just(""), st.integers(-999, 999).map("({})".format)))
    gain += draw(st.sampled_from(["", "/mV", "/uV", "/V"]))
    fields = [gain, draw(number), *(str(draw(st.integers(-30000, 30000))) for _ in range(3)), draw(number), draw(name)]
    fields = fields[: draw(st.integers(0, len(fields)))]
    return "".join(field + draw(blank) for field in ["x.dat", f"16{modifiers}", *fields]).rstrip()


@st.composite
def header_text(draw):
    count = draw(st.integers(1, 3))
    record = ["x", str(count), draw(st.floats(20, 20_000).map(lambda x: f"{x:.3f}"))]
    record[2] += draw(st.sampled_from(["", "/250", "/250.5(3)"]))
    record += [draw(number), *draw(st.sampled_from([(), ("13:05:00",), ("1:2:3.5", "25/04/1989")]))]
    record = record[: draw(st.integers(2, len(record)))]
    lines = [draw(blank).join(record), *(draw(signal_line()) for _ in range(count))]
    noise = st.lists(st.sampled_from(["", "# comment", "#Age: 61", "  # a: b"]), max_size=2)
    spread = [part for line in lines for part in [*draw(noise), line]]
    return draw(st.sampled_from(["\n", "\r\n"])).join([*spread, *draw(noise), ""])


@hypothesis.settings(max_examples=60, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@hypothesis.given(text=header_text())
def test_headers_mean_what_they_mean_to_wfdb(text, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    (folder / "x.hea").write_bytes(text.encode())
    theirs = wfdb.rdheader(str(folder / "x"))
    ours = wfdb_header.parse(folder / "x.hea", text.encode())
    assert (len(ours.signals), ours.frames) == (theirs.n_sig, theirs.sig_len or 0)
    assert ours.rate == pytest.approx(theirs.fs, rel=2e-6)
    for i, spec in enumerate(ours.signals):
        assert spec.problem == ""
        millivolts = wfdb_header.MILLIVOLTS[(theirs.units[i] or "mV").casefold()]
        assert spec.gain == pytest.approx((theirs.adc_gain[i] or 200.0) / millivolts, rel=1e-12)
        assert spec.baseline == (theirs.baseline[i] or 0)
        assert (spec.offset, spec.checksum) == (theirs.byte_offset[i] or 0, theirs.checksum[i])
        assert (spec.per_frame, spec.skew) == (theirs.samps_per_frame[i] or 1, theirs.skew[i] or 0)
        assert spec.lead == (theirs.sig_name[i] or "")
