"""The four classes of PhysioNet/CinC Challenge 2017, and its table of labels."""

import os
import pathlib

from lrhnet_jax.errors import DataError

NAMES = {"N": "normal rhythm", "A": "atrial fibrillation", "O": "other rhythm", "~": "too noisy to be classified"}
CLASSES = tuple(NAMES)  # the order of every label matrix
REFERENCES = ("REFERENCE-v3.csv", "REFERENCE.csv")  # the last correction of the labels, and what training2017.zip has
FOLDERS = ("training2017", "training", "")  # of raw_dir: beside them the archive has copies of records, "validation"


def find_reference(raw_dir: str | os.PathLike[str]) -> pathlib.Path | None:
    """Returns the table of labels of the archive, or part of an archive, in `raw_dir`; None if it has none."""
    tables = [pathlib.Path(raw_dir, folder, name) for name in REFERENCES for folder in FOLDERS]
    return next((path for path in tables if path.is_file()), None)


def read_reference(path: str | os.PathLike[str]) -> dict[str, tuple[str, ...]]:
    """Returns the labels of each record: one, if the table ("A00001,N" a line, no header) is in order.

    Raises:
      DataError: if a line is not of that form.
    """
    labels: dict[str, tuple[str, ...]] = {}
    lines = pathlib.Path(path).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        fields = [field.strip() for field in line.split(",")]
        if fields == [""]:
            continue
        if len(fields) != 2 or not all(fields):
            raise DataError(f"{path}, line {number}: a record and its label expected ('A00001,N'), not {line!r}")
        known = labels.get(fields[0], ())
        labels[fields[0]] = known if fields[1] in known else (*known, fields[1])
    return labels
