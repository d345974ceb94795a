import json

import numpy as np
import pytest

from data_builders import build
from data_builders.ptbxl import catalogue
from lrhnet_jax.data import dataset, splits
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.ecg.wfdb import read_header, read_signal
from lrhnet_jax.errors import DataError
from lrhnet_jax.tasks import ptbxl, ptbxl_table
from tests.helpers.wfdb_files import comments, write_record

CODES = (
    "{'NORM': 100.0, 'SR': 0.0}",
    "{'IMI': 0.0, 'LVH': 50.0}",
    "{'NDT': 100.0}",
    "{'CLBBB': 100.0}",
    "{'AFIB': 0.0}",
)


def write_table(path, count=30, **changed):
    """PTB-XL's table of records 1 to `count`: two a patient, both in one of the published folds."""
    columns = {
        "ecg_id": lambda i: i + 1,
        "patient_id": lambda i: f"{100 + i // 2}.0",
        "age": lambda i: "" if i == 2 else 40.0 + i,
        "sex": lambda i: i % 2,
        "report": lambda i: '"two lines,\nof text"',
        "scp_codes": lambda i: f'"{CODES[i % 5]}"',
        "strat_fold": lambda i: i // 2 % 10 + 1,
    } | changed
    lines = [",".join(str(value(i)) for value in columns.values()) for i in range(count)]
    path.write_text("\n".join([",".join(columns), *lines]) + "\n")
    return path


@pytest.fixture
def raw(tmp_path):
    """PTB-XL as it is published: both rates, and its table."""
    raw = tmp_path / "ptb-xl"
    for i in range(30):
        for folder, suffix, rate, samples in (("records500", "hr", "500", 1000), ("records100", "lr", "100", 200)):
            values = np.random.default_rng(i).integers(-500, 500, (samples, 12)).astype(np.int16)
            leads = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
            path = write_record(
                raw / folder / "00000", f"{i + 1:05d}_{suffix}", values, rate=rate, leads=leads, comments=()
            )
            # A bare .dat file of format 16, which holds what stands behind the .mat file's header of 24 bytes.
            matrix = path.with_suffix(".mat")
            path.with_suffix(".dat").write_bytes(matrix.read_bytes()[24:])
            matrix.unlink()
            text = path.read_text().replace(".mat 16+24 1000/mV", ".dat 16 1000.0(0)/mV")
            path.write_text(text)
    write_table(raw / "ptbxl_database.csv")
    return raw


@pytest.fixture
def challenge(tmp_path):
    """The same as Challenge 2020 has it: other names, and age and sex in the headers; beside another set's record."""
    folder = tmp_path / "challenge/training"
    for i in range(30):
        values = np.random.default_rng(i).integers(-500, 500, (1000, 12)).astype(np.int16)
        write_record(folder / "ptb-xl/g1", f"HR{i + 1:05d}", values, comments=comments("426783006", age=40 + i))
    write_record(folder / "georgia/g1", "E00001")
    return folder.parent


def by_number(found):
    return {ptbxl_table.number(entry.header.record_id): entry for entry in found.entries}


def names(labels):
    return {ptbxl.CLASSES[i] for i in np.flatnonzero(labels)}


def test_what_is_built(raw, tmp_path):
    folder = build.build("ptbxl", raw, tmp_path / "data", workers=1)
    assert folder == tmp_path / "data/ptbxl/paper/1.0.0"
    report = json.loads((folder / "report.json").read_text())
    assert report["per_class"] == {"NORM": 6, "MI": 6, "STTC": 6, "CD": 6, "HYP": 6}
    assert (report["records"], report["left_out_no_scored_class"], report["patients"]) == (24, 6, 15)
    assert sum(report["per_published_fold"].values()) == 24 and len(report["per_published_fold"]) == 10
    assert report["ptbxl_database"] == str(raw / "ptbxl_database.csv") and report["scp_statements"] == "built in"
    assert report["rejected"] == []
    loaded = dataset.load(folder)
    assert (loaded.classes, loaded.lengths.tolist()) == (ptbxl.CLASSES, [514] * 24)
    row = loaded.record_ids.tolist().index("00002_hr")
    assert names(loaded.labels[row]) == {"MI", "HYP"}  # a likelihood of 0 counts too
    np.testing.assert_allclose(loaded.demographics[row], [0.41, 1, 1, 0, 1], rtol=1e-6)
    assert (loaded.patients[row], loaded.published_folds[row]) == ("ptb-xl/patient-100", 1)
    header = read_header(raw / "records500/00000/00002_hr.hea")
    expected = preprocessing.preprocess(read_signal(header), 500.0)
    np.testing.assert_array_equal(loaded.signals[loaded.offsets[row] :][:514], expected)
    unknown = loaded.record_ids.tolist().index("00003_hr")
    np.testing.assert_array_equal(loaded.demographics[unknown], [0, 0, 0, 1, 1])


