"""What is in an archive, from its headers alone: labels, patients and folds, before any signal is read."""

import csv
import logging
import os
import pathlib
import re

import numpy as np
import tqdm

from data_builders import folds, records
from data_builders.entries import Catalogue, Entry
from lrhnet_jax import ecg
from lrhnet_jax.errors import DataError

PTBXL = "ptb-xl"


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
    headers: dict[tuple[str, str], records.Header] = {}
    rejected: list[tuple[str, str]] = []
    left_out = 0
    for path in tqdm.tqdm(paths, desc="read headers", unit="record", disable=None):
        try:
            header = records.read_header(path)
        except records.RecordError as error:
            rejected.append((error.path, error.reason))
            continue
        key = header.source or "unknown", header.record_id
        if key in headers:
            rejected.append((str(path), f"the same record as {headers[key].path}"))
        elif ecg.encode_labels(header.codes).any():
            headers[key] = header
        else:
            left_out += 1
    names = [_patient(source, header, patients) for (source, _), header in headers.items()]
    unknown = sum(source == PTBXL and "/patient-" not in name for (source, _), name in zip(headers, names, strict=True))
    if unknown:
        logging.warning("the patients of %d records of PTB-XL are not known: see --ptbxl_database", unknown)
    labels = np.array([ecg.encode_labels(header.codes) for header in headers.values()]).reshape(-1, len(ecg.CLASSES))
    fold = folds.assign_folds(labels, np.array([source for source, _ in headers], str), np.array(names, str))
    entries = [
        Entry(header, source, name, int(k), tuple(row))
        for ((source, _), header), name, k, row in zip(headers.items(), names, fold, labels.tolist(), strict=True)
    ]
    return Catalogue(entries, left_out, rejected)


def find(raw_dir: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Returns the headers below `raw_dir`; raises DataError if there is no such folder, or no header in it."""
    if not pathlib.Path(raw_dir).is_dir():
        raise DataError(
            f"raw_dir {str(raw_dir)!r} is no folder; give the one that holds PhysioNet's training/SOURCE/g*/NAME.hea, "
            "or leave --raw_dir out to download the archive"
        )
    paths = records.find_headers(raw_dir)
    if not paths:
        raise DataError(
            f"raw_dir {str(raw_dir)!r} holds no WFDB header (*.hea) at any depth; unpack the archive there, or leave "
            "--raw_dir out to download it"
        )
    return paths


def read_patients(path: str | os.PathLike[str]) -> dict[int, str]:
    """Returns the patient of each record number of PTB-XL, from its ptbxl_database.csv.

    Raises:
      DataError: if the file is missing, lacks the columns ecg_id and patient_id, or holds something else in them.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            # Some releases write patients as floats: "11315.0".
            return {
                int(float(row["ecg_id"])): f"{float(row['patient_id']):.0f}"
                for row in csv.DictReader(file)
                if row["patient_id"]
            }
    except OSError as error:
        raise DataError(
            f"ptbxl_database {str(path)!r}: {error.strerror}; it is the ptbxl_database.csv of "
            "https://physionet.org/content/ptb-xl/"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"ptbxl_database {str(path)!r} is not PTB-XL's table: columns ecg_id and patient_id of numbers expected"
        ) from error


def _patient(source: str, header: records.Header, patients: dict[int, str]) -> str:
    number = re.fullmatch(r"HR(\d+)", header.record_id)
    known = header.patient
    if known is None and source == PTBXL and number:
        known = patients.get(int(number[1]))
    return f"{source}/patient-{known}" if known else f"{source}/{header.record_id}"
