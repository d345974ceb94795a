"""What is in an archive of CPSC 2018, from its headers alone: labels and folds."""

import logging
import os
import pathlib
import re

import numpy as np

from data_builders import entries
from data_builders.entries import BuildEntry, Catalogue
from lrhnet_jax.ecg import stratify
from lrhnet_jax.errors import DataError
from lrhnet_jax.tasks import cpsc2018

HOMEPAGE = "https://physionet.org/content/challenge-2020/1.0.2/"
SOURCE = "cpsc_2018"  # as Challenge 2020 calls it
# cpsc_2018_extra (Q0001 and so on) is not part of it: its records were labelled with other diagnoses, and where one has
# an ST depression, nothing says so.
_RECORD = re.compile(r"A\d{4}")


def find(raw_dir: str | os.PathLike[str] | None) -> list[pathlib.Path]:
    """Returns the headers of CPSC 2018's records (A0001.hea) below `raw_dir`, sorted by path; others are passed by.

    Raises:
      DataError: if there is no such folder, or no such header in it.
    """
    remedy = f"get training/{SOURCE} from {HOMEPAGE} and give its folder"
    paths = entries.find_headers(raw_dir, remedy)
    headers = [path for path in paths if _RECORD.fullmatch(path.stem)]
    if not headers:
        raise DataError(f"raw_dir {str(raw_dir)!r} holds no record of CPSC 2018 (A0001.hea); {remedy}")
    if len(headers) < len(paths):
        logging.info("%d headers in %s are not CPSC 2018's", len(paths) - len(headers), raw_dir)
    return headers


def read(raw_dir: str | os.PathLike[str] | None) -> Catalogue:
    """Reads all headers and deals the records out to folds, stratified by label. Nothing is known of patients.

    Raises:
      DataError: as `find`.
    """
    labelled = entries.read_labelled(
        find(raw_dir), len(cpsc2018.CLASSES), lambda header: cpsc2018.encode_labels(header.codes)
    )
    names = [f"{SOURCE}/{header.record_id}" for header in labelled.headers]
    fold = stratify.assign_folds(labelled.labels, np.full(len(names), SOURCE), np.array(names, str))
    built = [
        BuildEntry(header, SOURCE, name, int(k), tuple(labels))
        for header, name, k, labels in zip(labelled.headers, names, fold, labelled.labels.tolist(), strict=True)
    ]
    return Catalogue(built, labelled.left_out, labelled.rejected)
