"""Awkward records that people really have: each is read as the plain one, or refused with what to do about it."""

import struct

import numpy as np
import pytest
import scipy.io

from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.ecg.wfdb import RecordError, find_headers, read_header, read_recording, read_signal
from tests.helpers.plain_record import MILLIVOLTS, PERSON, PLAIN, signal_lines, write, write_plain

TWO = ("I", "II")


def read(path, leads=TWO, **options):
    return read_signal(read_header(path), leads, **options)


def same(path, **tolerance):
    np.testing.assert_allclose(read(path), MILLIVOLTS, **(tolerance or {"rtol": 1e-6}))


# What other storage formats mean by a number


def _bytes24(values):
    return b"".join(int(value).to_bytes(3, "little", signed=True) for value in values.ravel())


def test_samples_beyond_16_bits_are_samples(tmp_path):
    wide = PLAIN.astype(np.int64) * 500_000 - 500_000_000
    assert wide.min() < -(2**29) < -32768
    gain = "500000000(-500000000)/mV"
    lines = signal_lines("f32.dat", wide, storage="32", gain=gain)
    same(write(tmp_path, "f32", lines, data=wide.astype("<i4").tobytes()))
    wide = PLAIN.astype(np.int64) * 2000
    lines = signal_lines("f24.dat", wide, storage="24", gain="2000000/mV")
    same(write(tmp_path, "f24", lines, data=_bytes24(wide)))
    head = struct.pack("<5i", 20, 2, len(wide), 0, 4) + b"val\0"
    (tmp_path / "m32.mat").write_bytes(head + wide.astype("<i4").tobytes())
    same(write(tmp_path, "m32", signal_lines("m32.mat", wide, storage="32+24", gain="2000000/mV")))


@pytest.mark.parametrize(("dtype", "missing"), [("i2", -(2**15)), ("i4", -(2**31))])
@pytest.mark.parametrize("version", ["4", "5"])
def test_what_marks_a_missing_sample_depends_on_the_matrix(tmp_path, dtype, missing, version):
    values = PLAIN.astype(dtype)
    values[5, 1] = missing
    scipy.io.savemat(tmp_path / "x.mat", {"val": values.T}, format=version)
    lines = signal_lines("x.mat", values, storage="16+24" if dtype == "i2" else "32+24", sums=False)
    path = write(tmp_path, "x", lines)
    with pytest.raises(RecordError, match="1 non-finite samples"):
        read(path)
    np.testing.assert_array_equal(read(path, ("I",)), MILLIVOLTS[:, :1])
    assert np.argwhere(np.isnan(read_recording(path).signal)).tolist() == [[5, 1]]


def test_a_small_signal_on_a_large_offset(tmp_path):
    values = PLAIN.astype(np.int64) + 1_000_000_000
    lines = signal_lines("x.dat", values, storage="32", gain="1000(1000000000)/mV")
    path = write(tmp_path, "x", lines, data=values.astype("<i4").tobytes())
    np.testing.assert_array_equal(read(path), MILLIVOLTS)


# What is not asked for


def test_other_signals_may_share_a_name_or_have_none_or_another_unit(tmp_path):
    values = np.concatenate([PLAIN, np.ones((5000, 4), np.int16)], axis=1)
    lines = signal_lines("x.dat", values, (*TWO, "Ectopic Status", "Ectopic Status", "", "BP"))
    lines[-1] = lines[-1].replace("1000/mV", "-3/mmHg")
    lines[2] = "x.dat 16 1000/mV what is this 0 0 I am not"
    path = write(tmp_path, "x", lines, data=values.astype("<i2").tobytes())
    same(path)
    with pytest.raises(RecordError, match="unit 'mmHg' is no voltage"):
        read(path, ("BP",))
    assert read_recording(path).leads == (*TWO, "Ectopic Status", "")


def test_a_lead_that_was_off_matters_to_those_who_read_it(tmp_path):
    values = np.tile(PLAIN, 6)
    values[:, 11] = -32768
    path = write(tmp_path, "x", signal_lines("x.dat", values, LEADS), data=values.astype("<i2").tobytes())
    same(path)
    with pytest.raises(RecordError, match="5000 non-finite samples"):
        read(path, LEADS)
    recording = read_recording(path, LEADS)
    assert np.isnan(recording.signal).sum(0).tolist() == [0] * 11 + [5000]
    assert recording.notes == ("5000 missing samples in lead V6",)


def test_files_of_other_signals_need_not_be_there(tmp_path):
    lines = [*signal_lines("x.dat", PLAIN), "gone.dat 212 200 11 0 0 0 0 V1"]
    path = write(tmp_path, "x", lines, data=PLAIN.astype("<i2").tobytes())
    same(path)
    with pytest.raises(RecordError, match=r"signal file gone\.dat: No such file"):
        read(path, ("V1",))


# Lead names


