"""WFDB records, read a block at a time, where samples lie at fixed places in their files, or in segments.

What else there is (compressed files, stored differences, signals that lag behind others) is read whole. Checksums are
compared when the last block has been read.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from lrhnet_jax.ecg import files, wfdb, wfdb_signal
from lrhnet_jax.ecg import wfdb_formats as formats
from lrhnet_jax.ecg.recording import BlockRecording
from lrhnet_jax.ecg.wfdb_fields import NO_FILE, Header
from lrhnet_jax.errors import UserError

VALUES = 2**21  # of all signals, in a block
_ALIGNED = 6  # frames: in every format, so many begin with a whole byte


def read(path: pathlib.Path) -> BlockRecording:
    """Opens a record, with all of its signals that are voltages at the rate of the ECG.

    Args:
      path: the .hea file.

    Raises:
      RecordError or UserError: as `wfdb.read_recording`; reading blocks raises them, too.
    """
    header = wfdb.read_header(path)
    usable = wfdb.usable_columns(header)
    wfdb.check_readable(header, usable)
    return BlockRecording(
        blocks=_blocks(header, usable),
        rate=header.rate,
        leads=tuple(wfdb.lead_name(header.leads[i]) for i in usable),
        path=path,
        age=header.age,
        sex=header.sex,
        samples=header.samples,
    )


def _blocks(header: Header, columns: Sequence[int]) -> Iterator[np.ndarray]:
    """Yields (time, len(columns)) float32, millivolts, NaN where a sample is missing."""
    if header.segments:
        parts = wfdb.segment_headers(header, len(columns))
        for name, frames in header.segments:
            if name == NO_FILE:
                yield from _gap(frames * header.per_frame, len(columns))
            elif frames:
                yield from _segment(header, parts[name], columns)
    elif not _in_place(header, columns):
        yield wfdb_signal.read_columns(header, columns)
    else:
        yield from _from_places(header, columns)


def _segment(record: Header, part: Header, columns: Sequence[int]) -> Iterator[np.ndarray]:
    """The blocks of a segment, which may lack some of the record's signals."""
    names = [record.leads[i] for i in columns]
    there = [place for place, name in enumerate(names) if name in part.leads]
    if not there:
        yield from _gap(part.samples, len(columns))
        return
    same = part.leads == record.leads
    inside = [columns[place] if same else part.leads.index(names[place]) for place in there]
    for block in _blocks(part, inside):
        result = np.full((len(block), len(columns)), np.nan, np.float32)
        result[:, there] = block
        yield result


def _gap(samples: int, width: int) -> Iterator[np.ndarray]:
    """Missing samples."""
    step = VALUES // max(width, 1)
    for start in range(0, samples, step):
        yield np.full((min(step, samples - start), width), np.nan, np.float32)


def _in_place(header: Header, columns: Sequence[int]) -> bool:
    """Whether each sample of these signals lies at a place of its file that its number tells."""
    chosen = [header.signals[i] for i in columns]
    return (
        header.described <= len(header.signals)
        and all(
            not signal.problem
            and signal.per_frame == header.per_frame
            and signal.format in formats.FORMATS
            and signal.format not in (formats.DIFFERENCES, *formats.COMPRESSED)
            and not wfdb_signal.is_matlab(pathlib.Path(signal.file))
            for signal in chosen
        )
        and not any(signal.skew for signal in header.signals)
    )


def _from_places(header: Header, columns: Sequence[int]) -> Iterator[np.ndarray]:
    chosen = [header.signals[i] for i in columns]
    widths = {name: sum(signal.per_frame for signal in wfdb_signal.group_of(header, name))
              for name in dict.fromkeys(signal.file for signal in chosen)}  # fmt: skip
    for name, width in widths.items():
        _check_size(header, name, width)
    step = max(VALUES // max(sum(widths.values()), 1) // _ALIGNED, 1) * _ALIGNED
    sums = np.zeros(len(columns), np.int64)
    for start in range(0, header.frames, step):
        part = _part(header, widths, start, min(step, header.frames - start))
        result = np.empty((part.frames * part.per_frame, len(columns)), np.float32)
        for name in widths:
            places = [place for place, signal in enumerate(chosen) if signal.file == name]
            values, missing = wfdb_signal.stored(part, name, [columns[place] for place in places])
            sums[places] += values.sum(0, dtype=np.int64)
            result[:, places] = wfdb_signal.millivolts(values, [chosen[place] for place in places], missing)
        yield result
    if header.summed:
        wfdb_signal.check_sums(sums, chosen)


def _part(header: Header, widths: dict[str, int], start: int, frames: int) -> Header:
    """The header of a part of a record, whose first frame lies behind `start` others in each file."""
    moved = tuple(
        signal._replace(offset=signal.offset + formats.size(signal.format, start * widths[signal.file]))
        if signal.file in widths
        else signal
        for signal in header.signals
    )
    return dataclasses.replace(header, signals=moved, summed=False).with_frames(frames)


def _check_size(header: Header, name: str, width: int) -> None:
    """Raises UserError if a file is shorter than the header says, before any of it is read."""
    first = wfdb_signal.group_of(header, name)[0]
    path = files.beside(header.path.parent, name)
    try:
        size = files.file_size(path)
    except OSError as error:
        raise UserError(f"signal file {path.name}: {error.strerror}") from error
    wfdb_signal.check_length(header, path, first, width, size)
