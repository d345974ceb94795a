import contextlib
import os
import pathlib
import stat

import numpy as np
import pytest

from lrhnet_jax.ecg import wfdb_header
from lrhnet_jax.ecg.files import beside, find_files, printable, read_regular
from lrhnet_jax.ecg.wfdb import RecordError, find_headers, read_header, read_signal
from lrhnet_jax.errors import UserError
from tests.helpers.plain_record import MILLIVOLTS, PLAIN, signal_lines, write, write_plain

LATIN_1 = os.fsdecode(b"pr\xfcf")


def test_each_record_is_found_once_whatever_links_point_where(tmp_path):
    inside, outside = tmp_path / "raw" / "b", tmp_path / "elsewhere"
    paths = [write_plain(inside, "one"), write_plain(inside / "deep", "two")]
    write_plain(outside, "three")
    (tmp_path / "raw" / "a").symlink_to(inside)  # before its target in the order of names
    (tmp_path / "raw" / "again").symlink_to(tmp_path / "raw")
    (inside / "deep" / "up").symlink_to("../..")
    (tmp_path / "raw" / "one.hea").symlink_to(inside / "one.hea")
    (tmp_path / "raw" / "c").symlink_to(outside)
    (tmp_path / "raw" / "d").symlink_to(outside)
    (tmp_path / "raw" / "lost").symlink_to("nowhere")
    assert find_headers(tmp_path / "raw") == sorted([*paths, tmp_path / "raw" / "c" / "three.hea"])


def test_a_folder_of_links_to_files_is_read(tmp_path):
    write_plain(tmp_path / "store", "x")
    (tmp_path / "raw").mkdir()
    for name in ("x.hea", "x.dat"):
        (tmp_path / "raw" / name).symlink_to(tmp_path / "store" / name)
    (path,) = find_headers(tmp_path / "raw")
    np.testing.assert_array_equal(read_signal(read_header(path), ("I", "II")), MILLIVOLTS)


def test_sidecars_and_hidden_files_are_passed_by(tmp_path):
    path = write_plain(tmp_path, "x")
    for name in ("._x.hea", ".x.hea", "x.hea~", "x.hea.bak", "x.heap"):
        (tmp_path / name).write_bytes(path.read_bytes())
    for folder in (".git", "__MACOSX", "x.hea.d"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "._y.hea").write_bytes(b"")
    (tmp_path / "folder.hea").mkdir()
    assert find_headers(tmp_path) == [path]


def test_archives_in_capitals_are_found_and_read(tmp_path):
    write_plain(tmp_path, "a0001")
    (tmp_path / "a0001.hea").rename(tmp_path / "A0001.HEA")
    (tmp_path / "a0001.dat").rename(tmp_path / "A0001.DAT")
    (path,) = find_headers(tmp_path)
    header = read_header(path)
    assert (path.name, header.record_id) == ("A0001.HEA", "A0001")
    np.testing.assert_array_equal(read_signal(header, ("I", "II")), MILLIVOLTS)


