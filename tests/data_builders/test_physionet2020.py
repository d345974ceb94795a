import collections
import dataclasses
import hashlib
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from data_builders import shards
from data_builders.physionet2020 import catalogue, download
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.ecg.wfdb import RecordError, read_signal
from lrhnet_jax.errors import DataError
from lrhnet_jax.tasks import physionet2020
from tests.helpers.wfdb_files import NSR, OLD_RBBB, RBBB, comments, write_record

# catalogue


def test_catalogue(archive, ptbxl_database):
    found = catalogue.read(archive, ptbxl_database)
    assert len(found.entries) == 24
    assert found.left_out == 2
    assert found.rejected == []
    assert collections.Counter(entry.source for entry in found.entries) == {"ptb-xl": 12, "georgia": 8, "ptb": 4}
    patients = {entry.header.record_id: entry.patient for entry in found.entries}
    assert {patients[f"HR0000{i}"] for i in range(1, 5)} == {"ptb-xl/patient-7"}
    assert patients["HR00005"] == "ptb-xl/patient-105"
    assert patients["HR00012"] == "ptb-xl/HR00012"
    assert patients["E00001"] == "georgia/E00001"
    assert len({entry.fold for entry in found.entries if entry.patient == "ptb-xl/patient-7"}) == 1
    assert found == catalogue.read(archive, ptbxl_database)


def test_records_of_ptbxl_without_a_table_are_warned_of(archive, caplog):
    catalogue.read(archive)
    assert "the patients of 12 records of PTB-XL are not known: see --ptbxl_database" in caplog.text


def test_patient_of_a_header_counts(tmp_path):
    for name in ("A1", "A2"):
        write_record(tmp_path, name, comments=(*comments(NSR), "#Patient: 5"))
    assert {entry.patient for entry in catalogue.read(tmp_path).entries} == {"unknown/patient-5"}


@pytest.mark.parametrize("folder", ["WFDB_PTBXL", "WFDB", "training/ptb-xl/g1", "my/own", "."])
def test_ptbxls_table_counts_wherever_its_records_lie(tmp_path, folder):
    rows = []
    for i in range(1, 41):
        write_record(tmp_path / folder, f"HR{i:05d}", comments=(*comments(NSR), "#Patient: 5"))
        rows.append(f"{i},{i % 10}.0")
    for i in range(1, 9):
        write_record(tmp_path / "WFDB_Ga", f"E{i:05d}")
        write_record(tmp_path / "else", f"X{i}")
    table = tmp_path / "ptbxl_database.csv"
    table.write_text("\n".join(["ecg_id,patient_id", *rows]) + "\n")
    found = catalogue.read(tmp_path, table)
    folds = collections.defaultdict(set)
    for entry in found.entries:
        folds[entry.patient].add(entry.fold)
    assert len(folds) == 10 + 8 + 8 and all(len(numbers) == 1 for numbers in folds.values())
    sources = collections.Counter(entry.source for entry in found.entries)
    assert sources == {"ptb-xl": 40, "georgia": 8, "unknown": 8}


def test_the_same_record_in_two_archives_counts_once(tmp_path):
    first = write_record(tmp_path / "training/ptb-xl/g1", "HR00001")
    write_record(tmp_path / "WFDB_PTBXL", "HR00001")
    found = catalogue.read(tmp_path)
    assert len(found.entries) == 1 and found.rejected[0][1] == f"the same record as {tmp_path}/WFDB_PTBXL/HR00001.hea"
    assert found.rejected[0][0] == str(first)


def test_a_table_that_knows_none_or_few_of_the_records_is_told(archive, tmp_path, caplog):
    table = tmp_path / "table.csv"
    table.write_text("ecg_id,patient_id\n21000,1\n")
    with pytest.raises(DataError, match=r"table\.csv' knows none of the 26 records .12 have names of PTB-XL"):
        catalogue.read(archive, table)
    table.write_text("ecg_id,patient_id\n1,1\n2,1\n")
    catalogue.read(archive, table)
    assert "knows 2 of 12 records of PTB-XL: is it the whole table?" in caplog.text


