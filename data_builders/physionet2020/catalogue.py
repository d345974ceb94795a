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

PTBXL = "ptb-xl"
_REMEDY = (
    "give the one that holds PhysioNet's training/SOURCE/g*/NAME.hea, or leave --raw_dir out to download the archive"
)


def read(raw_dir: str | os.PathLike[str], ptbxl_database: str | os.PathLike[str] | None = None) -> Catalogue:
    """Reads all headers below `raw_dir` and deals the records out to folds.

    Args:
      raw_dir: any layout; PhysioNet's (training/SOURCE/g*/NAME.hea) tells the sources.
      ptbxl_database: PTB-XL's ptbxl_database.csv, which says whose recordings the records of that source are.

    Raises:
      DataError: if the folder or the table is missing, the folder holds no header, or the table is another.
    """
    paths = find(raw_dir)
    patients = read_patients(ptbxl_database) if ptbxl_database else {}
    found = entries.read_labelled(
        paths, len(physionet2020.CLASSES), lambda header: physionet2020.encode_labels(header.codes)
    )
    sources = [header.source or "unknown" for header in found.headers]
    names = [_patient(source, header, patients) for source, header in zip(sources, found.headers, strict=True)]
    unknown = sum(source == PTBXL and "/patient-" not in name for source, name in zip(sources, names, strict=True))
    if unknown:
        logging.warning("the patients of %d records of PTB-XL are not known: see --ptbxl_database", unknown)
    fold = stratify.assign_folds(found.labels, np.array(sources, str), np.array(names, str))
    built = [
        BuildEntry(header, source, name, int(k), tuple(row))
        for header, source, name, k, row in zip(found.headers, sources, names, fold, found.labels.tolist(), strict=True)
    ]
    return Catalogue(built, found.left_out, found.rejected)


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


def _patient(source: str, header: Header, patients: dict[int, str]) -> str:
    number = ptbxl_table.number(header.record_id) if source == PTBXL else None
    known = header.patient or patients.get(number or 0)
    return f"{source}/patient-{known}" if known else f"{source}/{header.record_id}"
