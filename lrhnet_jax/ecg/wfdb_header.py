"""WFDB headers: what the text of a .hea file says, clause by clause of https://wfdb.io/spec/header-files.html.

Every pattern is matched without backtracking, and digits are 0 to 9: a file that somebody else wrote can neither keep
the parser busy nor slip a number past it that other programs do not read as one.
"""

import dataclasses
import functools
import math
import pathlib
import re
from typing import Any

from lrhnet_jax.ecg import wfdb_formats
from lrhnet_jax.ecg.files import printable
from lrhnet_jax.ecg.recording import parse_age
from lrhnet_jax.ecg.wfdb_fields import DEFAULT_GAIN, NO_FILE, Header, Segment, SignalSpec
from lrhnet_jax.errors import UserError

MILLIVOLTS = {
    **dict.fromkeys(("nv", "nanovolt", "nanovolts"), 1e-6),
    **dict.fromkeys(("uv", "\N{GREEK SMALL LETTER MU}v", "microvolt", "microvolts"), 1e-3),  # casefolded: both signs
    **dict.fromkeys(("mv", "millivolt", "millivolts"), 1.0),
    **dict.fromkeys(("v", "volt", "volts"), 1e3),
}
DEFAULT_RATE = 250.0  # Hz, of the specification
FINEST = 1e-3  # mV: a format whose whole range is less holds nothing of an ECG

_BLANK = "[ \t]"
_REAL = r"[-+]?+(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][-+]?+[0-9]++)?+"  # as scanf reads them
_RECORD = re.compile(
    rf"([^ \t/]++)(?:/([0-9]++))?+{_BLANK}++([0-9]++)"
    rf"(?:{_BLANK}++({_REAL})(?:/{_REAL}(?:\({_REAL}\))?+)?+(?:{_BLANK}++([0-9]++)(?:{_BLANK}.*+)?+)?+)?+"
)
# file format [gain [resolution [zero [initial [checksum [block [name]]]]]]]; format and gain have parts.
_INTEGER = r"[-+]?+[0-9]{1,18}+"  # beyond 18 digits a number is not a count of anything
_SIGNAL = re.compile(
    rf"([^ \t]++){_BLANK}++([^ \t]++)(?:{_BLANK}++([^ \t]++)(?:{_BLANK}++{_INTEGER}(?:{_BLANK}++({_INTEGER})"
    rf"(?:{_BLANK}++({_INTEGER})(?:{_BLANK}++({_INTEGER})(?:{_BLANK}++{_INTEGER}(?:{_BLANK}++(.*+))?+)?+)?+)?+)?+)?+)?+"
)
_FORMAT = re.compile(r"([0-9]{1,18}+)(?:x([0-9]{1,18}+))?+(?::([0-9]{1,18}+))?+(?:\+([0-9]{1,18}+))?+")
_GAIN = re.compile(rf"({_REAL})(?:\(({_INTEGER})\))?+(?:/([^ \t]++))?+")
_LONGEST_GAIN = 100  # characters
_SEGMENT = re.compile(rf"([^ \t]++){_BLANK}++([0-9]++)(?:{_BLANK}.*+)?+")
_KEYS = {
    **dict.fromkeys(("age", "age (years)", "age (yrs)", "patient age"), "age"),
    **dict.fromkeys(("sex", "gender", "patient sex"), "sex"),
    **dict.fromkeys(("patient", "patient id", "patient_id"), "patient"),
    "dx": "dx",
}
_SEPARATORS = str.maketrans(",;\t", "   ")


def parse(path: pathlib.Path, data: bytes) -> Header:
    """Returns what the bytes of a header say.

    Of a record in segments, leads and rate are still to come: `Header.with_signals`. Of one that does not say how long
    it is, `frames` and `samples` are 0: `Header.with_frames`.

    Raises:
      UserError: if they are not a WFDB header.
    """
    lines, comments = _lines(data)
    record = _RECORD.fullmatch(lines[0]) if lines else None
    if record is None:
        raise UserError("unreadable header (first line: name, leads, rate and samples expected)")
    count, frames = _integer(record[3]), _integer(record[5] or "0")
    rate = float(record[4] or DEFAULT_RATE)
    if count == 0:
        raise UserError("unreadable header (it announces no signals)")
    header = Header(
        path=path,
        record_id=printable(path.stem),
        source=_source(path),
        leads=(),
        rate=rate,
        samples=frames,
        frame_rate=rate,
        frames=frames,
        **_person(comments),
    )
    if record[2] is not None:
        return dataclasses.replace(header, segments=_segments(lines[1:], _integer(record[2])))
    described = len(lines) - 1
    if described < count:
        raise UserError(f"wrong lead count: {count} announced, {described} described")
    return header.with_signals(tuple(_signal(line) for line in lines[1 : 1 + count]), described)


def segment_names(data: bytes) -> list[str]:
    """Returns the names of the records that are parts of this one; none if it is not in segments, or not readable."""
    try:
        lines, _ = _lines(data)
        record = _RECORD.fullmatch(lines[0]) if lines else None
        if record is None or record[2] is None:
            return []
        return [part.name for part in _segments(lines[1:], _integer(record[2])) if part.name != NO_FILE]
    except UserError:
        return []


