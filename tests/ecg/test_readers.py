"""What is common to all formats: detection, refusals, notes, and that damage does no harm."""

import os
import pathlib
import resource
import struct
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import scipy.io

from lrhnet_jax.ecg import readers
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.ecg.recording import RecordError
from tests.helpers import ecg_files, ecg_texts, wfdb_files
from tests.helpers.ecg_files import counts, millivolts

SIX = LEADS[:6]


def _write_table(path, values, leads, rate):
    rows = [",".join(["time", *(f"{lead} (mV)" for lead in leads)])]
    rows += [",".join([f"{i / rate:.3f}", *(f"{v:.4f}" for v in row)]) for i, row in enumerate(millivolts(values))]
    path.write_text("\n".join(rows) + "\n")


# File name -> a writer of (path, values, leads, rate).
WRITERS = {
    "a.edf": ecg_files.write_edf,
    "a.bdf": lambda *args: ecg_files.write_edf(*args, bdf=True),
    "a.dcm": ecg_files.write_dicom,
    "a.ecg": ecg_files.write_ishne,
    "a.atc": ecg_files.write_atc,
    "a.scp": ecg_files.write_scp,
    "packed.scp": lambda *args: ecg_files.write_scp(*args, differences=2, tables="default"),
    "aecg.xml": lambda path, values, leads, rate: ecg_texts.write_aecg(path, values, leads, f"{1 / rate:.6g}"),
    "muse.xml": ecg_texts.write_muse,
    "philips.xml": ecg_texts.write_philips,
    "cardiosoft.xml": ecg_texts.write_cardiosoft,
    "kardia.json": ecg_texts.write_kardia_json,
    "table.csv": _write_table,
    "a.npy": lambda path, values, leads, rate: np.save(path, values.astype(np.float32) * 5),
    "a.npz": lambda path, values, leads, rate: np.savez_compressed(
        path, ecg=millivolts(values), fs=rate, leads=leads, unit="mV"
    ),
    "a.mat": lambda path, values, leads, rate: scipy.io.savemat(path, {"val": values.T * 5.0, "fs": float(rate)}),
    "a.hea": lambda path, values, leads, rate: wfdb_files.write_record(
        path.parent, "a", values, leads=leads, rate=str(rate), gain="200/mV"
    ),
}


@pytest.fixture
def written(tmp_path, request):
    """The path of a file of `request.param`, and its values in millivolts: six leads, 2 s at 200 Hz."""
    values = counts(6, 2, 200)
    path = tmp_path / request.param
    WRITERS[request.param](path, values, SIX, 200)
    return path, millivolts(values)


@pytest.mark.parametrize("written", WRITERS, indirect=True)
def test_every_format_gives_the_same_millivolts(written):
    path, expected = written
    recording = readers.read(path, rate=200, leads=SIX, unit="uV")
    assert recording.rate == 200
    assert recording.leads == SIX
    assert recording.signal.dtype == np.float32
    np.testing.assert_allclose(recording.signal, expected, atol=2e-4)


@pytest.mark.parametrize("written", sorted(WRITERS.keys() - {"a.hea", "a.mat"}), indirect=True)
def test_the_content_tells_the_format_where_the_suffix_does_not(written):
    path, expected = written
    other = path.rename(path.with_suffix(".scp" if path.suffix != ".scp" else ".edf"))
    np.testing.assert_allclose(readers.read(other, 200, SIX, "uV").signal, expected, atol=2e-4)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.edf", b"", r"a\.edf: is empty \(0 bytes\); export it again"),
        ("a.bin", b"\0\1\2\3" * 100, r"a\.bin: is of a format that is not read; export it to one that is \(\.edf, "),
        ("a.pdf", b"%PDF-1.7 ...", r"a\.pdf: is a PDF of an ECG, not its samples; export these, as CSV"),
        ("a.edf", b"hello, world\n", r"a\.edf: truncated: an EDF header claims 256 bytes, and 13 are there"),
        ("a.scp", b"hello, world\n", r"a\.scp: truncated: an SCP-ECG header"),
        ("a.dcm", b"x" * 500, r"a\.dcm: is not a whole DICOM file \(InvalidDicomError"),
        ("a.xml", b"<html><body/></html>", r"a\.xml: is XML \(<html>\) of a kind that is not read"),
        ("a.npz", b"PK\3\4" + b"x" * 50, r"a\.npz: is not a whole NumPy archive file \(BadZipFile"),
        ("a.mat", b"\x89HDF\r\n\x1a\n" + bytes(600), r"a\.mat: is of MATLAB 7\.3 \(HDF5\), which is not read"),
        ("a.dat", b"\1\2" * 100, r"a\.dat: is a signal file without its header; put a\.hea beside it"),
        ("a.csv", b"time,I\n0,0.1\n", r"a\.csv: holds no table of numbers"),
    ],
)  # fmt: skip
def test_what_is_not_a_recording_is_named_with_the_remedy(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RecordError, match=message):
        readers.read(path)


