import filecmp
import functools
import hashlib
import http.server
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

import filelock
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders import build, folders, shards
from data_builders.physionet2020 import download
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.ecg.wfdb import read_header, read_signal
from lrhnet_jax.errors import DataError
from lrhnet_jax.tasks import physionet2017, physionet2020, ptbxl
from tests.helpers.disk import small_disk
from tests.helpers.wfdb_files import NSR, comments, write_record


def _rows(folder):
    source = tfds.builder_from_directory(folder).as_data_source("train")
    rows = [source[i] for i in range(len(source))]
    return {row["record_id"].decode(): row for row in rows}


def _same(a, b):
    """Whether two built folders hold the same bytes, but for the path of the archive in the report."""
    names = sorted(p.name for p in a.iterdir())
    assert names == sorted(p.name for p in b.iterdir())
    return all(filecmp.cmp(a / name, b / name, shallow=False) for name in names)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "RECORDS_PER_SHARD", 5)


def test_what_is_built(archive, ptbxl_database, tmp_path):
    folder = build.build("physionet2020", archive, tmp_path / "data", ptbxl_database=ptbxl_database, workers=1)
    assert folder == tmp_path / "data/physionet2020/paper/1.0.0"
    rows = _rows(folder)
    assert len(rows) == 24
    row = rows["HR00001"]
    header = read_header(archive / "training/ptb-xl/g1/HR00001.hea")
    expected = preprocessing.preprocess(read_signal(header), 500.0)
    assert row["signal"].dtype == np.float16
    np.testing.assert_array_equal(row["signal"], expected)
    np.testing.assert_array_equal(row["labels"], physionet2020.encode_labels(header.codes))
    np.testing.assert_allclose(row["demographics"], [0.4, 1, 1, 0, 1])
    assert row["source"] == b"ptb-xl"
    assert (row["rate"], row["length"]) == (500.0, 1000)
    assert {row["fold"] for row in rows.values()} == {0, 1, 2, 3, 4}
    assert len({rows[f"HR0000{i}"]["fold"] for i in range(1, 5)}) == 1
    report = json.loads((folder / "report.json").read_text())
    assert report["records"] == 24
    assert report["left_out_no_scored_class"] == 2
    assert report["rejected"] == []
    assert report["per_source"] == {"georgia": 8, "ptb": 4, "ptb-xl": 12}
    assert report["per_class"]["713427006"] == 3 + 4
    assert report["patients"] == 24 - 3
    assert sum(report["per_fold"].values()) == 24


@pytest.mark.slow
def test_number_of_workers_changes_nothing(archive, tmp_path, small_shards):
    one, two = (build.build("physionet2020", archive, tmp_path / str(n), workers=n) for n in (1, 2))
    assert len(list(one.glob("*array_record*"))) == 5
    assert _same(one, two)


def test_beam_builds_the_same(archive, tmp_path, small_shards):
    if importlib.util.find_spec("apache_beam") is None:
        pytest.skip("apache_beam is not installed: pip install 'lrhnet-jax[beam]'")
    write_record(archive / "training/ptb/g1", "S0200", checksums=[1] * 12)
    local = build.build("physionet2020", archive, tmp_path / "local", workers=1)
    beam = build.build("physionet2020", archive, tmp_path / "beam", beam=True)
    assert len(json.loads((beam / "report.json").read_text())["rejected"]) == 1
    assert _same(local, beam)