def test_challenge_2020_has_the_same_records_under_other_names(raw, challenge):
    published = by_number(catalogue.read(raw))
    found = by_number(catalogue.read(challenge, raw / "ptbxl_database.csv"))
    assert found.keys() == published.keys() and len(found) == 24
    for number, entry in found.items():
        other = published[number]
        assert entry.labels == other.labels
        assert (entry.patient, entry.fold, entry.published_fold) == (other.patient, other.fold, other.published_fold)
        np.testing.assert_array_equal(read_signal(entry.header), read_signal(other.header))
    assert found[3].header.age == 42 and found[3].header.sex == "Female"  # what a header says goes before the table


def test_100_hz_is_a_config(raw, tmp_path):
    folder = build.build("ptbxl", raw, tmp_path / "data", preprocess="100hz", workers=1)
    loaded = dataset.load(folder)
    assert set(loaded.lengths.tolist()) == {200}
    assert loaded.build_report["preprocess"]["rate"] == 100


def test_no_patient_is_in_two_folds_and_both_kinds_of_folds_split(raw, tmp_path):
    loaded = dataset.load(build.build("ptbxl", raw, tmp_path / "data", workers=1))
    for kind in (loaded.folds, loaded.published_folds):
        assert len({(patient, fold) for patient, fold in zip(loaded.patients, kind, strict=True)}) == 15
    split = splits.make(loaded, 4, "published", 10)
    assert set(loaded.published_folds[split.test]) == {10} and set(loaded.published_folds[split.validation]) == {9}
    assert sum(splits.make(loaded, 0, "leak_free", 5).sizes().values()) == 24


def test_a_published_fold_that_splits_a_patient_is_warned_of(raw, caplog):
    write_table(raw / "ptbxl_database.csv", strat_fold=lambda i: i % 10 + 1)
    catalogue.read(raw)
    assert "patients are in several of the published folds" in caplog.text


def test_records_that_the_table_does_not_know_are_rejected(raw):
    write_table(raw / "ptbxl_database.csv", count=28, strat_fold=lambda i: 11 if i == 0 else i // 2 % 10 + 1)
    found = catalogue.read(raw)
    reasons = {path.rsplit("/", 1)[1]: reason for path, reason in found.rejected}
    assert reasons == {
        "00001_hr.hea": "has strat_fold 11, which is not one of 1 to 10",
        "00029_hr.hea": "is not in ptbxl_database.csv",
        "00030_hr.hea": "is not in ptbxl_database.csv",
    }


STATEMENTS = """,description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass
NDT,"T abnormalities, not diagnostic",1.0,1.0,,HYP,STTC
NORM,normal ECG,1.0,,,NORM,NORM
SR,sinus rhythm,,,1.0,,
"""


@pytest.mark.parametrize("text", [STATEMENTS, "scp_code,superclass\nNDT,HYP\nNORM,NORM\n"])
def test_another_table_of_statements_may_be_given(raw, tmp_path, text):
    path = tmp_path / "scp_statements.csv"
    path.write_text(text)
    entries = by_number(catalogue.read(raw, scp_statements=path))
    assert {number: names(entry.labels) for number, entry in entries.items() if number <= 5} == {
        1: {"NORM"},
        3: {"HYP"},
    }
    assert catalogue.read(raw, scp_statements=path).report["scp_statements"] == str(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file.*scp_statements.csv of https://physionet.org/content/ptb-xl"),
        ("", "is not PTB-XL's table"),
        ("code,class\nNDT,STTC\n", "is not PTB-XL's table: a code, and in column diagnostic_class one of NORM, MI"),
        (",diagnostic_class\nNDT,ABNORMAL\n", "one of NORM, MI, STTC, CD, HYP expected, not ABNORMAL"),
    ],
)
def test_what_is_no_table_of_statements_is_refused(tmp_path, text, message):
    path = tmp_path / "scp.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=f"scp_statements .*scp.csv.*{message}"):
        ptbxl_table.read_superclasses(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scp_codes": lambda i: "NORM"}, "ValueError"),
        ({"scp_codes": lambda i: '"[1, 2]"'}, r"TypeError: scp_codes \[1, 2\]"),
        ({"strat_fold": lambda i: "one"}, "ValueError: could not convert"),
        ({"ecg_id": lambda i: "one"}, "ValueError: could not convert"),
    ],
)
def test_what_is_no_table_of_records_is_refused(tmp_path, changed, message):
    path = write_table(tmp_path / "table.csv", **changed)
    expected = f"ptbxl_database .*table.csv.*columns ecg_id, patient_id, scp_codes, strat_fold expected.*{message}"
    with pytest.raises(DataError, match=expected):
        ptbxl_table.read(path)