def test_what_is_not_a_file(tmp_path):
    with pytest.raises(RecordError, match=r"none\.edf: cannot be read \(No such file"):
        readers.read(tmp_path / "none.edf")
    with pytest.raises(RecordError, match="is a folder, not a file"):
        readers.read(tmp_path)
    os.mkfifo(tmp_path / "pipe.edf")
    with pytest.raises(RecordError, match="is a pipe"):
        readers.read(tmp_path / "pipe.edf")


@pytest.mark.parametrize(
    ("values", "rate", "message"),
    [
        (np.ones((2, 1)), 500, r"short signal: 2 samples at 500 Hz; 1 s is needed"),
        (np.full((600, 1), np.nan), 500, "holds no samples that are numbers: every one is missing"),
        (np.ones((600, 1)), 1, r"a rate of 1 Hz is not that of an ECG \(20 to 20000 Hz\)"),
        (np.ones((600, 1)), None, "does not say its sampling rate; give the rate in Hz"),
        (np.ones((600, 2)), 500, r"is an array of \(600, 2\), which does not fit 1 leads: I"),
        (np.array([["x"] * 600]), 500, "holds no ECG signal"),
        (np.ones((600, 1), np.int16), 500, "does not say in what unit its samples are; give the unit"),
    ],
)  # fmt: skip
def test_no_network_can_read_it(tmp_path, values, rate, message):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(RecordError, match=message):
        readers.read(tmp_path / "a.npy", rate=rate, leads=["I"])


def test_missing_samples_are_noted_and_refused_where_they_are_needed(tmp_path):
    values = np.random.default_rng(0).normal(0, 0.3, (600, 3))
    values[5, 2] = np.nan
    values[7, 2] = np.inf
    np.save(tmp_path / "a.npy", values)
    recording = readers.read(tmp_path / "a.npy", 500, ["I", "II", "V2"], "mV")
    assert recording.notes == ("2 missing samples in lead V2",)
    assert readers.select(recording, ["II", "I"]).leads == ("II", "I")
    with pytest.raises(RecordError, match=r"a\.npy: lacks samples \(2 of lead V2, of 600\); choose a model"):
        readers.select(recording, ["I", "V2"])
    with pytest.raises(RecordError, match=r"a\.npy: lacks lead V5 \(it has I, II, V2\)"):
        readers.select(recording, ["V5"])


def test_selected_limb_leads_are_derived_and_faults_of_the_leads_are_said(tmp_path):
    values = counts(12, 10)
    values[:, 6] = 0
    ecg_files.write_edf(tmp_path / "a.edf", values[:, [0, 1, 6]], ("ECG I", "EKG DII", "ECG V1"))
    recording = readers.select(readers.read(tmp_path / "a.edf"), ("I", "aVF", "V1"))
    expected = millivolts(values[:, 1]) - millivolts(values[:, 0]) / 2
    np.testing.assert_allclose(recording.signal[:, 1], expected, atol=3e-4)
    assert recording.notes[0] == "lead aVF derived from leads I and II"
    assert any(note.startswith("flat (V1)") for note in recording.notes)


