"""Folders that one build alone may use, and what killed builds have left in them."""

import contextlib
import logging
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import filelock

from lrhnet_jax.errors import as_storage_error

SCRATCH = "lrhnet-synthetic-"  # begins the names of temporary folders


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """A temporary folder for generated records; removes those that killed builds have left behind.

    A build holds a lock in its folder, which the system lets go when the process ends, however it ends.
    """
    for left in pathlib.Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        try:
            with filelock.FileLock(left / ".lock", timeout=0):
                pass
        except (filelock.Timeout, OSError):  # in use, or another user's
            continue
        logging.warning("removing %s, left behind by a build that was killed", left)
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as raw, filelock.FileLock(pathlib.Path(raw, ".lock")):
        try:
            yield raw
        except OSError as error:
            if told := as_storage_error(error, raw):
                raise told from error
            raise


@contextlib.contextmanager
def alone(folder: pathlib.Path) -> Iterator[None]:
    """Holds the only build of `folder`, and removes what killed ones have left beside it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder.parent / f".{folder.name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logging.warning("waiting for another process that builds %s", folder)
        lock.acquire()
    try:
        for left in folder.parent.glob(f"incomplete.*_{folder.name}"):
            logging.warning("removing %s, left behind by a build that was killed", left)
            shutil.rmtree(left)
        yield
    finally:
        lock.release()
