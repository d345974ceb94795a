import numpy as np
import pytest
import scipy.io
import wfdb

from lrhnet_jax.ecg import matlab, wfdb_formats
from lrhnet_jax.ecg.wfdb import RecordError, read_header, read_signal
from lrhnet_jax.errors import UserError
from tests.helpers.plain_record import write

RNG = np.random.default_rng(0)
NAMES = ("I", "II", "V1")


@pytest.mark.parametrize("samples", [998, 999, 1000])  # blocks of two and three samples end within, or not
@pytest.mark.parametrize("form", [8, 16, 24, 32, 61, 80, 160, 212, 310, 311])
def test_every_format_is_read_as_wfdb_reads_it(tmp_path, form, samples):
    data = bytearray(RNG.bytes(wfdb_formats.size(form, samples * len(NAMES))))
    data[3::4] = bytes(byte & 63 for byte in data[3::4]) if form == 311 else data[3::4]  # wfdb 4.3 reads an unused bit
    lines = [f"x.dat {form} 100000000/mV 16 0 3 0 0 {name}" for name in NAMES]
    if form != 32:
        lines = [line.replace("100000000", "10000") for line in lines]
    path = write(tmp_path, "x", lines, record=f"x 3 250 {samples}", data=bytes(data))
    theirs = wfdb.rdrecord(str(path.with_suffix(""))).p_signal
    usable = [name for name, lost in zip(NAMES, np.isnan(theirs).any(0), strict=True) if not lost]
    columns = [NAMES.index(name) for name in usable]
    for name in set(NAMES) - set(usable):
        with pytest.raises(RecordError, match="non-finite samples"):
            read_signal(read_header(path), (name,))
    if usable:
        np.testing.assert_allclose(read_signal(read_header(path), usable), theirs[:, columns], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("form", [508, 516, 524])
def test_compressed_formats(tmp_path, form):
    values = np.cumsum(RNG.integers(-2, 3, (2000, 3)), axis=0)
    values = np.clip(values, -100, 100)
    options = {"fmt": [str(form)] * 3, "adc_gain": [50.0] * 3, "baseline": [0] * 3, "write_dir": str(tmp_path)}
    wfdb.wrsamp("x", fs=250, units=["mV"] * 3, sig_name=list(NAMES), d_signal=values, **options)
    path = tmp_path / "x.hea"
    np.testing.assert_allclose(read_signal(read_header(path), NAMES), values / 50, rtol=1e-6)
    data = (tmp_path / "x.dat").read_bytes()
    for broken, reason in ((data[: len(data) // 2], "FLAC stream|ends"), (b"RIFF" + data[4:], "is not a FLAC stream")):
        (tmp_path / "x.dat").write_bytes(broken)
        with pytest.raises(RecordError, match=reason):
            read_signal(read_header(path), NAMES)


@pytest.mark.parametrize("form", [16, 24, 212, 310, 311, 8])
def test_sizes_are_those_of_wfdb(form):
    for samples in range(1, 40):
        assert wfdb_formats.size(form, samples) == wfdb.io._signal._required_byte_num("read", str(form), samples)
        assert wfdb_formats.capacity(form, wfdb_formats.size(form, samples)) >= samples


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_matrices_are_those_of_scipy(tmp_path, dtype, compressed):
    values = RNG.integers(0, 100, (3, 17)).astype(dtype)
    scipy.io.savemat(tmp_path / "x.mat", {"other": 1.0, "val": values}, do_compression=compressed)
    matrix = matlab.read_matrix((tmp_path / "x.mat").read_bytes())
    assert matrix.dtype == values.dtype
    np.testing.assert_array_equal(matrix.values, values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i4", "i2", "u2", "u1"])
def test_matrices_of_version_4(tmp_path, dtype, order):
    values = RNG.integers(0, 100, (3, 17)).astype(order + dtype)
    scipy.io.savemat(tmp_path / "x.mat", {"val": values, "other": values[:1]}, format="4")
    data = (tmp_path / "x.mat").read_bytes()
    if order == ">":  # SciPy writes this machine's order
        code = 1000 + 10 * ["f8", "f4", "i4", "i2", "u2", "u1"].index(dtype)
        head = np.array([code, 3, 17, 0, 4], ">i4").tobytes() + b"val\0"
        data = head + np.ascontiguousarray(values.T).tobytes()
    np.testing.assert_array_equal(matlab.read_matrix(data).values, values)


def test_a_matrix_that_declares_more_than_there_is(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"val": np.arange(12).reshape(3, 4)})
    data = (tmp_path / "x.mat").read_bytes()
    for at in range(0, len(data) - 4, 4):
        for size in (0x7FFFFFFF, 0xFFFFFFFF, 0x00010000):
            changed = data[:at] + size.to_bytes(4, "little") + data[at + 4 :]
            try:
                values = matlab.read_matrix(changed).values
            except UserError:
                continue
            assert values.size <= 12


def test_a_matrix_that_unpacks_to_gigabytes_is_refused(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"val": np.zeros((1, 2**27), np.int8)}, do_compression=True)
    data = (tmp_path / "x.mat").read_bytes()
    assert len(data) < 2**20
    with pytest.raises(UserError, match="unpacks to more than any recording"):
        matlab.read_matrix(data)