@pytest.mark.parametrize("names", [("DI", "DII"), ("ECG I", "ECG II"), ("Lead I", "Lead II"), ("i", "ii")])
def test_leads_under_other_names(tmp_path, names):
    same(write_plain(tmp_path, names=names))


def test_names_that_are_not_for_certain_need_the_users_word(tmp_path):
    path = write_plain(tmp_path, names=("MLI", "MLII"))
    with pytest.raises(RecordError, match=r"lacks lead I, II \(it has MLI, MLII\).*--rename_leads=MLI=I"):
        read(path)
    np.testing.assert_array_equal(read(path, rename={"MLI": "I", "MLII": "II"}), MILLIVOLTS)


def test_limb_leads_of_eight_stored_ones(tmp_path):
    one, two = PLAIN[:, 0] // 2 * 2, PLAIN[:, 1] // 2 * 2
    chest = np.tile(PLAIN, 3)
    limbs = np.stack([one, two, two - one, -(one + two) // 2, one - two // 2, two - one // 2], 1)
    twelve, eight = np.concatenate([limbs, chest], 1), np.concatenate([limbs[:, :2], chest], 1)
    names = (*TWO, *LEADS[6:])
    path = write(tmp_path, "8", signal_lines("8.dat", eight, names), data=eight.astype("<i2").tobytes())
    np.testing.assert_allclose(read(path, LEADS), twelve / 1000, atol=1e-6)
    assert read_recording(path, LEADS).notes[0] == "lead III derived from leads I and II"


# The record line


@pytest.mark.parametrize(("line", "rate"), [("x 2 500", 500), ("x 2 500 0", 500), ("x 2", 250), ("x 2 500/2(5)", 500)])
def test_a_record_line_that_ends_early(tmp_path, line, rate):
    lines = signal_lines("x.dat", PLAIN, sums=False)
    path = write(tmp_path, "x", lines, record=line, data=PLAIN.astype("<i2").tobytes())
    header = read_header(path)
    assert (header.rate, header.samples) == (rate, 5000)
    np.testing.assert_array_equal(read_signal(header, TWO), MILLIVOLTS)


# Text


@pytest.mark.parametrize("unit", ["\N{MICRO SIGN}V", "\N{GREEK SMALL LETTER MU}V", "\udcb5V", "uV", "UV"])
def test_microvolts_in_every_spelling(tmp_path, unit):
    same(write_plain(tmp_path, gain=f"1/{unit}"))


@pytest.mark.parametrize("character", "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\r")
def test_only_lf_ends_a_line(tmp_path, character):
    path = write_plain(tmp_path, comments=(*PERSON, f"# Report: sinus rhythm{character}no acute change"))
    same(path)
    assert read_header(path).codes == ("426783006",)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_and_cr_lf(tmp_path, encoding):
    path = write_plain(tmp_path, end="\r\n")
    path.write_text(path.read_bytes().decode(), encoding=encoding, newline="")
    same(path)
    assert read_header(path).age == 61


@pytest.mark.parametrize(
    ("comments", "age", "codes"),
    [
        (("# Age: 89+", "#Dx: 426783006"), 90, ("426783006",)),
        (("# Age: >89", "#Dx: 426783006;164889003"), 90, ("426783006", "164889003")),
        (("#Age: 61 years", "#Dx: 426783006; 164889003"), 61, ("426783006", "164889003")),
        (("#age : 061Y", "#Dx: 426783006 164889003"), 61, ("426783006", "164889003")),
        (("#Age: -1", "#Dx: 426783006", "#Dx: 164889003"), None, ("426783006", "164889003")),
        (("#Age: NaN", "#Dx:"), None, ()),
    ],
)
def test_values_of_comments(tmp_path, comments, age, codes):
    header = read_header(write_plain(tmp_path, comments=comments))
    assert (header.age, header.codes) == (age, codes)


# Frames and segments


@pytest.mark.parametrize("resp", [True, False])
@pytest.mark.parametrize("sums", [True, False])
def test_several_samples_a_frame_are_read_at_their_rate(tmp_path, resp, sums):
    other = np.arange(1250).reshape(-1, 1)
    frames = np.concatenate([PLAIN[:, 0].reshape(-1, 4), PLAIN[:, 1].reshape(-1, 4), *([other] if resp else [])], 1)
    lines = signal_lines("x.dat", PLAIN, storage="16x4", sums=sums)
    lines += signal_lines("x.dat", other, ("RESP",), sums=sums) if resp else []
    path = write(tmp_path, "x", lines, record=f"x {len(lines)} 125 1250", data=frames.astype("<i2").tobytes())
    header = read_header(path)
    assert (header.rate, header.samples) == (500, 5000)
    np.testing.assert_array_equal(read_signal(header, TWO), MILLIVOLTS)
    if resp:
        with pytest.raises(RecordError, match="leads of several rates are not read together"):
            read_signal(header, ("I", "RESP"))


def test_rates_of_frames_that_were_rounded(tmp_path):
    frames = np.concatenate([PLAIN[:4864, i].reshape(-1, 256) for i in range(2)], 1)
    lines = signal_lines("x.dat", PLAIN, storage="16x256", sums=False)
    header = read_header(write(tmp_path, "x", lines, record="x 2 0.976562 19", data=frames.astype("<i2").tobytes()))
    assert (header.rate, header.samples) == (250, 4864)
    np.testing.assert_array_equal(read_signal(header, TWO), MILLIVOLTS[:4864])


def _segments(folder, gap, layout=True):
    for i, part in enumerate(np.split(PLAIN, 2)):
        lines = signal_lines(f"x_{i}.dat", part)
        write(folder, f"x_{i}", lines, record=f"x_{i} 2 500 2500", data=part.astype("<i2").tobytes(), comments=())
    parts = ["x_layout 0", "x_0 2500", *([f"~ {gap}"] if gap else []), "x_1 2500"][0 if layout else 1 :]
    write(
        folder, "x_layout", [f"~ 0 1000/mV 16 0 0 0 0 {name}" for name in TWO], record="x_layout 2 500 0", comments=()
    )
    if not layout:
        (folder / "x_layout.hea").unlink()
    return write(folder, "x", parts, record=f"x/{len(parts)} 2 500 {5000 + gap}")


@pytest.mark.parametrize("layout", [True, False])
def test_a_record_in_segments_is_one_record(tmp_path, layout):
    path = _segments(tmp_path, 0, layout)
    assert find_headers(tmp_path) == [path]
    header = read_header(path)
    assert (header.samples, header.leads, header.age, header.codes) == (5000, TWO, 61, ("426783006",))
    np.testing.assert_array_equal(read_signal(header, TWO), MILLIVOLTS)


def test_gaps_between_segments_are_marked(tmp_path):
    path = _segments(tmp_path, 100)
    recording = read_recording(path)
    expected = np.insert(MILLIVOLTS, [2500] * 100, np.nan, axis=0)
    np.testing.assert_array_equal(recording.signal, expected)
    assert recording.notes == ("100 missing samples in lead I", "100 missing samples in lead II")
    with pytest.raises(RecordError, match="200 non-finite samples"):
        read(path)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("x/4", "x/3", "announces 5100 samples, its segments 2600"),
        ("x_1 2500", "x_1 2400", "announces 5100 samples, its segments 5000"),
        ("x_0 2500", "../x_0 2500", "names the file"),
        ("~ 100", "~ 999999999999", "announces 5100 samples"),
        ("5100", "0", None),
    ],
)
def test_segments_that_do_not_fit(tmp_path, old, new, reason):
    path = _segments(tmp_path, 100)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RecordError, match=reason or "200 non-finite samples"):
        read(path)


