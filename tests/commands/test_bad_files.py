"""Bad input of every kind gets one line that names the file and the remedy, and stops no other file."""

import pathlib
import re
import shutil

import numpy as np
import pytest

from lrhnet_jax import predict
from lrhnet_jax.ecg.leads import LEADS
from tests.helpers import ecg_files, fakes

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
HUGE = 2_500_000_000  # samples of two leads in 16 bits: 10 GB


def truncated(folder):
    (folder / "truncated.edf").write_bytes((EXAMPLES / "HR09289.edf").read_bytes()[:60_000])


def truncated_wfdb(folder):
    shutil.copy(EXAMPLES / "HR00001.hea", folder / "truncated.hea")
    text = (folder / "truncated.hea").read_text().replace("HR00001", "truncated")
    (folder / "truncated.hea").write_text(text)
    (folder / "truncated.mat").write_bytes((EXAMPLES / "HR00001.mat").read_bytes()[:60_000])


def empty(folder):
    (folder / "empty.dcm").touch()


def encrypted(folder):
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.dcmread(EXAMPLES / "HR10862.dcm")
    del dataset.WaveformSequence
    dataset.EncryptedAttributesSequence = []
    dataset.save_as(folder / "encrypted.dcm")


def no_leads(folder):
    pytest.importorskip("pyedflib")
    ecg_files.write_edf(folder / "sleep.edf", ecg_files.counts(2), ("Resp chest", "SpO2"))
    data = (folder / "sleep.edf").read_bytes()
    (folder / "sleep.edf").write_bytes(data.replace(b"uV      ", b"%       "))


def two_samples(folder):
    (folder / "two.csv").write_text("time (s),I (mV),II (mV)\n0.000,0.1,0.2\n0.002,0.2,0.3\n")


def missing(folder):
    np.savez(folder / "missing.npz", signal=np.full((5000, 12), np.nan, np.float32), fs=500, leads=LEADS, unit="mV")


def partly_missing(folder):
    signal = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
    signal[100, 0] = np.nan
    np.savez(folder / "partly.npz", signal=signal, fs=500, leads=["I", "II"], unit="mV")


def claims_gigabytes(folder):
    lines = [f"claims.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in ("I", "II")]
    (folder / "claims.hea").write_text("\n".join([f"claims 2 500 {HUGE}", *lines]) + "\n")
    (folder / "claims.dat").write_bytes(bytes(40_000))


def claims_gigabytes_in_edf(folder):
    data = bytearray((EXAMPLES / "HR09289.edf").read_bytes())
    data[236:244] = b"10000000"
    (folder / "claims.edf").write_bytes(data)


KINDS = {
    truncated: r"truncated\.edf: truncated: its EDF header claims .* export it again",
    truncated_wfdb: r"truncated\.hea: short signal: 2499 of 5000 samples in truncated\.mat; copy it again",
    empty: r"empty\.dcm: is empty \(0 bytes\); export it again",
    encrypted: r"encrypted\.dcm: is encrypted .*; decrypt it",
    no_leads: r"sleep\.edf: holds no ECG leads, that is no voltages; it has Resp chest",
    two_samples: r"two\.csv: holds no table of numbers; a row a sample, and a column a lead, are expected",
    missing: r"/missing\.npz: .*every one is missing \(NaN\); export it again",
    partly_missing: r"partly\.npz: .*1 of lead I.*; choose a model without that lead",
    claims_gigabytes: r"claims\.hea: short signal: 10000 of 2500000000 samples in claims\.dat; copy it again",
    claims_gigabytes_in_edf: r"claims\.edf: truncated: its EDF header claims .* are there; export it again",
}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return fakes.network(tmp_path_factory.mktemp("networks") / "x", "physionet2020", ("I", "II"), 512, "lrhnet_wide")


def test_each_kind_is_one_line_with_the_file_and_the_remedy(network, tmp_path, capsys):
    folder = tmp_path / "bad"
    folder.mkdir()
    for kind in KINDS:
        kind(folder)
    shutil.copy(EXAMPLES / "HR09289.edf", folder / "wrong.csv")  # its content tells: it is answered
    assert predict.main([str(folder), f"--model={network}", f"--output={tmp_path / 'out'}", "--no_pages"]) == 1
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    for kind, message in KINDS.items():
        (line,) = [text for text in lines if re.search(message, text)]
        assert str(folder) in line and len(line) < 500, kind
        lines.remove(line)
    assert not lines
    assert f"1 of {len(KINDS) + 1} recordings answered" in printed.out and "wrong.csv" in printed.out
