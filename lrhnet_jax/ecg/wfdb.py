"""Reading WFDB records: headers, and signals in millivolts with the leads in a given order.

The layout that PhysioNet's challenges publish (one file of interleaved int16 samples, `.mat` of MATLAB version 4 or
`.dat` of format 16) is read here directly, many times faster than by the wfdb package, which reads every other format.
"""

import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.ecg.recording import RecordError

MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "v": 1e3}
MIN_SECONDS = 1.0  # a shorter record holds no whole beat, and the filters of the preprocessing need some samples

_FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?")
_GAIN = re.compile(r"([-+.\deE]+)(?:\(([-+]?\d+)\))?(?:/(\S+))?")
_COMMENT = re.compile(r"#\s*([A-Za-z_ ]+?)\s*:\s*(.*)")
_MAT4_INT16 = 30  # MATLAB version 4: little-endian, full matrix of int16
_MAT4_HEADER = 24  # bytes: five int32, and "val\0"
_INVALID = -32768  # format 16 marks a missing sample so


@dataclasses.dataclass(frozen=True)
class Header:
    """What a .hea file says of a record.

    Attributes:
      path: the .hea file.
      record_id: its name, as "HR00001".
      source: folder name below training/ ("ptb-xl"); "" outside of that layout.
      leads: names as in the file.
      rate: Hz.
      samples: number of samples of each lead.
      age: years as in the file (300 is PTB-XL's "over 89"), or None.
      sex: as in the file, or None.
      codes: SNOMED CT codes of the diagnoses, scored or not.
      patient: from a "#Patient: ..." line, or None.
    """

    path: pathlib.Path
    record_id: str
    source: str
    leads: tuple[str, ...]
    rate: float
    samples: int
    age: float | None
    sex: str | None
    codes: tuple[str, ...]
    patient: str | None = None


class _Signal(NamedTuple):
    file: str
    simple: bool  # format 16, one sample a frame, no skew: what is read without wfdb
    offset: int  # bytes before the first sample
    gain: float  # ADC units per millivolt
    baseline: int  # ADC units
    checksum: int | None
    lead: str


