"""The recordings of a folder, of every format, prepared for a model that is to be scored on them."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from lrhnet_jax.deploy.model import Model
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.ecg import quality, readers
from lrhnet_jax.ecg.recording import RecordError, record_errors
from lrhnet_jax.ecg.wfdb import Header, read_header, read_signal
from lrhnet_jax.errors import DataError, UserError
from lrhnet_jax.tasks import raw_labels

_SIDE_FILES = (".dat", ".mat")  # of WFDB records, which their headers stand for


@dataclasses.dataclass(frozen=True)
class Recording:
    """A record that was read: header, signal as the network wants it, (time, leads) float16, and `quality.marks`.

    The header of a file of another format than WFDB has what is known of it: no diagnoses, as a rule.
    """

    header: Header
    signal: np.ndarray
    marks: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


def find(raw_dir: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Returns the recordings below a folder, sorted; of WFDB records the headers.

    Raises:
      DataError: if it is not a folder, or holds none.
    """
    if not pathlib.Path(raw_dir).is_dir():
        raise DataError(
            f"raw_dir {str(raw_dir)!r} is not a folder; give one that holds WFDB records (NAME.hea and its signal), or "
            "recordings of other formats (docs/formats.md)"
        )
    paths = sorted(path for path in readers.find([raw_dir]) if path.suffix.lower() not in _SIDE_FILES)
    if not paths:
        raise DataError(
            f"raw_dir {str(raw_dir)!r} holds no WFDB header (*.hea) at any depth, and no recording of another format"
        )
    return paths


def read(
    paths: Iterable[pathlib.Path],
    model: Model,
    rejected: list[RecordError],
    rename: Mapping[str, str] | None = None,
) -> Iterator[Recording]:
    """Yields the recordings that can be used; appends an error for each of the others."""
    for path in paths:
        try:
            header, signal = (_wfdb if path.suffix.lower() == ".hea" else _other)(path, model, rename)
            with record_errors(path):
                marks = quality.marks(signal, model.leads)
                signal = preprocessing.preprocess(signal, header.rate, model.options)
                if not np.isfinite(signal).all():
                    raise UserError("non-finite samples after preprocessing")
        except RecordError as error:
            rejected.append(error)
        else:
            yield Recording(header, signal, marks)


def _wfdb(path: pathlib.Path, model: Model, rename: Mapping[str, str] | None) -> tuple[Header, np.ndarray]:
    header = read_header(path)
    return header, read_signal(header, raw_labels.lead_names(model.task, header, model.leads), rename)


def _other(path: pathlib.Path, model: Model, rename: Mapping[str, str] | None) -> tuple[Header, np.ndarray]:
    recording = readers.select(readers.read(path, rename=rename), model.leads)
    header = Header(
        path=path,
        record_id=path.stem,
        source=recording.source,
        leads=recording.leads,
        rate=recording.rate,
        samples=len(recording.signal),
        age=recording.age,
        sex=recording.sex,
        codes=recording.codes,
        patient=recording.patient,
    )
    return header, recording.signal
