"""Raw records for a trained network: how it wants them prepared, and, by task, their labels, patients and leads."""

import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from lrhnet_jax import tasks
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.ecg.wfdb import Header
from lrhnet_jax.errors import CheckpointError
from lrhnet_jax.tasks import cpsc2018, physionet2020, ptbxl, ptbxl_table

logger = logging.getLogger(__name__)

Path = str | os.PathLike[str]


def expected(folder: Path, meta: Mapping[str, Any]) -> tuple[tasks.Task, preprocessing.Preprocess]:
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
        options = preprocessing.Preprocess(**fields) if fields else preprocessing.OPTIONS.get(meta["preprocess"])
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
    encode = cpsc2018.encode_labels if task is tasks.CPSC2018 else physionet2020.encode_labels
    return lambda header: encode(header.codes)


def _of_reference(raw_dir: pathlib.Path) -> Callable[[Header], np.ndarray]:
    from lrhnet_jax.tasks import physionet2017  # imports TFDS, which evaluation has no other need of

    path = physionet2017.find_reference(raw_dir)
    if path is None:
        logger.warning("%s holds no %s: its records have no labels", raw_dir, " or ".join(physionet2017.REFERENCES))
    known = physionet2017.read_reference(path) if path else {}
    return lambda header: np.array([known.get(header.record_id) == (name,) for name in tasks.PHYSIONET2017.classes])


def _of_ptbxl(ptbxl_database: Path | None) -> Callable[[Header], np.ndarray]:
    if ptbxl_database is None:
        logger.warning("PTB-XL's labels are in its ptbxl_database.csv: give --ptbxl_database to score its records")
    rows = ptbxl_table.read(ptbxl_database, ("ecg_id", "patient_id", "scp_codes")) if ptbxl_database else {}

    def label_of(header: Header) -> np.ndarray:
        row = rows.get(ptbxl_table.number(header.record_id) or 0)
        return ptbxl.encode_labels(row.statements if row else ())

    return label_of


def patients(ptbxl_database: Path | None = None) -> Callable[[Header], str]:
    """Returns what names a record's patient, "" where that is unknown.

    Raises:
      DataError: if PTB-XL's table cannot be read.
    """
    rows = ptbxl_table.read(ptbxl_database, ("ecg_id", "patient_id")) if ptbxl_database else {}

    def patient_of(header: Header) -> str:
        row = rows.get(ptbxl_table.number(header.record_id) or 0)
        if row and row.patient:
            return f"{ptbxl_table.SOURCE}/{row.patient}"
        return f"{header.source}/{header.patient}" if header.patient else ""

    return patient_of


def check_ptbxl(ptbxl_database: Path, record_ids: Iterable[str]) -> None:
    """Raises DataError if PTB-XL's table knows none of the records, and warns if it knows few of PTB-XL's."""
    rows = ptbxl_table.read(ptbxl_database, ("ecg_id", "patient_id"))
    ptbxl_table.check_matches(ptbxl_database, rows, record_ids)


def lead_names(task: tasks.Task, header: Header, leads: tuple[str, ...]) -> tuple[str, ...]:
    """Returns what a record calls `leads`: Challenge 2017 calls its only lead ECG, and it is lead I."""
    alone = task is tasks.PHYSIONET2017 and leads == ("I",) and header.leads == ("ECG",)
    return header.leads if alone else leads