@pytest.mark.parametrize(
    ("lead", "options", "name", "notes"),
    [
        ("ECG", {}, "I", ("its only signal, 'ECG', is read as lead I",)),
        ("ECG", {"leads": ["II"]}, "II", ("its only signal, 'ECG', is read as lead II",)),
        ("ECG", {"rename": {"ECG": "V5"}}, "V5", ("ECG is read as lead V5",)),
        ("MLII", {}, "MLII", ()),
        ("II", {"leads": ["I"]}, "II", ()),
    ],
)
def test_the_only_lead_of_a_device_that_does_not_name_it(tmp_path, lead, options, name, notes):
    path = wfdb_files.write_record(tmp_path, "a", counts(1, 10), leads=[lead])
    recording = readers.read(path, **options)
    assert (recording.leads, recording.notes) == ((name,), notes)


def test_a_folder_is_searched_for_recordings(tmp_path):
    wfdb_files.write_record(tmp_path, "r1")
    for name in ("a.edf", "sub/muse.xml", "sub/table.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        WRITERS[name.split("/")[-1]](tmp_path / name, counts(6, 2, 200), SIX, 200)
    (tmp_path / "labels.csv").write_text("record,label\nr1,N\n")
    (tmp_path / "notes.xml").write_text("<notes/>")
    found = [str(path.relative_to(tmp_path)) for path in readers.find([tmp_path])]
    assert found == ["a.edf", "r1.hea", "sub/muse.xml", "sub/table.csv"]
    assert readers.find([tmp_path / "labels.csv", tmp_path / "none"]) == [tmp_path / "labels.csv", tmp_path / "none"]


def test_the_format_that_the_docs_add(tmp_path, monkeypatch):
    text = (pathlib.Path(__file__).parents[2] / "docs" / "formats.md").read_text()
    code = text[text.index("    # my_format.py") :].split("\n\nRaise")[0]
    monkeypatch.setattr(readers, "_formats", list(readers._formats))
    exec(textwrap.dedent(code), {})
    samples = np.arange(500, dtype="<i2")
    (tmp_path / "a.dat").write_bytes(b"MINE" + struct.pack("<I", 500) + samples.tobytes())
    recording = readers.read(tmp_path / "a.dat")
    np.testing.assert_allclose(recording.signal[:, 0], samples * 1e-3, atol=1e-6)
    (tmp_path / "a.dat").write_bytes(b"MINE" + struct.pack("<I", 4_000_000_000) + samples.tobytes())
    with pytest.raises(RecordError, match="truncated: its header claims 8000000000 bytes, and 1000 are there"):
        readers.read(tmp_path / "a.dat")


def test_the_readers_import_nothing_heavy():
    heavy = "jax", "flax", "matplotlib", "pandas", "pydicom", "wfdb", "scipy"
    code = f"import sys; import lrhnet_jax.ecg.readers; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("written", WRITERS, indirect=True)
def test_damage_does_no_harm(written):
    """200 cut or altered copies: a recording or a RecordError, in little time and memory."""
    path, _ = written
    victim = path.with_suffix(".mat") if path.suffix == ".hea" else path
    whole = [(file, file.read_bytes()) for file in dict.fromkeys((path, victim))]
    rng = np.random.default_rng(list(path.name.encode()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for turn in range(200):
        file, data = whole[turn % len(whole)]
        broken = bytearray(data)
        if turn % 3 == 0:
            del broken[rng.integers(len(broken)) :]
        else:  # one alteration in three falls on the header
            reach = len(broken) if turn % 3 == 1 else min(1400, len(broken))
            for place in rng.integers(reach, size=rng.integers(1, 6)):
                broken[place] = rng.integers(48, 58) if rng.random() < 0.3 else rng.integers(256)
        file.write_bytes(broken)
        start = time.perf_counter()
        try:
            readers.read(path, rate=200, leads=SIX, unit="uV")
        except RecordError as error:
            refused += 1
            assert str(error).startswith(str(path)) and "\n" not in str(error)
        assert time.perf_counter() - start < 2, bytes(broken)
        file.write_bytes(data)
    assert refused > 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB
