"""WFDB headers: what the text of a .hea file says, clause by clause of https://wfdb.io/spec/header-files.html.

Every pattern is matched without backtracking, and digits are 0 to 9: a file that somebody else wrote can neither keep
the parser busy nor slip a number past it that other programs do not read as one.
"""

import dataclasses
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
_STORAGE = re.compile(
    rf"([^ \t]++){_BLANK}++([0-9]++)(?:x([0-9]++))?+(?::([0-9]++))?+(?:\+([0-9]++))?+(?:{_BLANK}++(.*+))?+"
)
# Behind the storage, all optional: gain(baseline)/unit resolution zero initial checksum block name.
_CALIBRATION = re.compile(
    rf"({_REAL})(?:\(([-+]?+[0-9]++)\))?+(?:/([^ \t]++))?+"
    rf"(?:{_BLANK}++[-+]?+[0-9]++(?:{_BLANK}++([-+]?+[0-9]++)(?:{_BLANK}++([-+]?+[0-9]++)"
    rf"(?:{_BLANK}++([-+]?+[0-9]++)(?:{_BLANK}++[-+]?+[0-9]++(?:{_BLANK}++(.*+))?+)?+)?+)?+)?+)?+"
)
_SEGMENT = re.compile(rf"([^ \t]++){_BLANK}++([0-9]++)(?:{_BLANK}.*+)?+")
_MOST_DIGITS = 18  # of an integer: beyond them it is no count of anything
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
    match = _STORAGE.fullmatch(line)
    if match is None:
        raise UserError(f"unreadable header (signal line {line[:80]!a})")
    file, storage, per_frame, skew, offset, rest = match.groups()
    stored = SignalSpec(
        file, _integer(storage), _integer(per_frame or "1") or 1, _integer(skew or "0"), _integer(offset or "0")
    )
    return _calibrated(stored, rest) if rest else stored


def _calibrated(signal: SignalSpec, text: str) -> SignalSpec:
    """The signal with what `text`, behind its storage, says; a fault in it counts if the signal is asked for."""
    match = _CALIBRATION.fullmatch(text)
    if match is None:
        fields = text.split(maxsplit=6)
        lead = fields[6].strip() if len(fields) > 6 else ""
        return signal._replace(lead=lead, problem=f"unreadable header (signal line of {lead[:40]!a}: {text[:80]!a})")
    gain_text, baseline, unit, zero, initial, checksum, name = match.groups()
    lead = (name or "").strip()
    millivolts = MILLIVOLTS.get((unit or "mV").casefold())
    if millivolts is None:
        return signal._replace(lead=lead, problem=f"unit {unit[:40]!a} is no voltage")
    gain = (float(gain_text) or DEFAULT_GAIN) / millivolts
    problem = _problem_of_gain(gain, gain_text[:40], signal.format)
    try:
        centre = _integer(zero or "0")
        return SignalSpec(
            *signal[:5],
            gain=gain,
            baseline=_integer(baseline) if baseline else centre,
            initial=_integer(initial) if initial else centre,
            checksum=_integer(checksum) if checksum else None,
            lead=lead,
            problem=problem,
        )
    except UserError as error:
        return signal._replace(lead=lead, problem=str(error))


def _problem_of_gain(gain: float, text: str, format: int) -> str:
    if not (math.isfinite(gain) and gain > 0):
        return f"gain {text} makes no sense"
    kind = wfdb_formats.FORMATS.get(format)
    if kind and 2.0**kind.bits / gain < FINEST:
        return f"gain {text} makes no sense: all that {kind.bits} bits can hold is {2.0**kind.bits / gain:.1g} mV"
    return ""


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise UserError(f"unreadable header (number {text[:40]}...)")
    return int(text)


def _source(path: pathlib.Path) -> str:
    parts = path.parts
    below = [i for i, part in enumerate(parts[:-2]) if part == "training"]
    return printable(parts[below[-1] + 1]) if below else ""