def find_headers(raw_dir: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Returns all .hea files below `raw_dir`, sorted by path."""
    found = (os.path.join(folder, name) for folder, _, names in os.walk(raw_dir, followlinks=True) for name in names)
    return [pathlib.Path(path) for path in sorted(path for path in found if path.endswith(".hea"))]


def read_header(path: str | os.PathLike[str]) -> Header:
    """Reads a .hea file.

    Raises:
      RecordError: if it is missing or is no WFDB header of one segment.
    """
    return _parse(pathlib.Path(path))[0]


def read_signal(header: Header, leads: Sequence[str] = LEADS) -> np.ndarray:
    """Reads a record's signal.

    Args:
      header: of the record; its file is read again for gains, baselines and checksums.
      leads: names, in the order of the result; case does not matter.

    Returns:
      (samples, len(leads)) float32, millivolts.

    Raises:
      RecordError: for a lead, file or sample that is missing, and for a file that does not fit its header.
    """
    path = header.path
    header, signals = _parse(path)
    names = [lead.casefold() for lead in header.leads]
    missing = [lead for lead in leads if lead.casefold() not in names]
    if missing:
        raise RecordError(path, f"lacks lead {', '.join(missing)} (it has {', '.join(header.leads) or 'none'})")
    if len(set(names)) != len(names):
        raise RecordError(path, f"names a lead twice ({', '.join(header.leads)})")
    if header.samples < MIN_SECONDS * header.rate:
        raise RecordError(path, f"short signal: {header.samples} samples at {header.rate:g} Hz")
    columns = [names.index(lead.casefold()) for lead in leads]
    if all(signal.simple and signal.file == signals[0].file for signal in signals):
        values = _read_interleaved(path.parent / signals[0].file, signals[0].offset, header)
    else:
        values = _read_with_wfdb(header)
    _verify(path, values, signals)
    gain = np.array([signals[i].gain for i in columns], np.float32)
    baseline = np.array([signals[i].baseline for i in columns], np.float32)
    return (values[:, columns].astype(np.float32) - baseline) / gain


def _parse(path: pathlib.Path) -> tuple[Header, list[_Signal]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise RecordError(path, f"unreadable header ({error.strerror})") from error
    text = [line.strip() for line in lines if line.strip()]
    body = [line for line in text if not line.startswith("#")]
    try:
        record = body[0].split()
        name, count = record[0], int(record[1])
        rate, samples = float(re.split(r"[/(]", record[2])[0]), int(record[3])
    except (IndexError, ValueError):
        raise RecordError(path, "unreadable header (first line: name, leads, rate and samples expected)") from None
    if "/" in name:
        raise RecordError(path, "unreadable header (records of several segments are not supported)")
    if not (math.isfinite(rate) and rate > 0 and samples > 0 and count > 0):
        raise RecordError(path, f"unreadable header ({count} leads, {samples} samples at {rate:g} Hz)")
    if len(body) - 1 != count:
        raise RecordError(path, f"wrong lead count: {count} announced, {len(body) - 1} described")
    signals = [_parse_signal(path, line) for line in body[1:]]
    comments: dict[str, str] = {}
    for line in text:
        match = _COMMENT.fullmatch(line)
        if match:
            comments.setdefault(match[1].casefold(), match[2])
    header = Header(
        path=path,
        record_id=path.stem,
        source=_source(path),
        leads=tuple(signal.lead for signal in signals),
        rate=rate,
        samples=samples,
        age=_number(comments.get("age")),
        sex=comments.get("sex") or None,
        codes=tuple(code.strip() for code in comments.get("dx", "").split(",") if code.strip()),
        patient=next((comments[key] for key in ("patient", "patient id", "patient_id") if comments.get(key)), None),
    )
    return header, signals


def _parse_signal(path: pathlib.Path, line: str) -> _Signal:
    fields = line.split(maxsplit=8)
    storage = _FORMAT.fullmatch(fields[1]) if len(fields) > 1 else None
    gain = _GAIN.fullmatch(fields[2]) if len(fields) > 2 else None
    if storage is None or gain is None or len(fields) < 9:
        raise RecordError(path, f"unreadable header (signal line {line!r})")
    try:
        per_millivolt, zero, checksum = float(gain[1]), int(fields[4]), int(fields[6])
    except ValueError:
        raise RecordError(path, f"unreadable header (signal line {line!r})") from None
    unit = gain[3] or "mV"
    if unit.casefold() not in MILLIVOLTS:
        raise RecordError(path, f"unit {unit!r} is no voltage")
    if not math.isfinite(per_millivolt) or per_millivolt < 0:
        raise RecordError(path, f"gain {gain[1]} makes no sense")
    simple = storage[1] == "16" and int(storage[2] or 1) == 1 and int(storage[3] or 0) == 0
    return _Signal(
        file=fields[0],
        simple=simple,
        offset=int(storage[4] or 0),
        gain=(per_millivolt or 200.0) / MILLIVOLTS[unit.casefold()],  # WFDB: 0 means "uncalibrated", that is 200
        baseline=int(gain[2]) if gain[2] else zero,
        checksum=checksum,
        lead=fields[8].strip(),
    )


def _source(path: pathlib.Path) -> str:
    parts = path.parts
    below = [i for i, part in enumerate(parts[:-2]) if part == "training"]
    return parts[below[-1] + 1] if below else ""


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _read_interleaved(path: pathlib.Path, offset: int, header: Header) -> np.ndarray:
    """Returns the samples as stored, (samples, leads); int16 but for .mat files of another type."""
    leads = len(header.leads)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(header.path, f"signal file {path.name}: {error.strerror}") from error
    if path.suffix == ".mat":
        kind, rows, columns = np.frombuffer(data[:12].ljust(12, b"\0"), "<i4").tolist()
        if kind != _MAT4_INT16 or offset != _MAT4_HEADER:
            return _read_other_mat(path, header)
        _check_shape(header, rows, columns)
    have = max(len(data) - offset, 0) // (2 * leads)
    if have < header.samples:
        raise RecordError(header.path, f"short signal: {have} of {header.samples} samples in {path.name}")
    return np.frombuffer(data, "<i2", leads * header.samples, offset).reshape(header.samples, leads)


def _read_other_mat(path: pathlib.Path, header: Header) -> np.ndarray:
    import scipy.io

    try:
        values = scipy.io.loadmat(path)["val"]
    except Exception as error:  # the reader raises what its format's version pleases
        raise RecordError(header.path, f"unreadable signal file {path.name} ({error})") from error
    _check_shape(header, *values.shape)
    return values.T


def _check_shape(header: Header, rows: int, columns: int) -> None:
    if rows != len(header.leads):
        raise RecordError(
            header.path, f"wrong lead count: {rows} in the signal file, {len(header.leads)} in the header"
        )
    if columns < header.samples:
        raise RecordError(header.path, f"short signal: {columns} of {header.samples} samples")
    if columns > header.samples:
        raise RecordError(header.path, f"{columns} samples in the signal file, {header.samples} in the header")


def _verify(path: pathlib.Path, values: np.ndarray, signals: list[_Signal]) -> None:
    """Raises RecordError for samples that are missing, or do not add up to the header's checksums."""
    if not np.issubdtype(values.dtype, np.integer):
        if not np.isfinite(values).all():
            raise RecordError(path, f"{np.count_nonzero(~np.isfinite(values))} non-finite samples")
        if not np.array_equal(values, np.trunc(values)):
            raise RecordError(path, "samples are no whole ADC units")
    if values.min() <= _INVALID:
        raise RecordError(path, f"{np.count_nonzero(values <= _INVALID)} non-finite samples (stored as {_INVALID})")
    # Some writers put 0 for "not computed". A header of zeros is taken so; a zero among other numbers is a checksum.
    if not any(signal.checksum for signal in signals):
        return
    sums = (values.sum(0, dtype=np.int64) + 32768) % 65536 - 32768
    wrong = [s.lead for s, total in zip(signals, sums, strict=True) if (s.checksum - total) % 65536]
    if wrong:
        raise RecordError(path, f"checksum mismatch in lead {', '.join(wrong)}")


def _read_with_wfdb(header: Header) -> np.ndarray:
    """Returns the samples of any other WFDB format as stored, (samples, leads), integers."""
    import wfdb

    try:
        record = wfdb.rdrecord(str(header.path.with_suffix("")), physical=False)
        values, missing = record.d_signal, np.isnan(record.dac()).sum()
    except Exception as error:  # wfdb raises whatever its parsers stumble over
        raise RecordError(header.path, f"wfdb cannot read it ({error})") from error
    _check_shape(header, values.shape[1], values.shape[0])
    if missing:
        raise RecordError(header.path, f"{missing} non-finite samples")
    return values
