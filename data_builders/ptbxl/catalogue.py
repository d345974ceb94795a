"""What is in an archive of PTB-XL: its records, with labels, patients and folds from PTB-XL's own table."""

import collections
import dataclasses
import logging
import os
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from data_builders import entries
from data_builders.entries import BuildEntry, Catalogue
from lrhnet_jax.ecg import stratify
from lrhnet_jax.ecg.wfdb import Header, RecordError
from lrhnet_jax.errors import DataError
from lrhnet_jax.tasks import ptbxl, ptbxl_table

SOURCE = ptbxl_table.SOURCE
Path = str | os.PathLike[str]


class Found(NamedTuple):
    """What an archive holds: headers of PTB-XL's records, sorted by path; its table; superclasses of statements."""

    headers: list[pathlib.Path]
    table: dict[int, ptbxl_table.Row]
    superclass: Mapping[str, str]
    report: dict[str, str]


def find(raw_dir: Path | None, ptbxl_database: Path | None = None, scp_statements: Path | None = None) -> Found:
    """Finds the records and reads the tables.

    Args:
      raw_dir: PTB-XL as published (records500/00000/00001_hr.hea), or as Challenge 2020 has it
        (training/ptb-xl/g1/HR00001.hea). Records of other names, as in records100, are passed by.
      ptbxl_database: PTB-XL's table; None takes the one in `raw_dir`.
      scp_statements: another release's table of statements; None takes `ptbxl.SUPERCLASS`.

    Raises:
      DataError: if there is no record of PTB-XL, or a table is missing or another.
    """
    remedy = f"get PTB-XL from {ptbxl_table.HOMEPAGE} and give its folder, unpacked"
    paths = entries.find_headers(raw_dir, remedy)
    assert raw_dir is not None  # find_headers has raised
    headers = [path for path in paths if ptbxl_table.number(path.stem)]
    if not headers:
        raise DataError(
            f"raw_dir {str(raw_dir)!r} holds no record of PTB-XL at 500 Hz (00001_hr.hea, or HR00001.hea); {remedy}"
        )
    if len(headers) < len(paths):
        logging.info("%d headers in %s are not PTB-XL's at 500 Hz", len(paths) - len(headers), raw_dir)
    if ptbxl_database is None:
        ptbxl_database = pathlib.Path(raw_dir, ptbxl_table.DATABASE)
        if not ptbxl_database.is_file():
            raise DataError(
                f"raw_dir {str(raw_dir)!r} holds no {ptbxl_table.DATABASE}, which has PTB-XL's labels: give it as "
                f"--ptbxl_database; {remedy}"
            )
    table = ptbxl_table.read(ptbxl_database)
    superclass = ptbxl_table.read_superclasses(scp_statements) if scp_statements else ptbxl.SUPERCLASS
    report = {"ptbxl_database": str(ptbxl_database), "scp_statements": str(scp_statements or "built in")}
    return Found(headers, table, superclass, report)


def read(raw_dir: Path | None, ptbxl_database: Path | None = None, scp_statements: Path | None = None) -> Catalogue:
    """Reads all headers and deals the records out to folds, stratified by label, every patient in one of them.

    The published ten folds are kept beside them, for the published split. Arguments and errors are those of `find`.
    """
    paths, table, superclass, report = find(raw_dir, ptbxl_database, scp_statements)

    def row(header: Header) -> ptbxl_table.Row:
        return table[ptbxl_table.number(header.record_id) or 0]

    def encode(header: Header) -> np.ndarray:
        if ptbxl_table.number(header.record_id) not in table:
            raise RecordError(header.path, f"is not in {os.path.basename(report['ptbxl_database'])}")
        if not 1 <= row(header).strat_fold <= 10:
            raise RecordError(header.path, f"has strat_fold {row(header).strat_fold}, which is not one of 1 to 10")
        return ptbxl.encode_labels(row(header).statements, superclass)

    labelled = entries.read_labelled(paths, len(ptbxl.CLASSES), encode)
    rows = [row(header) for header in labelled.headers]
    patients = [
        f"{SOURCE}/patient-{one.patient}" if one.patient else f"{SOURCE}/{header.record_id}"
        for one, header in zip(rows, labelled.headers, strict=True)
    ]
    fold = stratify.assign_folds(labelled.labels, np.full(len(rows), SOURCE), np.array(patients, str))
    built = [
        BuildEntry(_with_person(header, one), SOURCE, patient, int(k), tuple(labels), one.strat_fold)
        for header, one, patient, k, labels in zip(
            labelled.headers, rows, patients, fold, labelled.labels.tolist(), strict=True
        )
    ]
    _warn_of_leaks(built)
    return Catalogue(built, labelled.left_out, labelled.rejected, dict(report))


def _with_person(header: Header, row: ptbxl_table.Row) -> Header:
    """The header with age and sex from the table where it has none: PTB-XL's own headers have none."""
    age = row.age if header.age is None else header.age
    return dataclasses.replace(header, age=age, sex=header.sex or row.sex)


def _warn_of_leaks(built: list[BuildEntry]) -> None:
    published = collections.defaultdict(set)
    for entry in built:
        published[entry.patient].add(entry.published_fold)
    split = sum(len(numbers) > 1 for numbers in published.values())
    if split:
        logging.warning("%d patients are in several of the published folds: is this PTB-XL's table?", split)
