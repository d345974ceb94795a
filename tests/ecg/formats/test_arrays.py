"""NumPy's and MATLAB's files."""

import struct
import zipfile

import numpy as np
import pytest
import scipy.io

from lrhnet_jax.ecg import readers
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.ecg.recording import RecordError
from tests.helpers.ecg_files import counts, millivolts

VALUES = counts(3)
EXPECTED = millivolts(VALUES)
THREE = LEADS[:3]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_npy_in_either_orientation(tmp_path, transposed, dtype):
    np.save(tmp_path / "a.npy", (EXPECTED.T if transposed else EXPECTED).astype(dtype))
    recording = readers.read(tmp_path / "a.npy", 500, THREE, "mV")
    assert (recording.rate, recording.leads, recording.signal.dtype) == (500, THREE, np.float32)
    np.testing.assert_allclose(recording.signal, EXPECTED, atol=1e-3 if dtype == np.float16 else 1e-6)


def test_integers_need_a_unit(tmp_path):
    np.save(tmp_path / "a.npy", VALUES * 5)
    np.testing.assert_allclose(readers.read(tmp_path / "a.npy", 500, THREE, "uV").signal, EXPECTED, atol=1e-6)
    with pytest.raises(RecordError, match="does not say in what unit its samples are"):
        readers.read(tmp_path / "a.npy", 500, THREE)


def test_npy_of_one_lead(tmp_path):
    np.save(tmp_path / "a.npy", EXPECTED[:, 0])
    recording = readers.read(tmp_path / "a.npy", 500, ["I"])
    np.testing.assert_allclose(recording.signal, EXPECTED[:, :1], atol=1e-6)
    assert recording.notes == ("the file names no unit; its samples are taken as mV",)


def test_npz_that_says_everything(tmp_path):
    np.savez(tmp_path / "a.npz", signal=EXPECTED * 1000, fs=500, leads=THREE, units="uV", age=61, sex="F")
    recording = readers.read(tmp_path / "a.npz", rate=100, leads=["X"], unit="V")  # the file's own count
    assert (recording.rate, recording.leads, recording.age, recording.sex) == (500, THREE, 61, "F")
    np.testing.assert_allclose(recording.signal, EXPECTED, atol=1e-5)


@pytest.mark.parametrize("claim", ["npy", "npz"])
def test_headers_that_claim_gigabytes(tmp_path, claim):
    np.save(tmp_path / "a.npy", EXPECTED)
    data = (tmp_path / "a.npy").read_bytes().replace(b"(1000, 3), }" + b" " * 8, b"(1000000000, 3), }  ")
    if claim == "npz":
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("signal.npy", data)
    else:
        (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(RecordError, match=r"truncated: .* claims 12000000000 bytes, and \d+ are there"):
        readers.read(tmp_path / f"a.{claim}", 500, THREE)


def test_archives_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("export.xml", "<HealthData/>")
    with pytest.raises(RecordError, match="is a ZIP archive without NumPy arrays; unpack it"):
        readers.read(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", labels=np.array([{"a": 1}], dtype=object))
    with pytest.raises(RecordError, match=r"is not a whole NumPy archive file .*allow_pickle"):
        readers.read(tmp_path / "b.npz", 500, THREE)
    np.savez_compressed(tmp_path / "c.npz", signal=np.zeros((10_000_000, 3), np.float32))
    with pytest.raises(RecordError, match=r"unpacks to 120,000,\d+ bytes or more, out of \d+,\d+, as no"):
        readers.read(tmp_path / "c.npz", 500, THREE)


@pytest.mark.parametrize("traits", [{"format": "4"}, {"format": "5"}, {"format": "5", "do_compression": True}])
def test_mat(tmp_path, traits):
    scipy.io.savemat(tmp_path / "a.mat", {"ecg": EXPECTED.T.astype(float), "fs": 500.0}, **traits)
    recording = readers.read(tmp_path / "a.mat", leads=THREE, unit="mV")
    assert recording.rate == 500
    np.testing.assert_allclose(recording.signal, EXPECTED, atol=1e-6)


def test_mat_of_a_struct(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"ECG": {"sex": "Male", "age": 61, "data": EXPECTED.T}})
    with pytest.raises(RecordError, match="has a struct, 'ECG', where a matrix"):
        readers.read(tmp_path / "a.mat", 500, THREE, "mV")


def test_mat_that_claims_gigabytes(tmp_path):
    (tmp_path / "a.mat").write_bytes(struct.pack("<5i", 0, 12, 100_000_000, 0, 4) + b"val\0" + bytes(1000))
    with pytest.raises(RecordError, match="declares 12 x 100000000 values, more than it holds"):
        readers.read(tmp_path / "a.mat", 500)