def test_suffixes_of_several_kinds(tmp_path):
    for name in ("a.edf", "b.EDF", "c.csv", "d.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_files(tmp_path, (".edf", ".csv"))] == ["a.edf", "b.EDF", "c.csv"]


def test_names_that_are_not_utf_8_are_read_and_escaped(tmp_path):
    write_plain(tmp_path, LATIN_1)
    (path,) = find_headers(tmp_path)
    header = read_header(path)
    assert header.record_id == r"pr\xfcf"
    np.testing.assert_array_equal(read_signal(header, ("I", "II")), MILLIVOLTS)
    (tmp_path / f"{LATIN_1}.dat").unlink()
    with pytest.raises(RecordError) as error:
        read_signal(header, ("I", "II"))
    assert error.value.path == f"{tmp_path}/pr\\xfcf.hea"
    str(error.value).encode()


@pytest.mark.parametrize("name", ["x", "ü", "心電図", r"back\slash"])
def test_names_that_are_utf_8_stay(name):
    assert printable(name) == name


OUTSIDE = ["../s.dat", "/etc/passwd", "a/../../s.dat", "..", ".", "C:\\s.dat", "\\\\host\\s.dat", "a\\..\\s.dat", "\0"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_in_a_text_leads_nowhere_else(tmp_path, name):
    with pytest.raises(UserError, match=r"names the file .* which is not in its folder or below it"):
        beside(tmp_path, name)


@pytest.mark.parametrize("name", ["../s", "/etc/passwd", "/dev/zero", "/proc/self/environ", "a/../../s"])
@pytest.mark.parametrize("kind", ["signal", "segment"])
def test_a_record_opens_nothing_outside_of_its_folder(tmp_path, name, kind):
    (tmp_path / "s").write_bytes(PLAIN.tobytes())
    write_plain(tmp_path, "s")
    if kind == "signal":
        path = write(tmp_path / "raw", "x", signal_lines(name, PLAIN, sums=False))
    else:
        path = write(tmp_path / "raw", "x", [f"{name} 5000"], record="x/1 2 500 5000")
    with pytest.raises(RecordError, match=r"names the file .* which is not in its folder"):
        read_signal(read_header(path), ("I", "II"))
    assert find_headers(tmp_path / "raw") == [path]


def test_a_file_below_the_folder_is_in_it(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "s.dat").write_bytes(PLAIN.tobytes())
    path = write(tmp_path, "x", signal_lines("sub/s.dat", PLAIN))
    np.testing.assert_array_equal(read_signal(read_header(path), ("I", "II")), MILLIVOLTS)


@pytest.mark.parametrize("suffix", [".hea", ".dat"])
@pytest.mark.parametrize("kind", ["pipe", "link to a device", "folder", "link to itself"])
def test_what_is_not_a_file_is_refused_unopened(tmp_path, suffix, kind):
    path = write_plain(tmp_path, "x")
    target = path.with_suffix(suffix)
    target.unlink()
    if kind == "pipe":
        os.mkfifo(target)
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to("/dev/zero" if kind == "link to a device" else target)
    with pytest.raises(RecordError, match=r"is a folder|is a pipe, a device|Too many levels of symbolic links"):
        read_signal(read_header(path), ("I", "II"))


def test_a_large_file_is_read_as_far_as_its_header_says(tmp_path):
    path = write_plain(tmp_path, "x")
    with open(tmp_path / "x.dat", "r+b") as file:
        file.truncate(100 * 2**30)  # takes no room on the disk
    np.testing.assert_array_equal(read_signal(read_header(path), ("I", "II")), MILLIVOLTS)
    assert len(read_regular(tmp_path / "x.dat", 10)) == 10


def test_a_header_of_ten_gigabytes_is_refused(tmp_path):
    path = write_plain(tmp_path, "x")
    with open(path, "r+b") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(RecordError, match=r"unreadable header .more than"):
        read_header(path)


def test_unreadable_folders_are_passed_by(tmp_path):
    path = write_plain(tmp_path, "x")
    write_plain(tmp_path / "locked", "y")
    (tmp_path / "locked").chmod(0)
    try:
        found = find_headers(tmp_path)
    finally:
        (tmp_path / "locked").chmod(stat.S_IRWXU)
    assert path in found  # a superuser finds both


BLANKS = " " * 100_000
ENDLESS = {
    "blank comment": f"#{BLANKS}x",
    "blank age": f"# Age:{BLANKS}:",
    "commas": f"#Dx:{',' * 100_000}",
    "blanks before the format": f"x.dat{BLANKS}16 1",
    "blanks before the gain": f"x.dat 16{BLANKS}x{BLANKS}1",
    "digits": "9" * 100_000,
    "digits of a gain": f"x.dat 16 {'1' * 100_000}",
    "formats": f"x.dat {'16x' * 50_000}",
}


@pytest.mark.parametrize("line", ENDLESS.values(), ids=list(ENDLESS))
@pytest.mark.parametrize("at", [0, 1, 2])
def test_no_text_keeps_the_parser_busy(line, at):
    lines = ["x 2 500 5000", "x.dat 16 1000/mV 16 0 0 0 0 I", "x.dat 16 1000/mV 16 0 0 0 0 II", "#Age: 61"]
    lines.insert(at, line)
    start = os.times().user
    with contextlib.suppress(UserError):
        wfdb_header.parse(pathlib.Path("x.hea"), "\n".join(lines).encode())
    assert os.times().user - start < 1
