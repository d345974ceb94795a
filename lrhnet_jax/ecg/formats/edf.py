"""EDF, EDF+ and BDF files: a text header, then data records of every signal's 16-bit (BDF: 24-bit) samples.

Sources: B. Kemp et al., "A simple format for exchange of digitized polygraphic recordings" (1992); EDF+ (2003,
edfplus.info); BioSemi's BDF. Read here, not by pyedflib, which takes minutes over some damaged headers, and refuses
files for a letter in a field that does not matter.
"""

import collections
import datetime
import math
import pathlib
import re
from typing import NamedTuple

import numpy as np

from lrhnet_jax.ecg import files
from lrhnet_jax.ecg.formats.base import Format, Given, check_claim, columns, in_millivolts, lead_name, years_between
from lrhnet_jax.ecg.lead_names import canonical_lead
from lrhnet_jax.ecg.recording import BlockRecording, Recording
from lrhnet_jax.errors import UserError

_BLOCK = 256  # bytes of the header, and then of each signal's part of it
_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)  # bytes of a signal's fields; the header holds each field of all signals
_MAX_SIGNALS = 4096
_BLOCK_SAMPLES = 2**21  # of all signals, in a block
_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
_ECG = re.compile(r"ecg|ekg|lead", re.IGNORECASE)


class _Signal(NamedTuple):
    label: str
    unit: str
    gain: float  # of the unit, a count
    offset: float  # in that unit
    start: int  # samples of a data record before its own
    length: int  # samples in a data record


def _matches(path: pathlib.Path, head: bytes) -> bool:
    return head.startswith(b"\xffBIOSEMI") or (head.startswith(b"0       ") and head[184:192].strip().isdigit())


class _Opened(NamedTuple):
    """A file whose header was read: bytes (data records, samples of one, bytes of one), and what to read of them."""

    data: np.ndarray
    signals: list[_Signal]
    rate: float
    sex: str | None
    age: float | None
    notes: tuple[str, ...]


def _read(path: pathlib.Path, given: Given) -> Recording:
    """Reads the voltages of one sampling rate, that of the ECG leads; the rest is named in the notes."""
    data, kept, rate, sex, age, notes = _open(path, given)
    signal, leads = columns([(signal.label, _millivolts(data, signal)) for signal in kept])
    return Recording(signal, rate, leads, path, age, sex, notes=notes)


