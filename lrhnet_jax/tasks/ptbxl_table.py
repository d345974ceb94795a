"""PTB-XL's own tables: ptbxl_database.csv, a row a record, and scp_statements.csv, a row a statement.

No TFDS here: evaluation reads them too.
"""

import ast
import csv
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lrhnet_jax.errors import DataError
from lrhnet_jax.tasks import ptbxl

logger = logging.getLogger(__name__)

HOMEPAGE = "https://physionet.org/content/ptb-xl/1.0.3/"
SOURCE = "ptb-xl"  # as Challenge 2020 calls it
DATABASE, STATEMENTS = "ptbxl_database.csv", "scp_statements.csv"

_RECORD = re.compile(r"HR(\d{5,})|(\d{5,})_hr")  # Challenge 2020's names, and PTB-XL's own at 500 Hz
_MOST = 0.9  # of the records that have names of PTB-XL
_SEX = {0: "male", 1: "female"}


class Row(NamedTuple):
    """What ptbxl_database.csv says of a record.

    Attributes:
      patient: number of the patient; "" if it is missing.
      age: years, or None; 300 is "over 89".
      sex: "male", "female" or None.
      statements: SCP-ECG codes, whatever their likelihood.
      strat_fold: 1 to 10, or 0 if the table has no such column.
    """

    patient: str
    age: float | None
    sex: str | None
    statements: tuple[str, ...]
    strat_fold: int


def number(record_id: str) -> int | None:
    """Returns the `ecg_id` of a record of PTB-XL by its name ("HR00001", "00001_hr"), or None."""
    match = _RECORD.fullmatch(record_id)
    return int(match[1] or match[2]) if match else None


def read(
    path: str | os.PathLike[str], required: Sequence[str] = ("ecg_id", "patient_id", "scp_codes", "strat_fold")
) -> dict[int, Row]:
    """Returns the rows of ptbxl_database.csv by `ecg_id`.

    Args:
      path: the table.
      required: columns that must be there; what others would say is unknown.

    Raises:
      DataError: if the file is missing, lacks a column, or holds something else than PTB-XL has in it.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            rows = {}
            for row in table:
                missing = [column for column in required if column not in row]
                if missing:
                    raise KeyError(missing[0])
                rows[int(float(row["ecg_id"]))] = _row(row)
    except OSError as error:
        raise DataError(
            f"ptbxl_database {str(path)!r}: {error.strerror}; it is the {DATABASE} of {HOMEPAGE}"
        ) from error
    except (KeyError, TypeError, ValueError, SyntaxError) as error:
        raise DataError(
            f"ptbxl_database {str(path)!r} is not PTB-XL's table: columns {', '.join(required)} expected, as in the "
            f"{DATABASE} of {HOMEPAGE} ({type(error).__name__}: {error})"
        ) from error
    return rows


def check_matches(path: str | os.PathLike[str], rows: Mapping[int, Any], record_ids: Iterable[str]) -> None:
    """Compares the table with the records that it was given for, wherever they lie: it is not ignored in silence.

    Args:
      path: of the table, for the message.
      rows: by `ecg_id`.
      record_ids: names of all records.

    Raises:
      DataError: if the table knows none of them. If it knows few of those with names of PTB-XL, this is a warning.
    """
    names = list(record_ids)
    numbers = [found for found in map(number, names) if found]
    known = sum(found in rows for found in numbers)
    if not known and (rows or numbers):
        raise DataError(
            f"ptbxl_database {str(path)!r} knows none of the {len(names)} records ({len(numbers)} have names of "
            "PTB-XL, HR00001 or 00001_hr): leave it out, or give the records of PTB-XL under those names"
        )
    if known < _MOST * len(numbers):
        logger.warning(
            "ptbxl_database %s knows %d of %d records of PTB-XL: is it the whole table? The patients of the others are "
            "not known",
            *(path, known, len(numbers)),
        )


def _row(row: dict[str, str]) -> Row:
    def value(column: str) -> float | None:
        return float(row[column]) if row.get(column) else None  # some releases write whole numbers as floats: "11315.0"

    patient, sex, fold = value("patient_id"), value("sex"), value("strat_fold")
    statements = ast.literal_eval(row.get("scp_codes") or "{}")
    if not isinstance(statements, dict):
        raise TypeError(f"scp_codes {statements!r}")
    return Row(
        patient="" if patient is None else f"{patient:.0f}",
        age=value("age"),
        sex=None if sex is None else _SEX.get(int(sex)),
        statements=tuple(map(str, statements)),
        strat_fold=0 if fold is None else int(fold),
    )


def read_superclasses(path: str | os.PathLike[str]) -> dict[str, str]:
    """Returns the superclass of each code that is a diagnosis, from scp_statements.csv.

    The first column is the code, whatever its name; the superclass is in diagnostic_class (or superclass), and is empty
    where a statement is not a diagnosis.

    Raises:
      DataError: if the file is missing or is another table.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            code, *others = table.fieldnames or [""]
            column = next((name for name in ("diagnostic_class", "superclass") if name in others), None)
            superclass = {row[code]: row[column].strip() for row in table if row[column]} if column else {}
    except (OSError, ValueError) as error:
        raise DataError(f"scp_statements {str(path)!r}: {error}; it is the {STATEMENTS} of {HOMEPAGE}") from error
    unknown = sorted(set(superclass.values()) - set(ptbxl.CLASSES))
    if unknown or not superclass:
        raise DataError(
            f"scp_statements {str(path)!r} is not PTB-XL's table: a code, and in column diagnostic_class one of "
            f"{', '.join(ptbxl.CLASSES)} expected{', not ' + ', '.join(unknown) if unknown else ''}; it is the "
            f"{STATEMENTS} of {HOMEPAGE}"
        )
    return superclass
