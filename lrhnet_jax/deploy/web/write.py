"""Writes a network as a folder that any static web server serves: a page that runs it on the reader's own device.

index.html, *.css, *.js  the page, plain files of this package's `page`
model.onnx, model.json   the network, and what it takes and gives, as `export` writes them
tables.json              what JavaScript needs of Python's tables: lead names, units, the filter's coefficients
ort/                     ONNX Runtime Web
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.signal

from lrhnet_jax.deploy import timeline
from lrhnet_jax.deploy.model import SYNTHETIC, UNFITTED
from lrhnet_jax.ecg import lead_names, preprocess
from lrhnet_jax.ecg.leads import LEADS, RATES
from lrhnet_jax.ecg.wfdb_header import MILLIVOLTS
from lrhnet_jax.runtime.files import write_json, write_whole
from lrhnet_jax.tasks import METRICS, Task

PAGE = pathlib.Path(__file__).parent / "page"


def write(folder: pathlib.Path, program: bytes, meta: Mapping[str, Any], task: Task, ort: Mapping[str, bytes]) -> None:
    """Writes the folder; files of an earlier export in it are replaced.

    Args:
      folder: made if need be.
      program: the network as ONNX.
      meta: what model.json is to hold, with `preprocess_options` and the checksum of model.onnx.
      task: what its classes mean.
      ort: what `runtime.fetch` returned.
    """
    files = {path.name: path.read_bytes() for path in sorted(PAGE.iterdir()) if path.is_file()}
    files |= {f"ort/{name}": content for name, content in ort.items()}
    files["model.onnx"] = program
    for name, content in files.items():
        write_whole(folder / name, lambda scratch, content=content: scratch.write_bytes(content))  # type: ignore[misc]
    write_json(folder / "tables.json", tables(preprocess.Preprocess(**meta["preprocess_options"]), task))
    write_json(folder / "model.json", dict(meta))


def tables(options: preprocess.Preprocess, task: Task) -> dict[str, Any]:
    """Returns what the page takes from this package's tables, for JSON: each is written down once, in Python."""
    return {
        "leads": LEADS,
        "aliases": lead_names.ALIASES,
        "suffixes": lead_names.SUFFIXES,
        "derived": lead_names.DERIVED,
        "millivolts": MILLIVOLTS,
        "rates": RATES,
        "filter": filter_of(options),
        "exclusive": task.exclusive,
        "metrics": METRICS,
        "long": timeline.LONG,
        "unfitted": UNFITTED,
        "synthetic": SYNTHETIC,
    }


def filter_of(options: preprocess.Preprocess) -> dict[str, Any] | None:
    """Returns the sections of the band-pass filter with the states that they start from, or None if there is none."""
    if options.bandpass == "none":
        return None
    sections, edge = preprocess.design(options)
    if len(sections) == 1:
        states = scipy.signal.lfilter_zi(sections[0, :, 0], sections[0, :, 1])[None]
    else:
        states = scipy.signal.sosfilt_zi(sections.transpose(0, 2, 1).reshape(len(sections), -1))
    rows = zip(sections, np.asarray(states), strict=True)
    return {
        "edge": edge,
        "sections": [{"b": s[:, 0].tolist(), "a": s[:, 1].tolist(), "zi": zi.tolist()} for s, zi in rows],
    }
