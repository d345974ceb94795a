"""Reads a built set: into arrays, or into a file from which larger signals than fit in memory are mapped into it."""

import hashlib
import logging
import os
import pathlib
import shutil
import tempfile
import zipfile
from typing import Any

import filelock
import numpy as np
import tqdm

from lrhnet_jax.errors import DataError
from lrhnet_jax.runtime import host

logger = logging.getLogger(__name__)

PART = 64  # records that a thread reads at a time
HALF = np.dtype(np.float16)
Columns = dict[str, np.ndarray]  # the fields of `dataset.Dataset` that have a row a record, but `offsets`


def open_set(path: pathlib.Path) -> Any:
    """Returns a set's TFDS data source.

    Raises:
      DataError: if the folder holds no readable set, or an empty one.
    """
    import tensorflow_datasets as tfds  # slow to import, and evaluation of raw records does not need it

    try:
        source = tfds.builder_from_directory(path).as_data_source("train")
        n = len(source)
    except Exception as error:
        raise DataError(f"{path}: not a readable data set ({error}); build it again") from error
    if not n:
        raise DataError(f"{path}: the data set is empty; build it again from a folder with labelled records")
    return source


def most_samples(source: Any, leads: int) -> int:
    """Returns a number of samples, little above the true one, that the set's signals cannot exceed."""
    return source.dataset_info.splits["train"].num_bytes // (leads * HALF.itemsize)


def read(path: pathlib.Path, source: Any, signals: np.ndarray) -> Columns:
    """Writes the samples of all records, one after another, to `signals` (at least as many, leads); one pass.

    Raises:
      DataError: if `signals` is too small.
    """
    rows: list[dict[str, Any]] = []
    parts = [range(start, min(start + PART, len(source))) for start in range(0, len(source), PART)]
    end = 0
    with tqdm.tqdm(total=len(source), desc=f"load {path.parts[-3]}", unit="record", disable=None) as bar:
        for part in host.ahead(lambda part: [source[i] for i in part], parts, depth=2):
            for row in part:
                signal = row.pop("signal")
                start, end = end, end + len(signal)
                if end > len(signals):
                    raise DataError(f"{path}: holds more samples than dataset_info.json says; build it again")
                signals[start:end] = signal
                rows.append(row | {"length": len(signal)})
            bar.update(len(part))

    def column(key: str, dtype: Any) -> np.ndarray:
        return np.array([row[key].decode() if isinstance(row[key], bytes) else row[key] for row in rows], dtype)

    columns = {
        "lengths": column("length", np.int32),
        "labels": column("labels", bool),
        "demographics": column("demographics", np.float32),
        "record_ids": column("record_id", str),
        "sources": column("source", str),
        "patients": column("patient", str),
        "folds": column("fold", np.int32),
    }
    if "published_fold" in rows[0]:
        columns["published_folds"] = column("published_fold", np.int32)
    return columns


def map_file(path: pathlib.Path, source: Any, leads: int) -> tuple[np.ndarray, Columns]:
    """Returns a set's signals, mapped into memory, and its other fields.

    They are read from PATH/memory_map-KEY, which is written at the first call. The key tells the state of the files
    that it was made from: when they change, it is made anew.

    Raises:
      DataError: if it cannot be written, or was damaged.
    """
    files = [path / "dataset_info.json", *sorted(path.glob("*array_record*"))]
    states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    folder = path / f"memory_map-{hashlib.sha256(repr(states).encode()).hexdigest()[:16]}"
    try:
        if not folder.exists():
            _write_map(path, source, leads, folder)
        with np.load(folder / "records.npz", allow_pickle=False) as fields:
            columns = {name: fields[name] for name in fields.files}
        rows = int(columns["lengths"].sum())
        if (size := (folder / "signals.f16").stat().st_size) != rows * leads * HALF.itemsize:
            raise DataError(f"{folder}: signals.f16 has {size} bytes, which are not {rows} samples; delete the folder")
        return np.memmap(folder / "signals.f16", HALF, "r", shape=(rows, leads)), columns
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{folder}: cannot be used ({error}); a set that is larger than memory needs its folder writable, and "
            "space for its samples there"
        ) from error


def _write_map(path: pathlib.Path, source: Any, leads: int, folder: pathlib.Path) -> None:
    with filelock.FileLock(path / ".memory_map.lock"):
        if folder.exists():  # another process has made it meanwhile
            return
        # Of an earlier build, or left by a process that was killed.
        for old in (*path.glob("memory_map-*"), *path.glob("incomplete-map-*")):
            shutil.rmtree(old)
        logger.info("writing the samples to %s (once), to map them into memory", folder)
        with tempfile.TemporaryDirectory(dir=path, prefix="incomplete-map-") as scratch:
            made = pathlib.Path(scratch, "made")
            made.mkdir()
            signals = np.memmap(made / "signals.f16", HALF, "w+", shape=(most_samples(source, leads), leads))
            columns = read(path, source, signals)
            signals.flush()
            del signals  # some systems change no file that is mapped
            os.truncate(made / "signals.f16", columns["lengths"].sum() * leads * HALF.itemsize)
            np.savez(made / "records.npz", allow_pickle=False, **columns)
            os.rename(made, folder)