def test_a_table_that_lacks_a_column_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("ecg_id,patient_id\n1,2\n")
    with pytest.raises(DataError, match="KeyError: 'scp_codes'"):
        ptbxl_table.read(path)
    assert ptbxl_table.read(path, required=("ecg_id",))[1] == ptbxl_table.Row("2", None, None, (), 0)


def test_what_is_missing_is_an_error_before_anything_is_made(raw, challenge, tmp_path, capsys):
    data_dir = f"--data_dir={tmp_path / 'data'}"
    for folder, message in (
        (tmp_path / "absent", "is not a folder; get PTB-XL from https://physionet.org/content/ptb-xl"),
        (raw / "records100", r"holds no record of PTB-XL at 500 Hz (00001_hr.hea, or HR00001.hea)"),
        (challenge, "holds no ptbxl_database.csv, which has PTB-XL's labels: give it as --ptbxl_database"),
    ):
        assert build.main(["ptbxl", f"--raw_dir={folder}", data_dir]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(DataError, match="raw_dir '' is not a folder"):
        build.build("ptbxl", None, tmp_path / "data")
    with pytest.raises(DataError, match=r"ptbxl_database .*nowhere\.csv.*No such file"):
        build.build("ptbxl", raw, tmp_path / "data", ptbxl_database=tmp_path / "nowhere.csv")
    assert not (tmp_path / "data").exists()


def test_command_line(raw, challenge, tmp_path, capsys):
    (tmp_path / "scp_statements.csv").write_text(STATEMENTS)
    arguments = [
        "ptbxl",
        f"--raw_dir={challenge}",
        f"--data_dir={tmp_path / 'data'}",
        f"--ptbxl_database={raw / 'ptbxl_database.csv'}",
        f"--scp_statements={tmp_path / 'scp_statements.csv'}",
        "--preprocess=100hz",
        "--workers=1",
    ]
    assert build.main(arguments) == 0
    summary = capsys.readouterr().out
    assert "12 records of 12 patients: ptb-xl 12" in summary
    assert "classes: NORM 6, MI 0, STTC 0, CD 0, HYP 6" in summary


def test_real_records(real_records):
    """The records in Challenge 2020's layout, if PTB-XL's table lies beside them."""
    folder = real_records / "challenge-2020"
    table = real_records / "ptbxl_database.csv"
    if not folder.is_dir() or not table.is_file():
        pytest.skip(f"{folder} or {table} is not there")
    found = catalogue.read(folder, table)
    assert {reason for _, reason in found.rejected} <= {"is not in ptbxl_database.csv"}
    rows = ptbxl_table.read(table)
    for number, entry in by_number(found).items():
        assert (rows[number].age, rows[number].sex) in ((entry.header.age, str(entry.header.sex).lower()), (None, None))
    published = {}
    for entry in found.entries:
        assert published.setdefault(entry.patient, entry.published_fold) == entry.published_fold
    counts = np.array([np.sum([e.labels for e in found.entries if e.fold == fold], 0) for fold in range(5)])
    assert (np.ptp(counts, axis=0) <= 4).all()
