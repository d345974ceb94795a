"""What is in an archive of Challenge 2017: its records, their labels, which of them are the same, and the folds."""

import hashlib
import logging
import os
import pathlib
from typing import NamedTuple

import numpy as np
import tqdm

from data_builders.entries import BuildEntry, Catalogue
from lrhnet_jax.ecg import stratify
from lrhnet_jax.ecg.wfdb import Header, RecordError, find_headers, read_header, read_signal
from lrhnet_jax.errors import DataError
from lrhnet_jax.tasks.physionet2017 import CLASSES, FOLDERS, REFERENCES, find_reference, read_reference

HOMEPAGE = "https://physionet.org/content/challenge-2017/1.0.0/"
SOURCE = "training2017"
LEAD = "ECG"  # as the headers call it


class Found(NamedTuple):
    """The files of an archive: headers sorted by path, and the table of labels."""

    headers: list[pathlib.Path]
    reference: pathlib.Path


def find(raw_dir: str | os.PathLike[str] | None) -> Found:
    """Returns the files of the archive in `raw_dir`: training2017/ of training2017.zip, or training/A00/ and so on.

    Raises:
      DataError: if there is no such folder, no header, or no table of labels in it.
    """
    remedy = f"get training2017.zip and REFERENCE-v3.csv from {HOMEPAGE} and give the folder that holds them"
    if raw_dir is None:
        raise DataError(f"physionet2017 needs --raw_dir: {remedy}")
    if not pathlib.Path(raw_dir).is_dir():
        raise DataError(f"raw_dir {str(raw_dir)!r} is not a folder; {remedy}, unpacked")
    folders = [pathlib.Path(raw_dir, name) for name in FOLDERS]
    headers: list[pathlib.Path] = next(filter(None, map(find_headers, folders)), [])
    if not headers:
        raise DataError(f"raw_dir {str(raw_dir)!r} holds no WFDB header (*.hea) at any depth; {remedy}, unpacked")
    reference = find_reference(raw_dir)
    if reference is None:
        raise DataError(
            f"raw_dir {str(raw_dir)!r} holds no labels: {' or '.join(REFERENCES)} is expected in it or in its "
            f"{FOLDERS[0]}/ or {FOLDERS[1]}/; {remedy}"
        )
    return Found(headers, reference)


def read(raw_dir: str | os.PathLike[str] | None) -> Catalogue:
    """Reads all records in `raw_dir` and deals them out to folds, stratified by class.

    Signals are read here too, and again when they are written: records with the same samples count as one patient's
    (nothing else is known of patients), and a broken one is rejected before it takes a place in a fold.

    Raises:
      DataError: as `find` and `read_reference`.
    """
    paths, reference = find(raw_dir)
    labels = read_reference(reference)
    headers: dict[str, Header] = {}
    digests: dict[str, list[str]] = {}
    rejected: list[tuple[str, str]] = []
    for path in tqdm.tqdm(paths, desc="read records", unit="record", disable=None):
        try:
            if path.stem in headers:
                raise RecordError(path, f"the same record as {headers[path.stem].path}")
            _check_label(path, labels.get(path.stem, ()), reference)
            header = read_header(path)
            signal = read_signal(header, (LEAD,))
        except RecordError as error:
            rejected.append((error.path, error.reason))
            continue
        headers[header.record_id] = header
        digest = hashlib.blake2b(signal.tobytes(), digest_size=16).hexdigest()
        digests.setdefault(digest, []).append(header.record_id)
    unused = len(labels.keys() - {path.stem for path in paths})
    if unused:
        logging.warning("%s labels %d records that are not in %s", reference, unused, raw_dir)
    duplicates = [ids for ids in digests.values() if len(ids) > 1]
    for ids in duplicates:
        logging.warning("the same signal under %d names, kept in one fold: %s", len(ids), ", ".join(ids))
    first = {record: ids[0] for ids in digests.values() for record in ids}
    one_hot = np.array([[labels[record][0] == name for name in CLASSES] for record in headers]).reshape(
        -1, len(CLASSES)
    )
    patients = [f"{SOURCE}/{first[record]}" for record in headers]
    fold = stratify.assign_folds(one_hot, np.full(len(headers), SOURCE), np.array(patients, str))
    entries = [
        BuildEntry(header, SOURCE, patient, int(k), tuple(row))
        for header, patient, k, row in zip(headers.values(), patients, fold, one_hot.tolist(), strict=True)
    ]
    report = {
        "duplicates": [{"records": ids, "labels": [labels[record][0] for record in ids]} for ids in duplicates],
        "labels_without_record": unused,
        "reference": str(reference),
    }
    return Catalogue(entries, 0, rejected, report)


def _check_label(path: pathlib.Path, labels: tuple[str, ...], reference: pathlib.Path) -> None:
    """Raises RecordError unless a record has exactly one label, and a known one."""
    if not labels:
        raise RecordError(path, f"has no label in {reference.name}")
    if len(labels) > 1:
        raise RecordError(path, f"has several labels in {reference.name}: {', '.join(labels)}")
    if labels[0] not in CLASSES:
        raise RecordError(path, f"unknown label {labels[0]!r} in {reference.name}; {', '.join(CLASSES)} are known")