def test_a_gap_of_years_is_refused_before_memory_is_taken_for_it(tmp_path):
    path = _segments(tmp_path, 100)
    path.write_text(path.read_text().replace("~ 100", f"~ {10**12}").replace("5100", "0"))
    with pytest.raises(RecordError, match=r"claims .* values, which 20,000 bytes of signal files do not hold"):
        read(path)


# Files that are something else


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            {"ECG": {"data": PLAIN.T}},
            "it has a struct, 'ECG', where a matrix .* in MATLAB, save the matrix alone",
        ),
        ({"val": np.array([PLAIN, "x"], dtype=object)}, "it has a cell array"),
        ({"val": PLAIN.T * 1j}, "it has complex numbers"),
        ({"val": "text"}, "it has text"),
        ({"val": PLAIN.T[None]}, "it has an array of 3 dimensions"),
        ({"val": PLAIN.T + 0.5}, "samples are no whole ADC units"),
        ({"a": 1.0, "b": 2.0}, r"it has 2 variables \('a', 'b'\), and not the one 'val'"),
        ({}, "it has 0 variables"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64", r"it is of MATLAB 7\.3 \(HDF5\), .* save it with"),
        (b"", "it is empty"),
        (b"GIF89a" * 99, "it is not a MATLAB file"),
    ],
)
def test_matlab_files_that_are_something_else_say_what_they_are(tmp_path, content, reason):
    if isinstance(content, bytes):
        (tmp_path / "x.mat").write_bytes(content)
    else:
        scipy.io.savemat(tmp_path / "x.mat", content)
    path = write(tmp_path, "x", signal_lines("x.mat", PLAIN, storage="16+24"))
    with pytest.raises(RecordError, match=rf"unreadable signal file x\.mat: {reason}|{reason}"):
        read(path)


@pytest.mark.parametrize("version", ["4", "5"])
@pytest.mark.parametrize("dtype", ["i2", "i4", "f4", "f8"])
def test_matrices_of_every_type_are_read(tmp_path, version, dtype):
    scipy.io.savemat(tmp_path / "x.mat", {"val": PLAIN.T.astype(dtype)}, format=version, do_compression=version == "5")
    same(write(tmp_path, "x", signal_lines("x.mat", PLAIN, storage="16+24")))