def test_beam_that_is_not_installed_is_an_error(archive, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    with pytest.raises(DataError, match=r"--beam needs Apache Beam: pip install 'lrhnet-jax\[beam\]'"):
        build.build("physionet2020", archive, tmp_path / "data", beam=True)


def test_preprocess_is_part_of_the_path(archive, tmp_path):
    folder = build.build("physionet2020", archive, tmp_path, preprocess="reference", workers=1)
    assert folder == tmp_path / "physionet2020/reference/1.0.0"
    header = read_header(archive / "training/ptb-xl/g1/HR00001.hea")
    expected = preprocessing.preprocess(read_signal(header), 500.0, preprocessing.REFERENCE)
    np.testing.assert_array_equal(_rows(folder)["HR00001"]["signal"], expected)


@pytest.fixture
def spoilt(archive):
    """The archive with a record of each kind that cannot be used; some show in the header, some in the signal."""
    georgia = archive / "training/georgia/g1"
    (georgia / "E00001.mat").unlink()
    write_record(georgia, "E00002", checksums=[5] * 12, comments=comments(NSR))
    (georgia / "E00003.hea").write_text("nonsense\n")
    values = np.random.default_rng(0).integers(-99, 99, (1000, 12)).astype(np.int16)
    values[3, 3] = -32768
    write_record(georgia, "E00004", values, comments=comments(NSR))
    write_record(georgia, "E00005", values[:, :11], leads=LEADS[:11], comments=comments(NSR))
    write_record(georgia, "E00006", values[:900], announced=(12, 1000), comments=comments(NSR))
    return archive


REASONS = {
    "E00001": "signal file E00001.mat: No such file or directory",
    "E00002": "checksum mismatch",
    "E00003": "unreadable header",
    "E00004": "non-finite samples",
    "E00005": "lacks lead V6",
    "E00006": "short signal: 900 of 1000 samples",
}


def test_unusable_records_are_listed_and_left_out(spoilt, tmp_path, capsys):
    status = build.main(["physionet2020", f"--raw_dir={spoilt}", f"--data_dir={tmp_path / 'data'}", "--workers=1"])
    assert status == 0
    folder = tmp_path / "data/physionet2020/paper/1.0.0"
    report = json.loads((folder / "report.json").read_text())
    assert report["records"] == len(_rows(folder)) == 18
    assert not set(REASONS) & set(_rows(folder))
    assert len(report["rejected"]) == len(REASONS)
    summary = capsys.readouterr().out
    assert "18 records" in summary
    assert "2 left out, which carry no class of the set" in summary
    assert f"6 rejected, all listed in {folder / 'report.json'}" in summary
    for item in report["rejected"]:
        name = item["path"].rsplit("/", 1)[1].removesuffix(".hea")
        assert REASONS[name] in item["reason"]
        assert f"{item['path']}: {item['reason']}" in summary


def test_strict_makes_them_an_error_and_builds_nothing(spoilt, tmp_path, capsys):
    arguments = ["physionet2020", f"--raw_dir={spoilt}", f"--data_dir={tmp_path / 'data'}", "--workers=1", "--strict"]
    assert build.main(arguments) == 1
    message = capsys.readouterr().err
    assert "6 records were rejected (--strict)" in message
    assert all(name in message and reason in message for name, reason in REASONS.items())
    assert [path.name for path in (tmp_path / "data/physionet2020/paper").iterdir()] == [".1.0.0.lock"]


def test_nothing_usable_is_an_error(tmp_path):
    write_record(tmp_path / "raw", "A1", comments=comments())
    with pytest.raises(DataError, match="no record can be used; 1 carry no scored class, 0 were rejected"):
        build.build("physionet2020", tmp_path / "raw", tmp_path / "data", workers=1)
    write_record(tmp_path / "raw", "A2", checksums=[1] * 12)
    with pytest.raises(DataError, match=r"no record can be used; all 1 were rejected:\n.*A2.hea: checksum mismatch"):
        build.build("physionet2020", tmp_path / "raw", tmp_path / "data", workers=1)


def test_missing_and_empty_raw_dir(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name, message in (("absent", "is not a folder; give the one"), ("empty", "holds no WFDB header")):
        raw = tmp_path / name
        assert build.main(["physionet2020", f"--raw_dir={raw}", f"--data_dir={tmp_path / 'data'}"]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert str(raw) in error
        assert "leave --raw_dir out to download" in error
    assert not (tmp_path / "data").exists()


def test_missing_table_is_an_error_before_anything_is_read(archive, tmp_path):
    with pytest.raises(DataError, match=r"ptbxl_database .*nowhere.csv.*No such file"):
        build.build("physionet2020", archive, tmp_path / "data", ptbxl_database=tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mitbih", {}, "unknown data set 'mitbih'; choose physionet2020, physionet2017, ptbxl, cpsc2018, synthetic"),
        ("physionet2020", {"preprocess": "mine"}, "unknown preprocess 'mine'; choose paper, reference"),
    ],
)
def test_unknown_names_list_the_known_ones(archive, tmp_path, name, options, message):
    with pytest.raises(DataError, match=message):
        build.build(name, archive, tmp_path / "data", **options)


def test_synthetic_set_is_not_downloaded(tmp_path):
    with pytest.raises(DataError, match="generated, not downloaded"):
        build.build("synthetic", None, tmp_path)
    with pytest.raises(DataError, match="give --records=1 or more"):
        build.build_synthetic(tmp_path, 0)


def test_built_set_is_left_alone_unless_told(archive, tmp_path, caplog):
    folder = build.build("physionet2020", archive, tmp_path, workers=1)
    (archive / "training/ptb/g1/S0001.hea").unlink()
    assert build.build("physionet2020", archive, tmp_path, workers=1) == folder
    assert "is built already and left as it is; --overwrite builds it again" in caplog.text
    assert len(_rows(folder)) == 24
    build.build("physionet2020", archive, tmp_path, workers=1, overwrite=True)
    assert len(_rows(folder)) == 23


KILLED = """
    import os, signal, sys
    from data_builders import build, folders, shards

    def killing(function, calls):
        def wrapped(*arguments, **options):
            global left
            result = function(*arguments, **options)
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        left_from(calls)
        return wrapped

    def left_from(calls):
        global left
        left = calls

    where, calls, raw, data = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
    if where == "example":
        shards.example = killing(shards.example, calls)
    else:
        import tensorflow_datasets as tfds
        tfds.core.DatasetInfo.write_to_directory = killing(tfds.core.DatasetInfo.write_to_directory, calls)
    build.build("physionet2020", raw, data, workers=1)
"""


@pytest.mark.parametrize(("where", "calls"), [("example", 1), ("example", 17), ("just before the end", 1)])
def test_killed_build_leaves_nothing_that_looks_finished(archive, tmp_path, where, calls):
    data = tmp_path / "data"
    command = [sys.executable, "-c", textwrap.dedent(KILLED), where, str(calls), str(archive), str(data)]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    left = [path.name for path in (data / "physionet2020/paper").iterdir() if not path.name.startswith(".")]
    assert len(left) == 1
    assert left[0].startswith("incomplete.")
    folder = build.build("physionet2020", archive, data, workers=1)
    assert [path.name for path in folder.parent.iterdir() if not path.name.startswith(".")] == ["1.0.0"]
    assert _same(folder, build.build("physionet2020", archive, tmp_path / "undisturbed", workers=1))


def test_second_build_waits_for_the_first(archive, tmp_path, caplog):
    folder = tmp_path / "physionet2020/paper/1.0.0"
    with folders.alone(folder):
        other = threading.Thread(target=build.build, args=("physionet2020", archive, tmp_path), kwargs={"workers": 1})
        other.start()
        while "waiting for another process" not in caplog.text:
            assert other.is_alive()
            time.sleep(0.05)
        assert not folder.exists()
    other.join()
    assert len(_rows(folder)) == 24


def test_worker_ends_when_its_parent_is_killed(tmp_path):
    """A pool's workers wait on pipes that they hold open themselves: without a watch they outlive their parent."""
    script = """
        import concurrent.futures, multiprocessing, os, time
        from data_builders import shards
        if __name__ == "__main__":
            context = multiprocessing.get_context("spawn")
            pool = concurrent.futures.ProcessPoolExecutor(1, context, shards._start_worker, (None,))
            print(pool.submit(os.getpid).result(), flush=True)
            time.sleep(60)
    """
    path = tmp_path / "parent.py"
    path.write_text(textwrap.dedent(script))
    with subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()}
    ) as process:
        worker = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and _alive(worker):
        time.sleep(0.1)
    assert not _alive(worker)


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_long_record_among_short_ones(archive, tmp_path):
    """INCART: half an hour at 257 Hz needs no resampling, and is kept whole."""
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.integers(-9, 10, (462600, 12)), 0).astype(np.int16)
    values[values == -32768] = 0
    write_record(archive / "training/st_petersburg_incart/g1", "I0001", values, rate="257", comments=comments(NSR))
    row = _rows(build.build("physionet2020", archive, tmp_path, workers=1))["I0001"]
    assert row["signal"].shape == (462600, 12)
    np.testing.assert_allclose(row["signal"].astype(np.float32).std(0), 1, rtol=1e-3)
    assert row["rate"] == 257


