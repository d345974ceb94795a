import json

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders import build
from data_builders.physionet2017 import catalogue
from lrhnet_jax.data import dataset, splits
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.ecg.wfdb import read_header, read_signal
from lrhnet_jax.errors import DataError
from lrhnet_jax.experiment import provenance
from lrhnet_jax.tasks.physionet2017 import CLASSES
from tests.helpers.wfdb_files import write_record

LETTERS = "NNNAO" * 4 + "NOOA~" * 2  # of A00001 and so on: N 14, A 6, O 8, ~ 2


def write(folder, name, values=None, **options):
    """A record as the Challenge has them: 300 Hz, one lead "ECG", no comments, checksums of 0."""
    if values is None:
        values = np.random.default_rng(list(name.encode())).normal(0, 200, (3000, 1)).astype(np.int16)
    return write_record(
        folder, name, values, **{"leads": ("ECG",), "rate": "300", "comments": (), "checksums": [0], **options}
    )


def name_of(i):
    return f"A{i + 1:05d}"


def reference(path, labels=LETTERS):
    path.write_text("".join(f"{name_of(i)},{letter}\n" for i, letter in enumerate(labels)))


@pytest.fixture
def raw(tmp_path):
    """An archive as training2017.zip has it, with two pairs of equal records: 3 and 4, 21 and 30."""
    folder = tmp_path / "raw/training2017"
    for i in range(len(LETTERS)):
        write(folder, name_of(i))
    for copy, original in ((4, 3), (30, 21)):
        values = np.frombuffer((folder / f"A{original:05d}.mat").read_bytes(), "<i2", offset=24)
        write(folder, f"A{copy:05d}", values[:, None])
    reference(folder / "REFERENCE.csv")
    return tmp_path / "raw"


def in_subfolders(raw):
    """Moves the archive to the other layout: training/A00/ and REFERENCE-v3.csv on top."""
    for path in sorted((raw / "training2017").glob("A*")):
        folder = raw / "training" / f"A0{int(path.stem[1:]) % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    (raw / "training2017/REFERENCE.csv").rename(raw / "REFERENCE-v3.csv")


def made(raw, tmp_path, **options):
    return build.build("physionet2017", raw, tmp_path / "data", workers=1, **options)


def by_name(found):
    return {entry.header.record_id: entry for entry in found.entries}


def test_what_is_built(raw, tmp_path):
    write(raw / "training2017", "A00001", np.random.default_rng(0).normal(0, 99, (18286, 1)).astype(np.int16))
    folder = made(raw, tmp_path)
    assert folder == tmp_path / "data/physionet2017/300hz/1.0.0"
    source = tfds.builder_from_directory(folder).as_data_source("train")
    rows = {row["record_id"].decode(): row for row in (source[i] for i in range(len(source)))}
    assert len(rows) == 30
    row = rows["A00001"]
    header = read_header(raw / "training2017/A00001.hea")
    signal = read_signal(header, ("ECG",))
    assert row["signal"].shape == (18286, 1) and row["signal"].dtype == np.float16
    np.testing.assert_array_equal(row["signal"], preprocessing.zscore(signal).astype(np.float16))
    assert "".join(CLASSES[rows[name_of(i)]["labels"].argmax()] for i in range(30)) == LETTERS
    assert all(row["labels"].sum() == 1 for row in rows.values())
    np.testing.assert_array_equal(row["demographics"], np.zeros(5))
    assert (row["source"], row["patient"]) == (b"training2017", b"training2017/A00001")
    assert (row["rate"], row["length"]) == (300, 18286)
    report = json.loads((folder / "report.json").read_text())
    assert report["per_class"] == {"N": 14, "A": 6, "O": 8, "~": 2}
    assert (report["classes"], report["leads"]) == (list("NAO~"), ["I"])
    assert report["preprocess"]["rate"] == 300
    assert (report["records"], report["patients"], report["labels_without_record"]) == (30, 28, 0)
    assert report["reference"].endswith("training2017/REFERENCE.csv")


@pytest.mark.parametrize(("name", "rate"), [("200hz", 200), ("257hz", 257)])
def test_other_rates_are_configs(raw, tmp_path, name, rate):
    folder = made(raw, tmp_path, preprocess=name)
    assert folder.parts[-2] == name
    loaded = dataset.load(folder)
    assert set(loaded.lengths.tolist()) == {10 * rate}
    signal = read_signal(read_header(raw / "training2017/A00001.hea"), ("ECG",))
    expected = preprocessing.preprocess(signal, 300.0, preprocessing.Preprocess(rate=rate))
    row = loaded.record_ids.tolist().index("A00001")
    np.testing.assert_array_equal(loaded.signals[loaded.offsets[row] :][: 10 * rate], expected)


