"""Reading WFDB records: headers, and signals in millivolts with the leads in a given order.

The parts: `wfdb_header` (text to fields), `wfdb_formats` (bytes to ADC units), `wfdb_signal` (a segment's files to
millivolts), `lead_names` (which signal is which lead). docs/data.md says what is read, derived and refused.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from lrhnet_jax.ecg import files, wfdb_signal
from lrhnet_jax.ecg.lead_names import LeadPlan, canonical_lead, plan_leads
from lrhnet_jax.ecg.leads import LEADS, RATES, LeadError
from lrhnet_jax.ecg.recording import RecordError, Recording, record_errors
from lrhnet_jax.ecg.wfdb_fields import NO_FILE, Header, Segment
from lrhnet_jax.ecg.wfdb_header import parse, segment_names
from lrhnet_jax.errors import UserError

__all__ = ["Header", "RecordError", "find_headers", "read_header", "read_recording", "read_signal"]

MIN_SECONDS = 1.0  # a shorter record holds no whole beat, and the filters of the preprocessing need some samples
LARGEST_HEADER = 2**21  # bytes: thousands of segments or pages of comments


def find_headers(raw_dir: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Returns the .hea files of all records below `raw_dir`, each once, sorted by path.

    The parts of a record in segments are not records of their own. `files.find_files` tells of links and hidden files.
    """
    paths = files.find_files(raw_dir, (".hea",))
    parts: set[pathlib.Path] = set()
    for path in paths:
        try:
            names = segment_names(files.read_regular(path, LARGEST_HEADER))
            parts.update(_segment_path(path, name) for name in names)
        except (OSError, UserError):  # reading the record will say what is wrong
            continue
    return [path for path in paths if path not in parts]


def read_header(path: str | os.PathLike[str]) -> Header:
    """Reads a .hea file.

    Raises:
      RecordError: if it is missing or is not a WFDB header.
    """
    path = pathlib.Path(path)
    with record_errors(path):
        header = _parse(path)
        if header.segments:
            header = _joined(header)
        elif not header.frames:
            header = header.with_frames(wfdb_signal.count_frames(header))
        if not RATES[0] <= header.rate <= RATES[1]:
            raise UserError(f"unreadable header (rate {header.rate:g} Hz; {RATES[0]:g} to {RATES[1]:g} Hz expected)")
        return header


def _joined(master: Header) -> Header:
    """The header of a record in segments, with the signals that its first segment names: its layout, if it has one."""
    first = next((part for part in master.segments if part.name != NO_FILE), None)
    if first is None:
        raise UserError("unreadable header (all of its several segments are gaps)")
    total = sum(part.frames for part in master.segments)
    if master.frames not in (0, total):
        raise UserError(f"announces {master.frames} samples, its segments {total}")
    layout = _parse(_segment_path(master.path, first.name))
    header = master.with_signals(layout.signals, layout.described).with_frames(total)
    return dataclasses.replace(
        header,
        age=layout.age if master.age is None else master.age,
        sex=master.sex or layout.sex,
        codes=master.codes or layout.codes,
        patient=master.patient or layout.patient,
    )


def read_signal(header: Header, leads: Sequence[str] = LEADS, rename: Mapping[str, str] | None = None) -> np.ndarray:
    """Reads a record's signal; limb leads that it lacks are derived from leads I and II.

    Args:
      header: of the record, from `read_header`.
      leads: names, in the order of the result; case does not matter.
      rename: name in the file -> the lead that it counts as.

    Returns:
      (samples, len(leads)) float32, millivolts.

    Raises:
      RecordError: for a lead, file or sample that is missing, and for a file that does not fit its header.
    """
    with record_errors(header.path):
        plan = _plan(header, leads, rename)
        signal = _read(header, plan.columns)
        missing = np.isnan(signal)
        if missing.any():
            names = [header.leads[i] for i, some in zip(plan.columns, missing.any(0), strict=True) if some]
            raise UserError(f"{np.count_nonzero(missing)} non-finite samples (missing in lead {', '.join(names)})")
        return plan.apply(signal)


