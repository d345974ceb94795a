"""Raw records for a trained network: how it wants them prepared, and, by task, their labels, patients and leads."""

import ast
import csv
import logging
import os
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from data_builders import preprocess
from data_builders.records import Header
from lrhnet_jax import cpsc2018, ecg, ptbxl, tasks
from lrhnet_jax.errors import CheckpointError, DataError

logger = logging.getLogger(__name__)

Path = str | os.PathLike[str]
_PTBXL_RECORD = re.compile(r"(?:HR)?(\d{5})(?:_[hl]r)?")  # as Challenge 2020 names them, or PTB-XL itself


def expected(folder: Path, meta: Mapping[str, Any]) -> tuple[tasks.Task, preprocess.Preprocess]:
    """Returns the task of a trained network, and how its signals are prepared.

    Args:
      folder: for the message.
      meta: as `checkpoint.load_model` returns it. Without "task" and "preprocess_options" it is of Challenge 2020.

    Raises:
      CheckpointError: if this version knows no such task or preprocessing.
    """
    task = tasks.TASKS.get(meta.get("task", tasks.PHYSIONET2020.name))
    fields = meta.get("preprocess_options")
    try:
        options = preprocess.Preprocess(**fields) if fields else preprocess.OPTIONS.get(meta["preprocess"])
    except (TypeError, ValueError):
        options = None
    if task is None or options is None or tuple(meta["classes"]) != task.classes:
        raise CheckpointError(f"{folder}: its preprocessing or its classes are not those of this version")
    return task, options


def labels(task: tasks.Task, raw_dir: Path, ptbxl_database: Path | None = None) -> Callable[[Header], np.ndarray]:
    """Returns what gives a record's labels, (classes,) bool; all False where they are not known.

    Challenge 2017's come from a REFERENCE.csv in the folder, PTB-XL's from its table, the others from the headers.

    Raises:
      DataError: if the table of labels cannot be read.
    """
    if task is tasks.PHYSIONET2017:
        return _of_reference(pathlib.Path(raw_dir))
    if task is tasks.PTBXL:
        return _of_ptbxl(ptbxl_database)
    encode = cpsc2018.encode_labels if task is tasks.CPSC2018 else ecg.encode_labels
    return lambda header: encode(header.codes)


def _of_reference(raw_dir: pathlib.Path) -> Callable[[Header], np.ndarray]:
    from data_builders.physionet2017 import catalogue  # imports TFDS, which evaluation has no other need of

    path = catalogue.find_reference(raw_dir)
    if path is None:
        logger.warning("%s holds no %s: its records have no labels", raw_dir, " or ".join(catalogue.REFERENCES))
    known = catalogue.read_reference(path) if path else {}
    return lambda header: np.array([known.get(header.record_id) == (name,) for name in tasks.PHYSIONET2017.classes])


def _of_ptbxl(ptbxl_database: Path | None) -> Callable[[Header], np.ndarray]:
    if ptbxl_database is None:
        logger.warning("PTB-XL's labels are in its ptbxl_database.csv: give --ptbxl_database to score its records")
        return lambda header: np.zeros(len(ptbxl.CLASSES), bool)
    try:
        with open(ptbxl_database, newline="", encoding="utf-8") as file:
            statements = {
                int(float(r["ecg_id"])): tuple(ast.literal_eval(r["scp_codes"])) for r in csv.DictReader(file)
            }
    except OSError as error:
        raise DataError(f"ptbxl_database {str(ptbxl_database)!r}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, SyntaxError) as error:
        raise DataError(
            f"ptbxl_database {str(ptbxl_database)!r} is not PTB-XL's table: columns ecg_id and scp_codes expected"
        ) from error
    return lambda header: ptbxl.encode_labels(statements.get(ptbxl_number(header) or 0, ()))


def ptbxl_number(header: Header) -> int | None:
    """Returns a record's number in PTB-XL, by its name, or None."""
    match = _PTBXL_RECORD.fullmatch(header.record_id)
    return int(match[1]) if match else None


def patients(ptbxl_database: Path | None = None) -> Callable[[Header], str]:
    """Returns what names a record's patient, "" where that is unknown.

    Raises:
      DataError: if PTB-XL's table cannot be read.
    """
    table: dict[int, str] = {}
    if ptbxl_database is not None:
        from data_builders.physionet2020 import catalogue  # imports TFDS, which evaluation has no other need of

        table = catalogue.read_patients(ptbxl_database)

    def patient_of(header: Header) -> str:
        number = ptbxl_number(header)
        known = header.patient or (table.get(number) if number else None)
        return f"{header.source}/{known}" if known else ""

    return patient_of


def lead_names(task: tasks.Task, header: Header, leads: tuple[str, ...]) -> tuple[str, ...]:
    """Returns what a record calls `leads`: Challenge 2017 calls its only lead ECG, and it is lead I."""
    alone = task is tasks.PHYSIONET2017 and leads == ("I",) and header.leads == ("ECG",)
    return header.leads if alone else leads