def _lines(data: bytes) -> tuple[list[str], list[str]]:
    """Returns lines that are neither empty nor comments, and the comments without "#".

    LF or CR LF ends a line, and nothing else that Unicode takes for a line's end. A line that is not UTF-8 is Latin-1.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):  # as Windows' Notepad saves "Unicode"
        data = data.decode("utf-16", "replace").encode()
    lines, comments = [], []
    for raw in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        try:
            line = raw.decode()
        except UnicodeDecodeError:
            line = raw.decode("latin-1")
        line = line.removesuffix("\r").strip(" \t")
        if line.startswith("#"):
            comments.append(line[1:])
        elif line:
            lines.append(line)
    return lines, comments


def _person(comments: list[str]) -> dict[str, Any]:
    """What the comments say of the patient; the first line of a kind counts, but every line of diagnoses."""
    values: dict[str, str] = {}
    codes: list[str] = []
    for line in comments:
        key, colon, value = line.partition(":")
        kind = _KEYS.get(key.strip().casefold()) if colon else None
        if kind == "dx":
            codes += value.translate(_SEPARATORS).split()
        elif kind and value.strip():
            values.setdefault(kind, value.strip())
    return {
        "age": parse_age(values.get("age")),
        "sex": values.get("sex"),
        "codes": tuple(codes),
        "patient": values.get("patient"),
    }


def _segments(lines: list[str], count: int) -> tuple[Segment, ...]:
    matches = [_SEGMENT.fullmatch(line) for line in lines[:count]]
    wrong = next((line for line, match in zip(lines, matches, strict=False) if match is None), None)
    if wrong is not None or len(matches) < count or not matches:
        where = f"line {wrong[:80]!a}" if wrong is not None else f"{count} announced, {len(matches)} described"
        raise UserError(f"unreadable header (of several segments: {where})")
    return tuple(Segment(match[1], _integer(match[2])) for match in matches if match)


def _signal(line: str) -> SignalSpec:
    match = _SIGNAL.fullmatch(line)
    if match is None or len(match[3] or "") > _LONGEST_GAIN:
        return _disordered(line)
    file, storage, calibration, zero, initial, checksum, name = match.groups()
    format, per_frame, skew, offset = _format(storage)
    gain, baseline, problem = _gain(calibration or "0", format)
    centre = int(zero or 0)
    return SignalSpec(
        file,
        format,
        per_frame,
        skew,
        offset,
        gain,
        centre if baseline is None else baseline,
        int(initial) if initial else centre,
        int(checksum) if checksum else None,
        (name or "").strip(),
        problem,
    )


def _disordered(line: str) -> SignalSpec:
    """A signal with something wrong in its line. If that is not where it is stored, it matters when it is asked for."""
    fields = [field for field in line.replace("\t", " ").split(" ") if field]
    problem = f"unreadable header (signal line {line[:80]!a})"
    if len(fields) < 2:
        raise UserError(problem)
    return SignalSpec(fields[0], *_format(fields[1]), lead=" ".join(fields[8:]), problem=problem)


@functools.lru_cache(maxsize=256)  # the signals of an archive differ little in these
def _format(text: str) -> tuple[int, int, int, int]:
    """Format, samples a frame, skew and offset of "212x2:3+24"."""
    match = _FORMAT.fullmatch(text)
    if match is None:
        raise UserError(f"unreadable header (signal line with format {text!a})")
    return int(match[1]), int(match[2] or 1) or 1, int(match[3] or 0), int(match[4] or 0)


@functools.lru_cache(maxsize=256)
def _gain(text: str, format: int) -> tuple[float, int | None, str]:
    """ADC units per millivolt, baseline and what is wrong with them, of "1000.0(-7)/uV"."""
    match = _GAIN.fullmatch(text)
    if match is None:
        return DEFAULT_GAIN, None, f"unreadable header (signal line with gain {text!a})"
    millivolts = MILLIVOLTS.get((match[3] or "mV").casefold())
    if millivolts is None:
        return DEFAULT_GAIN, None, f"unit {match[3]!a} is no voltage"
    gain = (float(match[1]) or DEFAULT_GAIN) / millivolts
    baseline = int(match[2]) if match[2] else None
    kind = wfdb_formats.FORMATS.get(format)
    if not (math.isfinite(gain) and gain > 0):
        return DEFAULT_GAIN, baseline, f"gain {match[1]} makes no sense"
    if kind and 2.0**kind.bits / gain < FINEST:
        held = f"{2.0**kind.bits / gain:.1g} mV"
        return gain, baseline, f"gain {match[1]} makes no sense: all that {kind.bits} bits can hold is {held}"
    return gain, baseline, ""


def _integer(text: str) -> int:
    if len(text) > 18:
        raise UserError(f"unreadable header (number {text[:40]}...)")
    return int(text)


def _source(path: pathlib.Path) -> str:
    parts = path.parts
    below = [i for i, part in enumerate(parts[:-2]) if part == "training"]
    return printable(parts[below[-1] + 1]) if below else ""