def read_recording(
    path: str | os.PathLike[str], leads: Sequence[str] | None = None, rename: Mapping[str, str] | None = None
) -> Recording:
    """Reads a record with NaN where samples are missing: in the gaps between segments, or where a lead was off.

    Args:
      path: the .hea file.
      leads: as in `read_signal`; None takes every signal that is a voltage at the rate of the ECG.
      rename: name in the file -> the lead that it counts as.

    Raises:
      RecordError: as `read_signal`, but for missing samples.
    """
    path = pathlib.Path(path)
    header = read_header(path)
    rename = rename or {}
    with record_errors(path):
        if leads is not None:
            plan = _plan(header, leads, rename)
            signal, names, notes = plan.apply(_read(header, plan.columns)), tuple(leads), plan.notes
        else:
            usable = usable_columns(header)
            names = tuple(rename.get(header.leads[i]) or lead_name(header.leads[i]) for i in usable)
            signal, notes = _read(header, usable), ()
        missing = np.isnan(signal).sum(0).tolist()
        notes += tuple(f"{n} missing samples in lead {lead}" for lead, n in zip(names, missing, strict=True) if n)
        return Recording(
            signal=signal,
            rate=header.rate,
            leads=names,
            path=path,
            age=header.age,
            sex=header.sex,
            codes=header.codes,
            patient=header.patient,
            source=header.source,
            notes=notes,
        )


def usable_columns(header: Header) -> list[int]:
    """Returns which signals are voltages at the rate of the ECG."""
    return [i for i, s in enumerate(header.signals) if not s.problem and s.per_frame == header.per_frame]


def lead_name(name: str) -> str:
    """Returns the usual name of a lead, or the file's own, if it is not one of the twelve."""
    return canonical_lead(name) or name


def _plan(header: Header, leads: Sequence[str], rename: Mapping[str, str] | None) -> LeadPlan:
    try:
        return plan_leads(header.leads, leads, rename)
    except LeadError as error:
        announced, described = len(header.leads), header.described
        if described > announced:
            raise UserError(f"wrong lead count: {announced} announced, {described} described; it {error}") from error
        raise


def _parse(path: pathlib.Path) -> Header:
    try:
        data = files.read_regular(path, LARGEST_HEADER + 1)
    except OSError as error:
        raise UserError(f"unreadable header ({error.strerror})") from error
    if len(data) > LARGEST_HEADER:
        raise UserError(f"unreadable header (more than {LARGEST_HEADER:,} bytes)")
    return parse(path, data)


def _segment_path(master: pathlib.Path, name: str) -> pathlib.Path:
    return files.beside(master.parent, f"{name}{master.suffix}")


def _read(header: Header, columns: Sequence[int]) -> np.ndarray:
    """The signals `columns` of any record, (header.samples, len(columns)) float32, NaN where a sample is missing."""
    check_readable(header, columns)
    if not header.segments:
        return wfdb_signal.read_columns(header, columns)
    parts = segment_headers(header, len(columns))
    result = np.full((header.samples, len(columns)), np.nan, np.float32)
    start = 0
    for name, frames in header.segments:
        part = parts.get(name) if frames else None
        there = [] if part is None else [place for place, i in enumerate(columns) if header.leads[i] in part.leads]
        if part is not None and there:
            same = part.leads == header.leads
            inside = [columns[place] if same else part.leads.index(header.leads[columns[place]]) for place in there]
            result[start : start + part.samples, there] = wfdb_signal.read_columns(part, inside)
        start += frames * header.per_frame
    return result


def check_readable(header: Header, columns: Sequence[int]) -> None:
    """Raises UserError for a record that is too short, or of which no signal is wanted."""
    if header.samples < MIN_SECONDS * header.rate:
        raise UserError(f"short signal: {header.samples} samples at {header.rate:g} Hz; {MIN_SECONDS:g} s is needed")
    if not columns:
        raise UserError("has no signal that is a voltage")


def segment_headers(record: Header, width: int) -> dict[str, Header]:
    """Returns the headers of a record's segments by name; UserError if their files cannot hold `width` such signals."""
    parts = {part.name: _segment(record, part) for part in record.segments if part.frames and part.name != NO_FILE}
    paths = {part.path.parent / signal.file for part in parts.values() for signal in part.signals}
    wfdb_signal.check_claim(record.samples * width, sum(files.file_size(path) for path in paths if path.exists()))
    return parts


def _segment(record: Header, segment: Segment) -> Header:
    """The header of a part of a record, seen to fit the record's."""
    header = _parse(_segment_path(record.path, segment.name))
    if header.segments:
        raise UserError(f"its segment {segment.name} is in segments itself")
    if header.frames and header.frames != segment.frames:
        raise UserError(f"its segment {segment.name} has {header.frames} samples, not {segment.frames}")
    if abs(header.frame_rate - record.frame_rate) > 1e-6 * record.frame_rate:
        raise UserError(f"its segment {segment.name} has another rate, {header.frame_rate:g} Hz")
    return dataclasses.replace(header, per_frame=record.per_frame).with_frames(segment.frames)
