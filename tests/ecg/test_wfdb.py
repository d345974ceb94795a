import pickle

import numpy as np
import pytest
import scipy.io
import wfdb

from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.ecg.wfdb import Header, RecordError, find_headers, read_header, read_signal
from tests.helpers.wfdb_files import NSR, comments, write_record

RNG = np.random.default_rng(0)
VALUES = RNG.integers(-2000, 2000, (1000, 12)).astype(np.int16)


def test_header_says_what_the_file_says(tmp_path):
    lines = comments("59118001", NSR, "55827005", age=300, sex="Male")
    path = write_record(tmp_path / "training/ptb-xl/g3", "HR00017", VALUES, comments=lines)
    header = read_header(path)
    assert header == Header(path, "HR00017", "ptb-xl", LEADS, 500.0, 1000, 300.0, "Male", ("59118001", NSR, "55827005"))


@pytest.mark.parametrize(
    ("lines", "age", "sex", "codes"),
    [
        (("#Age: NaN", "#Sex: Unknown", "#Dx: "), None, "Unknown", ()),
        (("# Age: 89", "# Sex: Female", "# Dx: 1, 2"), 89.0, "Female", ("1", "2")),
        (("#Age: sixty", "#Dx:"), None, None, ()),
        ((), None, None, ()),
    ],
)
def test_quirks_of_comments(tmp_path, lines, age, sex, codes):
    header = read_header(write_record(tmp_path, "A0001", VALUES, comments=lines))
    assert (header.age, header.sex, header.codes, header.source) == (age, sex, codes, "")


def test_patient_of_a_header(tmp_path):
    assert read_header(write_record(tmp_path, "A1", VALUES, comments=("#Patient: 12",))).patient == "12"


def test_find_headers_is_sorted_and_deep(tmp_path):
    paths = [write_record(tmp_path / folder, name, VALUES) for folder, name in (("b/c", "X"), ("a", "Z"), ("a", "Y"))]
    assert find_headers(tmp_path) == [paths[2], paths[1], paths[0]]


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        ("1000/mV", VALUES / 1000),
        ("1000.0(0)/mv", VALUES / 1000),
        ("4880(-100)/mV", (VALUES + 100.0) / 4880),
        ("2/uV", VALUES / 2000),
        ("0", VALUES / 200),
    ],
)
def test_gain_baseline_and_unit(tmp_path, gain, expected):
    header = read_header(write_record(tmp_path, "A0001", VALUES, gain=gain))
    signal = read_signal(header)
    assert signal.dtype == np.float32
    np.testing.assert_allclose(signal, expected, rtol=1e-6)


def test_leads_are_picked_by_name(tmp_path):
    names = ("V2", "II", "avr", "I", "vx")
    header = read_header(write_record(tmp_path, "A0001", VALUES[:, :5], leads=names))
    signal = read_signal(header, ("I", "aVR", "V2"))
    np.testing.assert_allclose(signal, VALUES[:, [3, 2, 0]] / 1000, rtol=1e-6)


def test_same_as_wfdb(tmp_path):
    header = read_header(write_record(tmp_path, "A0001", VALUES, gain="950(-12)/mV"))
    np.testing.assert_allclose(read_signal(header), wfdb.rdrecord(str(tmp_path / "A0001")).p_signal, rtol=1e-5)


@pytest.mark.parametrize("storage", ["16", "212"])
def test_other_formats_of_wfdb(tmp_path, storage):
    wfdb.wrsamp(
        "A0001",
        fs=360,
        units=["mV"] * 12,
        sig_name=list(LEADS),
        d_signal=VALUES.astype(np.int64),
        fmt=[storage] * 12,
        adc_gain=[500.0] * 12,
        baseline=[10] * 12,
        write_dir=str(tmp_path),
    )
    signal = read_signal(read_header(tmp_path / "A0001.hea"))
    np.testing.assert_allclose(signal, (VALUES - 10.0) / 500, rtol=1e-5)
    stored = bytearray((tmp_path / "A0001.dat").read_bytes())
    stored[40] ^= 1
    (tmp_path / "A0001.dat").write_bytes(bytes(stored))
    with pytest.raises(RecordError, match="checksum mismatch"):
        read_signal(read_header(tmp_path / "A0001.hea"))


def test_checksums_of_zero_mean_that_there_are_none(tmp_path):
    header = read_header(write_record(tmp_path, "A0001", VALUES, checksums=[0] * 12))
    assert read_signal(header).shape == (1000, 12)