def test_broken_and_repeated_headers_are_rejected(archive):
    (archive / "training/georgia/g1/E00001.hea").write_text("E00001 twelve\n")
    copy = write_record(archive / "training/georgia/g2", "E00002", comments=comments(NSR))
    found = catalogue.read(archive)
    assert len(found.entries) == 23
    reasons = {pathlib.Path(path): reason for path, reason in found.rejected}
    assert "unreadable header" in reasons[archive / "training/georgia/g1/E00001.hea"]
    assert "the same record as" in reasons[copy]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file.*physionet.org/content/ptb-xl"),
        ("a,b\n1,2\n", "is not PTB-XL's table: columns ecg_id, patient_id expected"),
        ("ecg_id,patient_id\none,two\n", "is not PTB-XL's table"),
    ],
)
def test_another_table_is_refused(tmp_path, text, message):
    path = tmp_path / "table.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=f"ptbxl_database .*table.csv.*{message}"):
        catalogue.read_patients(path)


# shards


def test_example_of_a_record(archive):
    entry = next(e for e in catalogue.read(archive).entries if e.header.record_id == "S0001")
    result = shards.example(entry, preprocessing.PAPER)
    assert result["signal"].shape == (257, 12)  # 1,000 samples at 1,000 Hz
    assert result["signal"].dtype == np.float16
    assert [physionet2020.CLASSES[i] for i in np.flatnonzero(result["labels"])] == [RBBB]
    np.testing.assert_allclose(result["demographics"], [0.56, 1, 0, 0, 0])
    assert (result["rate"], result["length"]) == (1000.0, 1000)


def test_equivalent_codes_are_merged(archive):
    entry = next(e for e in catalogue.read(archive).entries if OLD_RBBB in e.header.codes)
    assert shards.example(entry, preprocessing.PAPER)["labels"][physionet2020.CLASSES.index(RBBB)]


