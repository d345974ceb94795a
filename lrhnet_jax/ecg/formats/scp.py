"""SCP-ECG files (.scp): sections of binary data, raw or packed by Huffman codes, differences and reference beats.

Source: EN 1064:2005+A1:2007 / ISO 11073-91064:2009. Two of its rarer forms are refused: bimodal compression, where the
samples between the beats are thinned out, and the long-term rhythm of version 3 (section 12).
"""

import binascii
import pathlib
import struct
from typing import NamedTuple

import numpy as np

from lrhnet_jax.ecg.formats import scp_huffman
from lrhnet_jax.ecg.formats.base import Format, Given, check_claim, columns, read_bytes, years_between
from lrhnet_jax.ecg.recording import Recording, parse_age
from lrhnet_jax.errors import UserError

_RIGHT = ("V2R", "V3R", "V4R", "V5R", "V6R", "V7R")
_LEADS = dict(enumerate(("I", "II", "V1", "V2", "V3", "V4", "V5", "V6", "V7", *_RIGHT, "X", "Y", "Z"), 1))
_LEADS |= dict(enumerate(("III", "aVR", "aVL", "aVF", "-aVR", "V8", "V9", "V8R", "V9R"), 61))
_AGE_UNITS = {1: "Y", 2: "M", 3: "W", 4: "D"}
_SEXES = {b"\1": "Male", b"\2": "Female"}
_HEADER = 16  # bytes of a section's
_VERSION_3 = 30  # from here on, the byte that told bimodal compression means nothing


class _Lead(NamedTuple):
    start: int  # samples, counted from 1
    end: int
    code: int

    @property
    def length(self) -> int:
        return self.end - self.start + 1


def _matches(path: pathlib.Path, head: bytes) -> bool:
    if len(head) < 32:
        return False
    section, size = struct.unpack_from("<HI", head, 8)
    return head[16:22] == b"SCPECG" or (section == 0 and size >= 136 and size % 10 == 6 and head[22:24] == b"\0\0")


def _read(path: pathlib.Path, given: Given) -> Recording:
    data = read_bytes(path)
    check_claim(6 + _HEADER, len(data), "an SCP-ECG header")
    checksum, size = struct.unpack_from("<HI", data)
    check_claim(size, len(data), "its SCP-ECG header")
    notes = [] if binascii.crc_hqx(data[2:size], 0xFFFF) == checksum else ["the file does not match its checksum"]
    sections = _sections(data)
    if 12 in sections and 6 not in sections:
        raise UserError("holds a long-term rhythm (SCP-ECG 3, section 12), which is not read; export the ECG")
    if 3 not in sections or 6 not in sections:
        raise UserError("holds no ECG leads (sections 3 and 6); export it with its rhythm")
    leads, subtracted = _leads(sections[3])
    tables = scp_huffman.parse_tables(sections[2]) if 2 in sections else None
    interval, bimodal, signals = _signals(sections[6], [lead.length for lead in leads], tables)
    thinned = bimodal and sections[0][9] < _VERSION_3
    if thinned or subtracted:
        if thinned and (5 not in sections or struct.unpack_from("<H", sections[5], 2)[0] != interval):
            raise UserError("is packed by bimodal compression, which is not read; export it without")
        if subtracted:
            _add_reference_beats(sections, leads, signals, interval, tables)
    first = min(lead.start for lead in leads)
    for i, lead in enumerate(leads):  # those that begin later
        signals[i] = np.concatenate((np.full(lead.start - first, np.nan, np.float32), signals[i]))
    signal, names = columns(
        [(_LEADS.get(lead.code, f"lead {lead.code}"), s) for lead, s in zip(leads, signals, strict=True)]
    )
    tags = _tags(sections.get(1, b""))
    return Recording(
        signal=signal,
        rate=_rate(interval),
        leads=names,
        path=path,
        age=_age(tags),
        sex=_SEXES.get(tags.get(8, b"")),
        notes=tuple(notes),
    )


def _sections(data: bytes) -> dict[int, bytes]:
    """Returns each section that is there, without its header; of section 0, its header."""
    number, size = struct.unpack_from("<HI", data, 8)
    if number != 0:
        raise UserError("is not an SCP-ECG file: it does not begin with section 0")
    check_claim(6 + size, len(data), "its list of sections")
    result = {0: data[6 : 6 + _HEADER]}
    for offset in range(6 + _HEADER, 6 + size - 9, 10):
        number, length, index = struct.unpack_from("<HII", data, offset)
        if number == 0 or length <= _HEADER or index == 0:
            continue
        check_claim(index - 1 + length, len(data), f"its section {number}")
        body = data[index - 1 : index - 1 + length]
        if number <= 12 and struct.unpack_from("<H", body, 2)[0] != number:
            raise UserError(f"broken SCP-ECG file: section {number} is not where the list says; export it again")
        result.setdefault(number, body[_HEADER:])
    return result