def test_loads_as_records_and_splits_by_class_and_signal(raw, tmp_path):
    loaded = dataset.load(made(raw, tmp_path))
    assert (loaded.leads, loaded.classes, loaded.labels.shape) == (("I",), CLASSES, (30, 4))
    assert provenance.describe_data(loaded)["per_class"] == {"N": 14, "A": 6, "O": 8, "~": 2}
    assert loaded.select(np.arange(3)).classes == CLASSES
    per_fold = np.array([loaded.labels[loaded.folds == fold].sum(0) for fold in range(5)])
    assert (np.ptp(per_fold, axis=0) <= 2).all()  # one more than if no records belonged together
    assert np.ptp(per_fold.sum(1)) <= 2
    split = splits.make(loaded, 0, "leak_free", validation_parts=4)
    assert sorted(np.concatenate([split.train, split.validation, split.test]).tolist()) == list(range(30))
    part = np.zeros(30, int)
    part[split.validation], part[split.test] = 1, 2
    rows = {record: row for row, record in enumerate(loaded.record_ids.tolist())}
    for one, other in (("A00003", "A00004"), ("A00021", "A00030")):
        assert part[rows[one]] == part[rows[other]]


def test_equal_signals_share_a_group_and_are_reported(raw, caplog):
    found = catalogue.read(raw)
    entries = by_name(found)
    for one, other in (("A00003", "A00004"), ("A00021", "A00030")):
        assert entries[one].patient == entries[other].patient == f"training2017/{one}"
        assert entries[one].fold == entries[other].fold
        assert f"the same signal under 2 names, kept in one fold: {one}, {other}" in caplog.text
    assert found.report["duplicates"] == [
        {"records": ["A00003", "A00004"], "labels": ["N", "A"]},
        {"records": ["A00021", "A00030"], "labels": ["N", "~"]},
    ]
    assert found == catalogue.read(raw)


def test_a_signal_that_differs_in_one_sample_is_another(raw):
    path = raw / "training2017/A00004.mat"
    values = bytearray(path.read_bytes())
    values[-2] ^= 1
    path.write_bytes(values)
    entries = by_name(catalogue.read(raw))
    assert entries["A00003"].patient != entries["A00004"].patient == "training2017/A00004"


def test_subfolders_hold_the_same_as_one_folder(raw):
    flat = catalogue.read(raw)
    in_subfolders(raw)
    write(raw / "validation", "A00001")  # the archive has copies there
    deep = catalogue.read(raw)
    assert deep.rejected == []
    assert deep.report["reference"] == str(raw / "REFERENCE-v3.csv")
    assert {k: (e.source, e.labels) for k, e in by_name(deep).items()} == {
        k: (e.source, e.labels) for k, e in by_name(flat).items()
    }


def test_the_folder_of_the_records_will_do(raw):
    assert catalogue.read(raw / "training2017").report["reference"] == str(raw / "training2017/REFERENCE.csv")


def test_the_last_correction_of_the_labels_is_taken(raw):
    reference(raw / "REFERENCE-v3.csv", "A" * 30)
    assert {entry.labels for entry in catalogue.read(raw).entries} == {(False, True, False, False)}


def test_records_without_a_usable_label_are_rejected(raw):
    table = raw / "training2017/REFERENCE.csv"
    lines = table.read_text().splitlines()
    lines[0], lines[1] = "A00001,X", "A00002, N "
    del lines[9]
    table.write_text("\ufeff" + "\n".join([*lines, "", "A00006,A", "A00007,N", "A09999,N"]) + "\n")
    found = catalogue.read(raw)
    assert {path.rsplit("/", 1)[1]: reason for path, reason in found.rejected} == {
        "A00001.hea": "unknown label 'X' in REFERENCE.csv; N, A, O, ~ are known",
        "A00006.hea": "has several labels in REFERENCE.csv: N, A",
        "A00010.hea": "has no label in REFERENCE.csv",
    }
    assert by_name(found)["A00002"].labels == (True, False, False, False)
    assert len(found.entries) == 27
    assert found.report["labels_without_record"] == 1


