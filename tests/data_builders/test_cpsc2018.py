import json

import numpy as np
import pytest

from data_builders import build
from data_builders.cpsc2018 import catalogue
from lrhnet_jax.data import dataset
from lrhnet_jax.errors import DataError
from lrhnet_jax.tasks import cpsc2018
from tests.helpers.wfdb_files import AF, NSR, OLD_RBBB, comments, write_record

ECTOPICS, STD, STE = "164884008", "429622005", "164931005"
CODES = ((NSR,), (AF, OLD_RBBB), (ECTOPICS,), (STD, STE), (AF,))  # of A0001 to A0005, and so on


@pytest.fixture
def raw(tmp_path):
    """Challenge 2020's folders: 20 records of CPSC 2018, one of them without a class, and some of other sets."""
    folder = tmp_path / "raw/training"
    for i in range(20):
        write_record(folder / "cpsc_2018/g1", f"A{i + 1:04d}", comments=comments(*CODES[i % 5]))
    write_record(folder / "cpsc_2018/g1", "A0021", comments=comments("427084000"))
    write_record(folder / "cpsc_2018_extra/g1", "Q0001", comments=comments(NSR))
    write_record(folder / "ptb-xl/g1", "HR00001", comments=comments(NSR))
    return tmp_path / "raw"


def test_what_is_built(raw, tmp_path):
    folder = build.build("cpsc2018", raw, tmp_path / "data", workers=1)
    assert folder == tmp_path / "data/cpsc2018/paper/1.0.0"
    report = json.loads((folder / "report.json").read_text())
    assert report["per_class"] == {
        "NSR": 4,
        "AF": 8,
        "IAVB": 0,
        "LBBB": 0,
        "RBBB": 4,
        "PAC": 0,
        "PVC": 4,
        "STD": 4,
        "STE": 4,
    }
    assert (report["records"], report["left_out_no_scored_class"], report["per_source"]) == (20, 1, {"cpsc_2018": 20})
    assert (report["synthetic"], report["notice"], "per_published_fold" in report) == (False, "", False)
    assert report["rejected"] == []
    loaded = dataset.load(folder)
    assert loaded.classes == cpsc2018.CLASSES and loaded.published_folds is None
    row = loaded.record_ids.tolist().index("A0004")
    assert [cpsc2018.CLASSES[i] for i in np.flatnonzero(loaded.labels[row])] == ["STD", "STE"]
    per_fold = np.array([loaded.labels[loaded.folds == fold].sum(0) for fold in range(5)])
    assert np.ptp(per_fold, axis=0).max() <= 1


def test_100_hz_is_a_config(raw, tmp_path):
    folder = build.build("cpsc2018", raw, tmp_path / "data", preprocess="100hz", workers=1)
    assert folder.parts[-2] == "100hz"
    assert set(dataset.load(folder).lengths.tolist()) == {200}  # of 1,000 samples at 500 Hz


def test_the_same_record_twice_is_rejected(raw):
    copy = write_record(raw / "training/cpsc_2018/g2", "A0001", comments=comments(NSR))
    found = catalogue.read(raw)
    assert len(found.entries) == 20
    assert found.rejected == [(str(copy), f"the same record as {raw}/training/cpsc_2018/g1/A0001.hea")]


def test_what_is_missing_is_an_error_before_anything_is_made(raw, tmp_path, capsys):
    for folder, message in (("absent", "is not a folder"), ("raw/training/ptb-xl", "holds no record of CPSC 2018")):
        assert build.main(["cpsc2018", f"--raw_dir={tmp_path / folder}", f"--data_dir={tmp_path / 'data'}"]) == 1
        error = capsys.readouterr().err
        assert message in error and "get training/cpsc_2018 from https://physionet.org/content/challenge-2020" in error
    with pytest.raises(DataError, match="raw_dir '' is not a folder; get training/cpsc_2018"):
        build.build("cpsc2018", None, tmp_path / "data")
    with pytest.raises(DataError, match="cpsc2018 does not use PTB-XL's table: leave scp_statements out"):
        build.build("cpsc2018", raw, tmp_path / "data", scp_statements="scp_statements.csv")
    assert not (tmp_path / "data").exists()


def test_command_line(raw, tmp_path, capsys):
    arguments = ["cpsc2018", f"--raw_dir={raw}", f"--data_dir={tmp_path / 'data'}", "--workers=1"]
    assert build.main(arguments) == 0
    assert "20 records of 20 patients: cpsc_2018 20" in capsys.readouterr().out


def test_real_records(real_records):
    folder = real_records / "challenge-2020"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    found = catalogue.read(folder)
    assert (found.rejected, found.left_out) == ([], 0)
    assert all(np.sum([entry.labels for entry in found.entries], 0) > 0)  # each class, in any hundred of the records