def test_synthetic_set(tmp_path):
    folder = build.build_synthetic(tmp_path, records=12, seed=3, workers=1)
    assert folder == tmp_path / "synthetic/paper/1.0.0"
    report = json.loads((folder / "report.json").read_text())
    assert report["rejected"] == []
    assert report["records"] + report["left_out_no_scored_class"] == 12
    assert len(_rows(folder)) == report["records"] > 0
    assert _same_records(folder, build.build_synthetic(tmp_path / "again", records=12, seed=3, workers=1))


@pytest.mark.parametrize(
    ("kind", "preprocess", "classes"),
    [("ptbxl", "100hz", ptbxl.CLASSES), ("physionet2017", None, physionet2017.CLASSES)],
)
def test_synthetic_sets_of_other_classes(tmp_path, kind, preprocess, classes):
    options = {"records": 12, "seed": 3, "kind": kind, "preprocess": preprocess, "workers": 1}
    folder = build.build_synthetic(tmp_path, **options)
    assert folder == tmp_path / f"synthetic_{kind}" / (preprocess or "300hz") / "1.0.0"
    report = json.loads((folder / "report.json").read_text())
    assert (report["synthetic"], report["classes"], report["rejected"]) == (True, list(classes), [])
    assert "nobody was recorded" in report["notice"] and report["notice"] in build.summary(folder)
    rows = _rows(folder)
    assert len(rows) == report["records"] == 12 - report["left_out_no_scored_class"] > 8
    assert ("published_fold" in next(iter(rows.values()))) is (kind == "ptbxl")
    assert _same_records(folder, build.build_synthetic(tmp_path / "again", **options))


