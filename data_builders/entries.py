"""What is to be built: the records of an archive, with labels, patients and folds, before examples are written."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import tqdm

from lrhnet_jax.ecg import wfdb
from lrhnet_jax.ecg.wfdb import Header, RecordError, read_header
from lrhnet_jax.errors import DataError


@dataclasses.dataclass(frozen=True)
class BuildEntry:
    """A record that is to be built.

    Attributes:
      header: of the record.
      source: where it comes from, or "unknown".
      patient: unique over all sources; "source/record_id" where the patient is not known.
      fold: 0 to 4.
      labels: one for each class of the data set.
      published_fold: of the split that the set's authors publish, from 1; None in sets without one.
    """

    header: Header
    source: str
    patient: str
    fold: int
    labels: tuple[bool, ...]
    published_fold: int | None = None


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """The records of an archive that are to be built.

    Attributes:
      entries: sorted by path.
      left_out: how many records carry no scored class.
      rejected: paths of records that cannot be used, and why.
      report: what else report.json is to say.
    """

    entries: list[BuildEntry]
    left_out: int
    rejected: list[tuple[str, str]]
    report: dict[str, Any] = dataclasses.field(default_factory=dict)


class Labelled(NamedTuple):
    """Headers with labels.

    Attributes:
      headers: of records that carry a class of the set.
      labels: (n, classes) bool.
      left_out: how many others there are.
      rejected: paths of headers that cannot be used, and why.
    """

    headers: list[Header]
    labels: np.ndarray
    left_out: int
    rejected: list[tuple[str, str]]


def find_headers(raw_dir: str | os.PathLike[str] | None, remedy: str) -> list[pathlib.Path]:
    """Returns all headers below `raw_dir`, sorted by path.

    Raises:
      DataError: if there is no such folder, or no header in it; the message ends with `remedy`.
    """
    if raw_dir is None or not pathlib.Path(raw_dir).is_dir():
        raise DataError(f"raw_dir {'' if raw_dir is None else str(raw_dir)!r} is not a folder; {remedy}")
    paths = wfdb.find_headers(raw_dir)
    if not paths:
        raise DataError(f"raw_dir {str(raw_dir)!r} holds no WFDB header (*.hea) at any depth; {remedy}")
    return paths


def read_labelled(
    paths: Iterable[pathlib.Path],
    classes: int,
    encode: Callable[[Header], np.ndarray],
    source_of: Callable[[Header], str] = lambda header: header.source,
) -> Labelled:
    """Reads headers and labels them. Of two records of the same source and name, the second is rejected.

    Args:
      paths: of the headers.
      classes: how many there are.
      encode: header -> (classes,) bool; a RecordError of it rejects the record.
      source_of: header -> where the record comes from.
    """
    by_key: dict[tuple[str, str], tuple[Header, np.ndarray]] = {}
    rejected: list[tuple[str, str]] = []
    left_out = 0
    for path in tqdm.tqdm(paths, desc="read headers", unit="record", disable=None):
        try:
            header = read_header(path)
            key = source_of(header), header.record_id
            if key in by_key:
                raise RecordError(path, f"the same record as {by_key[key][0].path}")
            labels = encode(header)
        except RecordError as error:
            rejected.append((error.path, error.reason))
            continue
        if labels.any():
            by_key[key] = header, labels
        else:
            left_out += 1
    matrix = np.array([labels for _, labels in by_key.values()], bool).reshape(-1, classes)
    return Labelled([header for header, _ in by_key.values()], matrix, left_out, rejected)