def _read_blocks(path: pathlib.Path, given: Given) -> BlockRecording:
    data, kept, rate, sex, age, notes = _open(path, given)
    step = max(_BLOCK_SAMPLES // data.shape[1], 1)  # data records
    parts = (data[start : start + step] for start in range(0, len(data), step))
    return BlockRecording(
        blocks=(np.stack([_millivolts(part, signal) for signal in kept], axis=1) for part in parts),
        rate=rate,
        leads=tuple(lead_name(signal.label) for signal in kept),
        path=path,
        age=age,
        sex=sex,
        notes=notes,
        samples=len(data) * kept[0].length,
    )


def _open(path: pathlib.Path, given: Given) -> _Opened:
    size = files.file_size(path)
    check_claim(_BLOCK, size, "an EDF header")
    with path.open("rb") as file:
        head = file.read(_BLOCK)
        count = _whole(head[252:256], "number of signals")
        if not 1 <= count <= _MAX_SIGNALS:
            raise UserError(f"broken EDF header: {count} signals; export it again")
        rest = file.read(_BLOCK * count)
    start = _BLOCK * (count + 1)
    check_claim(start, size, "its EDF header")
    duration = _number(head[244:252], "duration of a data record")
    signals = [signal._replace(unit=signal.unit or given.unit or "") for signal in _signals(rest, count)]
    kept, notes = _choose(signals)
    if duration <= 0 or not 0 < kept[0].length / duration < math.inf:
        raise UserError(f"broken EDF header: data records of {duration} s; export it again")
    width = 3 if head.startswith(b"\xff") else 2
    length = sum(signal.length for signal in signals)
    records = _whole(head[236:244], "number of data records")
    there = (size - start) // (width * length)
    if records < 0:  # not yet known when the header was written
        records = there
    check_claim(start + max(records, 1) * width * length, size, "its EDF header")
    if there > records:
        notes.append(f"{there - records} data records behind those that the header announces are not read")
    if head[192:197] in (b"EDF+D", b"BDF+D"):
        notes.append("recorded with interruptions, which are not kept: its parts are read one after another")
    data = np.memmap(path, np.uint8, "r", start, (records, length, width))
    sex, age = _patient(head)
    return _Opened(data, kept, kept[0].length / duration, sex, age, tuple(notes))


def _signals(text: bytes, count: int) -> list[_Signal]:
    fields, offset = [], 0
    for width in _WIDTHS:
        fields.append([text[offset + i * width : offset + (i + 1) * width] for i in range(count)])
        offset += width * count
    signals, start = [], 0
    for label, _, unit, low, high, digital_low, digital_high, _, samples, _ in zip(*fields, strict=True):
        name = label.decode("latin-1").strip()
        samples_count = _whole(samples, f"number of samples of {name}")
        if samples_count < 0:
            raise UserError(f"broken EDF header: {samples_count} samples of {name} in a data record")
        gain, zero = 0.0, 0.0
        if name not in _ANNOTATIONS:
            limits = [_number(field, f"range of {name}") for field in (low, high, digital_low, digital_high)]
            if limits[2] == limits[3]:
                raise UserError(f"broken EDF header: {name} has a digital range of nothing; export it again")
            gain = (limits[1] - limits[0]) / (limits[3] - limits[2])
            zero = limits[0] - gain * limits[2]
        signals.append(_Signal(name, unit.decode("latin-1").strip(), gain, zero, start, samples_count))
        start += samples_count
    return signals


def _choose(signals: list[_Signal]) -> tuple[list[_Signal], list[str]]:
    """Returns the voltages that are sampled as the ECG leads are, and notes."""
    data = [signal for signal in signals if signal.label not in _ANNOTATIONS]
    voltages = [signal for signal in data if in_millivolts(signal.unit) and signal.length]
    if not voltages:
        kinds = ", ".join(f"{signal.label} ({signal.unit or 'no unit'})" for signal in data[:12])
        raise UserError(f"holds no ECG leads, that is no voltages; it has {kinds or 'annotations only'}")
    leads = [signal for signal in voltages if canonical_lead(signal.label)]
    leads = leads or [signal for signal in voltages if _ECG.search(signal.label)] or voltages
    most = collections.Counter(signal.length for signal in leads).most_common(1)[0][0]
    kept = [signal for signal in voltages if signal.length == most]
    left = [signal.label for signal in data if signal not in kept]
    return kept, [f"not read, being no voltage or of another sampling rate: {', '.join(left)}"] if left else []


def _millivolts(data: np.ndarray, signal: _Signal) -> np.ndarray:
    """Returns float32 millivolts from bytes (records, samples of a record, bytes of a sample)."""
    parts = data[:, signal.start : signal.start + signal.length]
    if parts.shape[2] == 2:
        counts = np.ascontiguousarray(parts).view("<i2")
    else:
        words = np.zeros((*parts.shape[:2], 4), np.uint8)
        words[..., 1:] = parts
        counts = words.view("<i4") >> 8
    scale = in_millivolts(signal.unit) or 0.0
    return counts.ravel() * np.float32(signal.gain * scale) + np.float32(signal.offset * scale)


def _patient(head: bytes) -> tuple[str | None, float | None]:
    """Returns sex and age: EDF+ has "code sex birth name", with X for what is not known."""
    fields = head[8:88].decode("latin-1").split()
    if len(fields) < 3 or fields[1] not in ("F", "M", "X"):
        return None, None
    day = re.fullmatch(r"(\d\d)\.(\d\d)\.(\d\d)", head[168:176].decode("latin-1"))
    age = None
    if day:
        year = int(day[3]) + (1900 if int(day[3]) >= 85 else 2000)
        try:
            born = datetime.datetime.strptime(fields[2], "%d-%b-%Y").strftime("%Y%m%d")
            age = years_between(born, f"{year}{day[2]}{day[1]}")
        except ValueError:
            pass
    return (fields[1] if fields[1] != "X" else None), age


def _number(field: bytes, what: str) -> float:
    try:
        value = float(field.decode("ascii").replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"broken EDF header: {field!r} for the {what}; export it again")
    return value


def _whole(field: bytes, what: str) -> int:
    return round(_number(field, what))


FORMAT = Format("EDF", (".edf", ".bdf", ".rec"), _matches, _read, _read_blocks)
