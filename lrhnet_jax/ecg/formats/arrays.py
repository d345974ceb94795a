"""NumPy's .npy and .npz, and MATLAB's .mat: arrays by name, with or without a rate, leads and a unit beside them."""

import io
import math
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from lrhnet_jax.ecg import files, matlab
from lrhnet_jax.ecg.formats.base import (
    Format,
    Given,
    check_claim,
    check_unpacked,
    lead_name,
    rate_of,
    read_bytes,
    scale_of,
)
from lrhnet_jax.ecg.recording import Recording, parse_age
from lrhnet_jax.errors import UserError

_SIGNALS = ("signal", "signals", "ecg", "p_signal", "val", "data", "x")
_RATES = (
    "rate", "fs", "sampling_rate", "sample_rate", "samplerate", "sampling_frequency", "freq", "frequency", "sfreq"
)  # fmt: skip
_LEADS = ("leads", "lead_names", "sig_name", "channels", "channel_names", "labels")
_UNITS = ("unit", "units")
_MAX_NAMES = 1000


def _from_arrays(path: pathlib.Path, arrays: Mapping[str, Any], given: Given) -> Recording:
    """Makes a recording of arrays by name: a two-dimensional one is the signal, in either orientation."""
    values = {name.casefold(): value for name, value in arrays.items()}
    notes: list[str] = []
    signal = _signal(values)
    names = _texts(values, _LEADS) or given.leads
    rate = next((_scalar(values[name]) for name in _RATES if name in values), None)
    unit = next(iter(_texts(values, _UNITS) or ()), None)
    if names is None:
        raise UserError(f"does not name its {min(signal.shape)} leads; give their names, as I,II,V2")
    if len(names) not in signal.shape:
        raise UserError(f"is an array of {signal.shape}, which does not fit {len(names)} leads: {', '.join(names)}")
    if signal.shape[1] != len(names):
        signal = signal.T
    elif signal.shape[0] == len(names):
        notes.append("as many samples as leads: read as (time, leads)")
    integers = not np.issubdtype(signal.dtype, np.floating)
    scale = scale_of(unit, given, notes, None if integers else "mV")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused where it is used
        signal = signal.astype(np.float32) * np.float32(scale)
    return Recording(
        signal=signal,
        rate=rate_of(rate, given),
        leads=tuple(lead_name(name) for name in names),
        path=path,
        age=parse_age(next(iter(_texts(values, ("age",)) or ()), None)),
        sex=next(iter(_texts(values, ("sex", "gender")) or ()), None),
        notes=tuple(notes),
    )


def _signal(values: Mapping[str, Any]) -> np.ndarray:
    """Returns the signal, two-dimensional: by its name, or else because it is the only array that can be one."""
    tables = {name: np.asarray(value) for name, value in values.items()}
    tables = {name: np.atleast_2d(np.squeeze(table)) for name, table in tables.items() if table.dtype.kind in "iuf"}
    tables = {name: table for name, table in tables.items() if table.ndim == 2 and table.size > 1}
    named = [name for name in _SIGNALS if name in tables]
    if named or len(tables) == 1:
        return tables[named[0] if named else next(iter(tables))]
    shapes = ", ".join(f"{name} {table.shape}" for name, table in list(tables.items())[:8])
    raise UserError(f"holds no ECG signal: an array (time, leads) of numbers is expected, it has {shapes or 'none'}")


def _texts(values: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...] | None:
    """Returns what the first of `names` that is there says, as texts; MATLAB's cells and character arrays too."""
    for name in names:
        if name in values:
            items = np.asarray(values[name]).ravel()[:_MAX_NAMES].tolist()
            return tuple(str(np.asarray(item).ravel()[0] if np.size(item) == 1 else item).strip() for item in items)
    return None


def _scalar(value: Any) -> float | None:
    numbers = np.asarray(value).ravel()
    return float(numbers[0]) if numbers.size and numbers.dtype.kind in "iuf" else None


def _matches_npy(path: pathlib.Path, head: bytes) -> bool:
    return head.startswith(b"\x93NUMPY")


def _read_npy(path: pathlib.Path, given: Given) -> Recording:
    with path.open("rb") as file:
        _check_array(file, files.file_size(path), "its header")
    return _from_arrays(path, {"signal": np.load(path, mmap_mode="r", allow_pickle=False)}, given)


def _check_array(stream: BinaryIO, size: int, what: str) -> None:
    """Raises UserError if an array of NumPy's format claims to be larger than the bytes that it is in."""
    old = np.lib.format.read_magic(stream) == (1, 0)
    shape, _, kind = (np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0)(stream)
    check_claim(math.prod(shape) * kind.itemsize, size, what)


def _matches_npz(path: pathlib.Path, head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04")


def _read_npz(path: pathlib.Path, given: Given) -> Recording:
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")][:_MAX_NAMES]
        if not members:
            raise UserError("is a ZIP archive without NumPy arrays; unpack it, and name the files in it")
        check_unpacked(sum(member.file_size for member in members), files.file_size(path))
        for member in members:
            data = archive.read(member)
            _check_array(io.BytesIO(data), len(data), f"its array {member.filename}")
            arrays[member.filename.removesuffix(".npy")] = np.load(io.BytesIO(data), allow_pickle=False)
    return _from_arrays(path, arrays, given)


def _matches_mat(path: pathlib.Path, head: bytes) -> bool:
    return head.startswith((b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file", b"\x89HDF"))


def _read_mat(path: pathlib.Path, given: Given) -> Recording:
    """Reads a matrix of version 4 to 7; names of leads in a cell array or a struct are not read."""
    data = read_bytes(path)
    arrays = {one.name: one.values for one in matlab.read_variables(data) if not one.kind}
    return _from_arrays(path, arrays or {"val": matlab.read_matrix(data).values}, given)


NPY = Format("NumPy", (".npy",), _matches_npy, _read_npy)
NPZ = Format("NumPy archive", (".npz",), _matches_npz, _read_npz)
MAT = Format("MATLAB", (".mat",), _matches_mat, _read_mat)
