"""A small disk of its own, to fill or to make read-only."""

import contextlib
import subprocess

import pytest


@contextlib.contextmanager
def small_disk(folder, megabytes=4):
    """Mounts a disk of so many megabytes on `folder`, which skips the test where that is not allowed; yields a function
    that makes it read-only."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a disk cannot be mounted here ({error})")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder, leave=0):
    """Fills the disk up, but for `leave` bytes; returns the file that does."""
    file = folder / "filler"
    with contextlib.suppress(OSError), file.open("wb") as out:
        while True:
            out.write(bytes(64 << 10))
            out.flush()
    if leave:
        with file.open("r+b") as out:
            out.truncate(max(0, file.stat().st_size - leave))
    return file