def _leads(section: bytes) -> tuple[list[_Lead], bool]:
    """Returns the leads of section 3, and whether a reference beat was subtracted from them."""
    count, flags = struct.unpack_from("<BB", section)
    check_claim(2 + 9 * count, len(section), "its section 3")
    leads = [_Lead(*struct.unpack_from("<IIB", section, 2 + 9 * i)) for i in range(count)]
    if not leads or not all(1 <= lead.start <= lead.end for lead in leads):
        raise UserError("holds no ECG leads (section 3 describes none)")
    span = max(lead.end for lead in leads) - min(lead.start for lead in leads) + 1
    if span > sum(lead.length for lead in leads):
        raise UserError(f"broken SCP-ECG file: its leads leave gaps in {span} samples; export it again")
    return leads, bool(flags & 1)


def _signals(
    section: bytes, counts: list[int], tables: list[scp_huffman.Table] | None
) -> tuple[int, bool, list[np.ndarray]]:
    """Returns the interval between samples in µs, the byte for bimodal compression, and float32 millivolts a lead."""
    step, interval, differences, bimodal, *sizes = struct.unpack_from(f"<HHBB{len(counts)}H", section)
    start = 6 + 2 * len(counts)
    check_claim(start + sum(sizes), len(section), "its section 5 or 6")
    if step == 0 or differences > 2:
        raise UserError(f"broken SCP-ECG file: steps of {step} nV, differences of order {differences}")
    signals = []
    for size, count in zip(sizes, counts, strict=True):
        packed = section[start : start + size]
        if tables is None:
            check_claim(2 * count, size, "its section 3")
            values = np.frombuffer(packed, "<i2", count).astype(np.int64)
        else:
            values = scp_huffman.decode(packed, count, tables)
        if differences == 2 and count > 1:  # the first two are samples
            values[1] -= values[0]
            values[1:] = np.cumsum(values[1:])
        if differences:
            values = np.cumsum(values)
        signals.append(values.astype(np.int16) * np.float32(step * 1e-6))  # carts count in 16 bits
        start += size
    return interval, bool(bimodal), signals


def _add_reference_beats(
    sections: dict[int, bytes],
    leads: list[_Lead],
    signals: list[np.ndarray],
    interval: int,
    tables: list[scp_huffman.Table] | None,
) -> None:
    """Adds the reference beat (section 5) to the signals, in place, where section 4 says that it was subtracted."""
    if 4 not in sections or 5 not in sections:
        raise UserError("lacks the reference beat that was subtracted from its leads; export it again")
    duration, centre, count = struct.unpack_from("<HHH", sections[4])
    check_claim(6 + 14 * count, len(sections[4]), "its section 4")
    length = round(duration * 1000 / max(interval, 1))
    beat_interval, _, beats = _signals(sections[5], [length] * len(leads), tables)
    if beat_interval != interval:
        raise UserError("its reference beat has another sampling rate, which is not read; export it without")
    for i in range(count):
        kind, start, middle, end = struct.unpack_from("<HIII", sections[4], 6 + 14 * i)
        begin = middle - centre + 1  # the sample at which the reference beat begins
        for lead, signal, beat in zip(leads, signals, beats, strict=True):
            first = max(start, lead.start, begin)
            last = min(end, lead.end, begin + length - 1)
            if kind == 0 and first <= last:
                signal[first - lead.start : last - lead.start + 1] += beat[first - begin : last - begin + 1]


def _rate(interval: int) -> float:
    """Returns Hz; the interval is a whole number of microseconds, so 3333 means 300 Hz."""
    if interval == 0:
        raise UserError("does not say its sampling rate (an interval of 0 µs)")
    return float(round(1e6 / interval))


def _tags(section: bytes) -> dict[int, bytes]:
    """Returns the fields of section 1 by their tag."""
    tags: dict[int, bytes] = {}
    offset = 0
    while offset + 3 <= len(section) and section[offset] != 255:
        tag, size = struct.unpack_from("<BH", section, offset)
        tags.setdefault(tag, section[offset + 3 : offset + 3 + size])
        offset += 3 + size
    return tags


def _age(tags: dict[int, bytes]) -> float | None:
    if len(tags.get(4, b"")) == 3:
        age, unit = struct.unpack("<HB", tags[4])
        if age and unit in _AGE_UNITS:
            return parse_age(f"{age}{_AGE_UNITS[unit]}")
    if len(tags.get(5, b"")) == len(tags.get(25, b"")) == 4:  # birth and recording
        born, recorded = ("{:04d}{:02d}{:02d}".format(*struct.unpack("<HBB", tags[tag])) for tag in (5, 25))
        return years_between(born, recorded)
    return None


FORMAT = Format("SCP-ECG", (".scp",), _matches, _read)