def test_what_cannot_be_generated_is_an_error(tmp_path):
    with pytest.raises(
        DataError, match="no ECGs can be generated for 'cpsc2018'; choose physionet2020, physionet2017, p"
    ):
        build.build_synthetic(tmp_path, 8, kind="cpsc2018")
    with pytest.raises(DataError, match="the set synthetic_ptbxl is generated, not downloaded"):
        build.build("synthetic_ptbxl", None, tmp_path)


def test_synthetic_set_from_the_command_line(tmp_path, capsys):
    arguments = ["synthetic", f"--data_dir={tmp_path}", "--records=8", "--workers=1", "--preprocess=reference"]
    assert build.main(arguments) == 0
    assert str(tmp_path / "synthetic/reference/1.0.0") in capsys.readouterr().out
    assert build.main(["synthetic_physionet2017", f"--data_dir={tmp_path}", "--records=5", "--workers=1"]) == 0
    assert "training2017 5" in capsys.readouterr().out


def _same_records(a, b):
    """The reports name different temporary folders; the records are the same."""
    names = sorted(path.name for path in a.glob("*array_record*"))
    return bool(names) and all(filecmp.cmp(a / name, b / name, shallow=False) for name in names)


@pytest.fixture
def server(archive, monkeypatch):
    """PhysioNet's files behind a web server of this machine; yields the paths that were asked for."""
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(archive)}"
        for path in sorted(archive.rglob("*.*"))
    ]
    (archive / "SHA256SUMS.txt").write_text("\n".join(sums) + "\n")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(archive))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(download, "FILES", f"http://127.0.0.1:{httpd.server_port}/")
        yield asked
        httpd.shutdown()


def test_archive_is_downloaded_where_no_folder_is_given(server, archive, tmp_path):
    broken = archive / "training/ptb/g1/S0001.mat"
    right = broken.read_bytes()
    broken.write_bytes(right[:-2] + b"xx")
    with pytest.raises(DataError, match=r"1 files from .* have wrong checksums"):
        build.build("physionet2020", None, tmp_path / "data", workers=1)
    broken.write_bytes(right)
    before = len(server)
    folder = build.build("physionet2020", None, tmp_path / "data", workers=1)
    assert set(server[before:]) <= {"/SHA256SUMS.txt", "/training/ptb/g1/S0001.mat"}
    assert _same_records(folder, build.build("physionet2020", archive, tmp_path / "local", workers=1))


def test_what_killed_builds_left_in_the_temporary_folder_is_removed_and_what_is_in_use_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, used = tmp_path / "lrhnet-synthetic-left", tmp_path / "lrhnet-synthetic-used"
    for folder in (left, used):
        folder.mkdir()
        (folder / "record.mat").write_bytes(b"1234")
    with filelock.FileLock(used / ".lock"), folders.scratch() as raw:
        assert pathlib.Path(raw).is_dir() and not left.exists() and (used / "record.mat").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["lrhnet-synthetic-used"]


@pytest.mark.parametrize("full", ["data_dir", "temporary"])
def test_a_full_disk_is_told_in_one_line(tmp_path, monkeypatch, capsys, full):
    with small_disk(tmp_path / "disk", megabytes=1):
        if full == "temporary":
            monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))
        data_dir = tmp_path / "disk/data" if full == "data_dir" else tmp_path / "data"
        assert build.main(["synthetic", f"--data_dir={data_dir}", "--records=60", "--workers=1"]) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and "No space left on device" in error[0] and "the same command then goes on" in error[0]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["file", "standard input"])
def test_a_script_without_a_guard_that_generates_a_set_is_told_so(tmp_path, way):
    code = f"from data_builders import build\nbuild.build_synthetic({str(tmp_path / 'data')!r}, 80, workers=2)\n"
    script = tmp_path / "script.py"
    script.write_text(code)
    root = pathlib.Path(__file__).parents[2]
    command = [sys.executable, str(script) if way == "file" else "-"]
    given = {"env": {**os.environ, "PYTHONPATH": str(root)}, "cwd": tmp_path, "timeout": 300}
    run = subprocess.run(command, input=None if way == "file" else code, capture_output=True, text=True, **given)
    assert run.returncode == 1
    assert (
        "DataError: a worker process ended before it began: a script that builds sets does so below `if __name__"
        in (run.stderr.splitlines()[-1])
    )