def test_broken_and_repeated_records_are_rejected_before_folds_are_dealt(raw, tmp_path):
    folder = raw / "training2017"
    (folder / "A00001.mat").unlink()
    write(folder, "A00002", checksums=[5])
    (folder / "A00005.hea").write_text("nonsense\n")
    write(folder, "A00006", leads=("V1",))
    write(folder, "A00007", announced=(1, 4000))
    write(folder / "copies", "A00008")
    expected = {
        "A00001": "signal file A00001.mat: No such file or directory",
        "A00002": "checksum mismatch",
        "A00005": "unreadable header",
        "A00006": "lacks lead ECG",
        "A00007": "short signal: 3000 of 4000 samples",
        "A00008": "the same record as",
    }
    found = catalogue.read(raw)
    reasons = {path.rsplit("/", 1)[1].removesuffix(".hea"): reason for path, reason in found.rejected}
    assert reasons.keys() == expected.keys()
    assert all(expected[name] in reason for name, reason in reasons.items())
    assert len(found.entries) == 25
    assert np.ptp(np.bincount([entry.fold for entry in found.entries], minlength=5)) <= 2
    with pytest.raises(DataError, match=r"6 records were rejected \(--strict\):\n.*A00001.hea: signal file"):
        made(raw, tmp_path, strict=True)
    assert len(dataset.load(made(raw, tmp_path))) == 25


def test_a_line_that_is_none_is_an_error(raw):
    table = raw / "training2017/REFERENCE.csv"
    for line in ("A00031", "A00031,N,A", "A00031,", "N;A00031"):
        reference(table)
        table.write_text(f"{table.read_text()}{line}\n")
        with pytest.raises(DataError, match=f"REFERENCE.csv, line 31: a record and its label expected .* not '{line}'"):
            catalogue.read(raw)


def test_what_is_missing_is_an_error_before_anything_is_made(raw, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for folder, message in ((tmp_path / "absent", "is not a folder"), (tmp_path / "empty", "holds no WFDB header")):
        assert build.main(["physionet2017", f"--raw_dir={folder}", f"--data_dir={tmp_path / 'data'}"]) == 1
        error = capsys.readouterr().err
        assert message in error and "https://physionet.org/content/challenge-2017/1.0.0/" in error
    with pytest.raises(DataError, match=r"physionet2017 needs --raw_dir: get training2017\.zip"):
        build.build("physionet2017", None, tmp_path / "data")
    with pytest.raises(DataError, match="unknown preprocess 'paper'; choose 300hz, 200hz, 257hz"):
        made(raw, tmp_path, preprocess="paper")
    with pytest.raises(DataError, match="physionet2017 does not use PTB-XL's table: leave ptbxl_database out"):
        made(raw, tmp_path, ptbxl_database=tmp_path / "ptbxl_database.csv")
    (raw / "training2017/REFERENCE.csv").unlink()
    with pytest.raises(DataError, match=r"holds no labels: REFERENCE-v3\.csv or REFERENCE\.csv is expected"):
        made(raw, tmp_path)
    assert not (tmp_path / "data").exists()


def test_no_usable_record_is_an_error(raw, tmp_path):
    (raw / "training2017/REFERENCE.csv").write_text("")
    with pytest.raises(DataError, match=r"30 were rejected:\n.*A00001.hea: has no label in REFERENCE.csv"):
        made(raw, tmp_path)


def test_command_line(raw, tmp_path, capsys):
    arguments = ["physionet2017", f"--raw_dir={raw}", f"--data_dir={tmp_path / 'data'}", "--workers=1"]
    assert build.main(arguments) == 0
    summary = capsys.readouterr().out
    assert "30 records of 28 patients: training2017 30" in summary
    assert "classes: N 14, A 6, O 8, ~ 2" in summary
    assert "the same signal twice, kept in one fold: A00003 = A00004" in summary


def test_real_records(real_records):
    """The archive's known pairs of equal records, as far as they are in the folder, and nothing that is rejected."""
    folder = real_records / "challenge-2017"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    found = catalogue.read(folder)
    assert found.rejected == []
    names = set(by_name(found))
    known = [pair for pair in (["A00227", "A01176"], ["A02656", "A03123"]) if names.issuperset(pair)]
    assert [group["records"] for group in found.report["duplicates"]] == known
    assert all(2700 <= entry.header.samples <= 18300 and entry.header.rate == 300 for entry in found.entries)
    counts = np.array([np.sum([e.labels for e in found.entries if e.fold == fold], 0) for fold in range(5)])
    assert (np.ptp(counts, axis=0) <= 2).all()