def test_samples_are_stored_in_two_bytes(archive, tmp_path):
    """TFDS's default for float16 takes four."""
    entries = tuple(catalogue.read(archive).entries)
    result = shards.write(shards.Shard(str(tmp_path / "x"), entries, preprocessing.PAPER))
    assert (result.written, result.rejected) == (tuple(range(24)), ())
    samples = sum(-(-e.header.samples * 257 // int(e.header.rate)) for e in entries)
    assert 2 * 12 * samples < result.size < 2 * 12 * samples + 24 * 1000


def test_plan_mixes_records_and_needs_no_more_shards_than_records():
    entries = [catalogue.BuildEntry(None, "a", str(i), 0, ()) for i in range(600)]
    parts = shards.plan(entries, None)
    assert [len(part) for part in parts] == [200, 200, 200]
    assert sorted(int(e.patient) for part in parts for e in part) == list(range(600))
    assert [int(e.patient) for e in parts[0]] != list(range(200))
    assert parts == shards.plan(entries, None)
    assert len(shards.plan(entries[:3], 8)) == 3


def test_unexpected_errors_reject_the_record(archive, tmp_path, monkeypatch):
    read = read_signal

    def strange(header, *arguments):
        if header.record_id == "E00003":
            raise ZeroDivisionError("strange")
        return read(header, *arguments)

    monkeypatch.setattr(shards, "read_signal", strange)
    entries = tuple(catalogue.read(archive).entries)
    result = shards.write(shards.Shard(str(tmp_path / "x"), entries, preprocessing.PAPER))
    assert len(result.written) == 23
    assert result.rejected[0][1] == "unexpected ZeroDivisionError: strange"


def test_samples_that_leave_the_range_of_float16_are_rejected(archive, monkeypatch):
    monkeypatch.setattr(preprocessing, "preprocess", lambda *_: np.full((9, 12), np.inf, np.float16))
    with pytest.raises(RecordError, match="non-finite samples after preprocessing"):
        shards.example(catalogue.read(archive).entries[0], preprocessing.PAPER)


def _die(shard):
    os._exit(9)


@pytest.mark.slow
def test_a_worker_that_dies_is_an_error(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_write_in_worker", _die)
    entries = tuple(catalogue.read(archive).entries)
    work = [shards.Shard(str(tmp_path / str(i)), entries, preprocessing.PAPER) for i in range(2)]
    with pytest.raises(DataError, match="worker processes died, most likely for want of memory; try fewer"):
        shards.write_all(work, workers=2)


def _die_at(entry, *_):
    if entry.header.record_id in ("E00003", "HR00005"):
        os._exit(139)
    return _example(entry, *_)


_example = shards.example


def _write_with_deaths(shard):
    shards.example = _die_at
    return _write_in_worker(shard)


_write_in_worker = shards._write_in_worker


@pytest.mark.slow
def test_a_record_that_ends_its_process_costs_itself_alone(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_write_in_worker", _write_with_deaths)
    parts = shards.plan(catalogue.read(archive).entries, 3)
    work = [shards.Shard(str(tmp_path / str(i)), tuple(part), preprocessing.PAPER) for i, part in enumerate(parts)]
    results = shards.write_all(work, workers=2)
    rejected = [item for result in results for item in result.rejected]
    assert sorted((pathlib.Path(path).stem, reason) for path, reason in rejected) == [
        ("E00003", "ends the process that reads it"),
        ("HR00005", "ends the process that reads it"),
    ]
    assert sum(len(result.written) for result in results) == 22
    alive = [shards.write(dataclasses.replace(shard, path=f"{shard.path}-alone", deadly=())) for shard in work]
    assert sum(len(result.written) for result in alive) == 24


UNGUARDED = """
import sys
from data_builders import build, shards
shards.RECORDS_PER_SHARD = 10
build.build("physionet2020", sys.argv[1], sys.argv[2], workers=2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("stdin", [False, True])
def test_a_script_without_its_guard_is_told_of_it(archive, tmp_path, stdin):
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    result = subprocess.run(
        [sys.executable, "-" if stdin else str(script), str(archive), str(tmp_path)],
        input=UNGUARDED if stdin else None,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert result.returncode != 0
    assert 'below `if __name__ == "__main__":`' in result.stderr


# download


class FakeManager:
    """Serves files as tfds.download.DownloadManager does: under other names, in one folder."""

    def __init__(self, folder, files):
        self.download_dir = folder
        self.files = files
        self.asked = []
        self.stop_after = None

    def download(self, urls):
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise ConnectionError("no route")
        self.asked += urls.values()
        paths = {}
        for name, url in urls.items():
            paths[name] = self.download_dir / hashlib.md5(url.encode()).hexdigest()
            paths[name].write_bytes(self.files[url.removeprefix(download.FILES)])
        return paths


@pytest.fixture
def manager(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "CHUNK", 10)
    files = {str(p.relative_to(archive)): p.read_bytes() for p in archive.rglob("*") if p.is_file()}
    files |= {"LICENSE.txt": b"a licence", "RECORDS": b"training/ptb-xl/g1/\n"}
    sums = [f"{hashlib.sha256(data).hexdigest()} {name}" for name, data in sorted(files.items())]
    files["SHA256SUMS.txt"] = ("\n".join(sums) + "\n").encode()
    folder = tmp_path / "downloads"
    folder.mkdir()
    return FakeManager(folder, files)


def test_download_lays_the_archive_out(manager, archive):
    folder = download.fetch(manager)
    assert folder == manager.download_dir / "challenge-2020-1.0.2"
    expected = {p.relative_to(archive): p.read_bytes() for p in archive.rglob("*") if p.is_file()}
    assert {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == expected
    assert len(expected) == 52
    assert len(manager.asked) == 53
    assert not any("LICENSE" in url for url in manager.asked)
    assert [path.name for path in manager.download_dir.iterdir() if path.is_dir()] == [folder.name]


def test_download_goes_on_where_it_stopped(manager):
    manager.stop_after = 21
    with pytest.raises(DataError, match=r"stopped \(ConnectionError: no route\); run the same command again.*wget"):
        download.fetch(manager)
    manager.stop_after = None
    folder = download.fetch(manager)
    assert len(list(folder.rglob("*.*a*"))) == 52
    assert max(collections.Counter(url for url in manager.asked if "SHA256" not in url).values()) == 1


def test_download_refuses_files_with_wrong_checksums_and_asks_for_them_again(manager):
    name = "training/ptb/g1/S0001.mat"
    right, manager.files[name] = manager.files[name], b"something else"
    with pytest.raises(DataError, match=f"1 files from .* have wrong checksums .the first is {name}.*again"):
        download.fetch(manager)
    assert not (manager.download_dir / "challenge-2020-1.0.2" / name).exists()
    manager.files[name] = right
    before = len(manager.asked)
    folder = download.fetch(manager)
    assert (folder / name).read_bytes() == right
    assert [url.removeprefix(download.FILES) for url in manager.asked[before:]] == ["SHA256SUMS.txt", name]


def test_checksums_name_no_file_outside_of_the_folder():
    digest = "0" * 64
    text = f"{digest} ../x.mat\n{digest} training/../../x.mat\n{digest} /training/a.mat\n{digest} training/a/g1/x.mat\n"
    assert download.parse_checksums(text) == {"training/a/g1/x.mat": digest}
    with pytest.raises(DataError, match="lists no training record"):
        download.parse_checksums("<html>not found</html>")
