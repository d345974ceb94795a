"""What is in an archive, from its headers alone: labels, patients and folds, before any signal is read."""

import logging
import os
import pathlib

import numpy as np

from data_builders import entries
from data_builders.entries import BuildEntry, Catalogue
from lrhnet_jax.ecg import stratify
from lrhnet_jax.ecg.wfdb import Header
from lrhnet_jax.tasks import physionet2020, ptbxl_table

PTBXL = ptbxl_table.SOURCE
# Folders into which the archives of Challenges 2020 and 2021 unpack by hand -> source. Several of 2020's unpack into
# WFDB: their records are of the source "unknown", but for those of PTB-XL, whose names tell.
ARCHIVES = {
    "training_wfdb": "cpsc_2018",
    "training_2": "cpsc_2018_extra",
    "wfdb_cpsc2018": "cpsc_2018",
    "wfdb_cpsc2018_2": "cpsc_2018_extra",
    "wfdb_stpetersburg": "st_petersburg_incart",
    "wfdb_ptb": "ptb",
    "wfdb_ptbxl": PTBXL,
    "wfdb_ga": "georgia",
    "wfdb_chapmanshaoxing": "chapman_shaoxing",
    "wfdb_ningbo": "ningbo",
}
ARCHIVES |= {source: source for source in ARCHIVES.values()}
_REMEDY = (
    "give the one that holds PhysioNet's training/SOURCE/g*/NAME.hea, or leave --raw_dir out to download the archive"
)


def read(raw_dir: str | os.PathLike[str], ptbxl_database: str | os.PathLike[str] | None = None) -> Catalogue:
    """Reads all headers below `raw_dir` and deals the records out to folds.

    Args:
      raw_dir: any layout; PhysioNet's (training/SOURCE/g*/NAME.hea) and the names of its archives tell the sources.
      ptbxl_database: PTB-XL's ptbxl_database.csv, which says whose recordings the records with its numbers are,
        wherever they lie.

    Raises:
      DataError: if the folder or the table is missing, the folder holds no header, or the table is another or knows
        none of the records.
    """
    paths = find(raw_dir)
    patients = read_patients(ptbxl_database) if ptbxl_database else {}
    if ptbxl_database:
        ptbxl_table.check_matches(ptbxl_database, patients, [path.stem for path in paths])

    def source_of(header: Header) -> str:
        return _source(header, pathlib.Path(raw_dir))

    labelled = entries.read_labelled(
        paths, len(physionet2020.CLASSES), lambda header: physionet2020.encode_labels(header.codes), source_of
    )
    sources = [source_of(header) for header in labelled.headers]
    names = [_patient(source, header, patients) for source, header in zip(sources, labelled.headers, strict=True)]
    unknown = sum(source == PTBXL and "/patient-" not in name for source, name in zip(sources, names, strict=True))
    if unknown:
        logging.warning("the patients of %d records of PTB-XL are not known: see --ptbxl_database", unknown)
    fold = stratify.assign_folds(labelled.labels, np.array(sources, str), np.array(names, str))
    built = [
        BuildEntry(header, source, name, int(k), tuple(row))
        for header, source, name, k, row in zip(
            labelled.headers, sources, names, fold, labelled.labels.tolist(), strict=True
        )
    ]
    return Catalogue(built, labelled.left_out, labelled.rejected)


def find(raw_dir: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Returns the headers below `raw_dir`; raises DataError if there is no such folder, or no header in it."""
    return entries.find_headers(raw_dir, _REMEDY)


def read_patients(path: str | os.PathLike[str]) -> dict[int, str]:
    """Returns the patient of each record number of PTB-XL, from its ptbxl_database.csv.

    Raises:
      DataError: if the file is missing, lacks the columns ecg_id and patient_id, or holds something else in them.
    """
    table = ptbxl_table.read(path, required=("ecg_id", "patient_id"))
    return {number: row.patient for number, row in table.items() if row.patient}


def _source(header: Header, raw_dir: pathlib.Path) -> str:
    """Where a record comes from: by the layout, by the folder into which its archive unpacks, or by PTB-XL's names."""
    if header.source:
        return header.source
    folders = [raw_dir.absolute().name, *header.path.relative_to(raw_dir).parts[:-1]]
    known = [ARCHIVES[name.casefold()] for name in folders if name.casefold() in ARCHIVES]
    return known[-1] if known else PTBXL if ptbxl_table.number(header.record_id) else "unknown"


def _patient(source: str, header: Header, patients: dict[int, str]) -> str:
    known = patients.get(ptbxl_table.number(header.record_id) or 0)
    if known:
        return f"{PTBXL}/patient-{known}"
    return f"{source}/patient-{header.patient}" if header.patient else f"{source}/{header.record_id}"