def _broken(tmp_path, kind):
    checksums = VALUES.sum(0, dtype=np.int64).astype(np.int16)
    values = VALUES.copy()
    if kind == "checksum":
        checksums[4] += 1
    if kind == "one checksum is zero":
        checksums[4] = 0
    if kind == "missing sample":
        values[7, 3], checksums = -32768, None
    announced = {"short": (12, 1200), "long": (12, 900), "leads": (11, 1000)}.get(kind)
    leads = {"other lead": (*LEADS[:11], "V7"), "twice": (*LEADS[:11], "V5")}.get(kind, LEADS)
    rate = {"brief": "2000", "rate": "0"}.get(kind, "500")
    gain = {"unit": "1000/mmHg", "gain": "-3/mV", "gain text": "gain/mV"}.get(kind, "1000/mV")
    path = write_record(
        tmp_path, "A0001", values, announced=announced, checksums=checksums, leads=leads, rate=rate, gain=gain
    )
    matrix = path.with_suffix(".mat")
    if kind == "no signal file":
        matrix.unlink()
    if kind == "cut":
        matrix.write_bytes(matrix.read_bytes()[:-10])
    if kind == "empty signal file":
        matrix.write_bytes(b"")
    if kind == "not a number":
        spoilt = values.astype(float)
        spoilt[3, 3] = np.nan
        scipy.io.savemat(matrix, {"val": spoilt.T}, format="4")
    if kind == "matrix of fewer leads":
        scipy.io.savemat(matrix, {"val": values[:, :11].T}, format="5")
    if kind == "empty header":
        path.write_text("")
    if kind == "binary header":
        path.write_bytes(bytes(range(256)))
    if kind == "segments":
        path.write_text(path.read_text().replace("A0001 12", "A0001/3 12"))
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("checksum", "checksum mismatch in lead aVL"),
        ("one checksum is zero", "checksum mismatch in lead aVL"),
        ("missing sample", "1 non-finite samples"),
        ("not a number", "1 non-finite samples"),
        ("short", "short signal: 1000 of 1200 samples"),
        ("long", "1000 samples in the signal file, 900 in the header"),
        ("cut", "short signal: 999 of 1000 samples"),
        ("empty signal file", "unreadable signal file A0001.mat"),
        ("brief", "short signal: 1000 samples at 2000 Hz"),
        ("leads", "wrong lead count: 11 announced, 12 described"),
        ("matrix of fewer leads", "wrong lead count: 11 in the signal file, 12 in the header"),
        ("other lead", "lacks lead V6"),
        ("twice", "lacks lead V6"),
        ("no signal file", "signal file A0001.mat: No such file"),
        ("rate", "unreadable header"),
        ("empty header", "unreadable header"),
        ("binary header", "unreadable header"),
        ("segments", "several segments"),
        ("unit", "unit 'mmHg' is no voltage"),
        ("gain", "gain -3 makes no sense"),
        ("gain text", "unreadable header .signal line"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(tmp_path, kind, reason):
    path = _broken(tmp_path, kind)
    with pytest.raises(RecordError, match=reason) as error:
        read_signal(read_header(path))
    assert error.value.path == str(path)
    assert str(error.value) == f"{path}: {error.value.reason}"


def test_repeated_lead_is_refused(tmp_path):
    path = write_record(tmp_path, "A0001", VALUES[:, :3], leads=("I", "II", "II"))
    with pytest.raises(RecordError, match="names a lead twice"):
        read_signal(read_header(path), ("I", "II"))


def test_missing_header(tmp_path):
    with pytest.raises(RecordError, match=r"unreadable header .No such file"):
        read_header(tmp_path / "A0001.hea")


def test_errors_survive_pickling(tmp_path):
    error = pickle.loads(pickle.dumps(RecordError(tmp_path / "A.hea", "because")))
    assert (error.path, error.reason) == (str(tmp_path / "A.hea"), "because")


def test_real_records_are_read_as_wfdb_reads_them(real_records):
    paths = find_headers(real_records / "challenge-2020") + find_headers(real_records / "challenge-2021")
    by_source = {}
    for path in paths:
        by_source.setdefault(read_header(path).source, []).append(path)
    assert len(by_source) >= 5
    for found in by_source.values():
        for path in found[:: max(len(found) // 4, 1)]:
            header = read_header(path)
            expected = wfdb.rdrecord(str(path.with_suffix("")))
            assert (header.rate, header.samples, header.leads) == (
                expected.fs,
                expected.sig_len,
                tuple(expected.sig_name),
            )
            np.testing.assert_allclose(read_signal(header), expected.p_signal, rtol=1e-5, atol=1e-6)


def test_all_real_samples_are_usable(real_records):
    paths = [p for p in find_headers(real_records) if "training2017" not in str(p) and "ptb-xl" not in str(p)]
    assert paths
    for path in paths:
        header = read_header(path)
        assert read_signal(header).shape == (header.samples, 12)
