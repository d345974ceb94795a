"""Tables of numbers as text: CSV and TSV in most dialects, and the CSV that the Apple Watch exports.

The rate comes from lines above the table ("Sample Rate,512 hertz", "# fs: 500") or from a column of times.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lrhnet_jax.ecg import files
from lrhnet_jax.ecg.formats import text_time
from lrhnet_jax.ecg.formats.base import (
    MAX_MARKUP_BYTES,
    Format,
    Given,
    in_millivolts,
    lead_name,
    rate_of,
    read_bytes,
    scale_of,
)
from lrhnet_jax.ecg.formats.text_table import HERTZ, Table, decode, find_row, find_table
from lrhnet_jax.ecg.lead_names import canonical_lead
from lrhnet_jax.ecg.recording import BlockRecording, Recording, in_blocks, parse_age
from lrhnet_jax.errors import UserError

_BLOCK_BYTES = 16 * 1024**2  # of a table, at a time
_DIALECT = 50  # rows
_GAP = 2.5  # steps from one time to the next: samples are left out
_LONGEST_GAP = 43_200.0  # s, of a block
_RATE_KEY = re.compile(r"fs|sfreq|rate|freq.*|sampl\w*[ _-]*(rate|freq.*)", re.IGNORECASE)
_FILTER = re.compile(r"filter|pass|notch|mains|cut|band", re.IGNORECASE)  # these are in hertz too
_STATEMENT = re.compile(r"[#%\s]*([^,;:=\t]+?)\s*[,;:=\t]\s*(.*?)[,;\s]*")
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)?")
_ECG = re.compile(r"ecg|ekg|lead|ml", re.IGNORECASE)


def _matches(path: pathlib.Path, head: bytes) -> bool:
    text = decode(head)
    lines = [line.strip("\r ") for line in text.split("\n")]
    return "\0" not in text and find_row(lines[:-1] or lines) is not None  # the last line may be cut


class _Layout(NamedTuple):
    """What the columns of a table are.

    Attributes:
      kept: those that are signals; scales: their millivolts a unit.
      times: the column of times, or None.
      rate, leads, age, sex, notes: as of `recording.Recording`.
    """

    kept: list[int]
    scales: list[float]
    times: int | None
    rate: float
    leads: tuple[str, ...]
    age: float | None
    sex: str | None
    notes: list[str]

    def signal(self, table: Table) -> np.ndarray:
        """Returns (time, leads) float32, millivolts."""
        return (table.values[:, self.kept] * self.scales).astype(np.float32)


def _read(path: pathlib.Path, given: Given) -> Recording:
    table = find_table(decode(read_bytes(path, MAX_MARKUP_BYTES)))
    layout = _understand(table, given)
    notes = tuple(dict.fromkeys(layout.notes))
    return Recording(layout.signal(table), layout.rate, layout.leads, path, layout.age, layout.sex, notes=notes)


def _read_blocks(path: pathlib.Path, given: Given) -> BlockRecording:
    """What the columns are, and the rate, is told by the first block; samples that times leave out are missing."""
    head = files.read_regular(path, _BLOCK_BYTES)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or files.file_size(path) <= len(head):  # UTF-16 has wide newlines
        return in_blocks(_read(path, given))
    lines = head[: head.rfind(b"\n") + 1].splitlines(keepends=True)
    layout = _understand(find_table(decode(b"".join(lines))), given)
    first = find_row([decode(line).strip("\r\n ") for line in lines[: _DIALECT * 10]]) or 0
    top = b"".join(lines[: first + _DIALECT])  # with rows enough to tell the dialect: each block is read below it
    return BlockRecording(
        blocks=_blocks(path, top, layout),
        rate=layout.rate,
        leads=layout.leads,
        path=path,
        age=layout.age,
        sex=layout.sex,
        notes=list(dict.fromkeys(layout.notes)),
    )


def _blocks(path: pathlib.Path, top: bytes, layout: _Layout) -> Iterator[np.ndarray]:
    first = find_table(decode(top))
    times = first.values[:, layout.times] if layout.times is not None else np.arange(2.0)
    step = float(np.median(np.diff(times)))
    signal, last = _spread(layout, first, step, float(times[0]) - step)
    yield signal
    with path.open("rb") as file:
        file.seek(len(top))
        while part := file.read(_BLOCK_BYTES):
            rows = part + file.readline()
            if not rows.strip():
                continue
            table = find_table(decode(top + rows))
            table = dataclasses.replace(table, values=table.values[len(first.values) :])
            signal, last = _spread(layout, table, step, last)
            yield signal


def _spread(layout: _Layout, table: Table, step: float, last: float) -> tuple[np.ndarray, float]:
    """Returns the signal, with missing samples where the times leave some out, and the last time.

    Args:
      step: from one sample to the next, in the unit of the times.
      last: the time before the first one.
    """
    signal = layout.signal(table)
    if layout.times is None or not len(signal):
        return signal, last
    times = table.values[:, layout.times]
    steps = np.diff(times, prepend=last) / step
    gaps = np.flatnonzero(steps > _GAP)
    counts = np.round(steps[gaps]) - 1
    if not counts.sum() <= _LONGEST_GAP * layout.rate:  # nor NaN
        raise UserError(f"its times leave out {counts.sum() / layout.rate / 3600:.3g} h; cut it there into two files")
    places = np.repeat(gaps, counts.astype(int))
    return np.insert(signal, places, np.nan, axis=0) if len(places) else signal, float(times[-1])


def _understand(table: Table, given: Given) -> _Layout:
    """Returns what the columns are; raises UserError if that cannot be told."""
    said = [(match[1], match[2].strip("'\" ")) for line in table.preamble if (match := _STATEMENT.fullmatch(line))]
    notes: list[str] = []
    named = any(table.names)
    if named:
        times = [i for i, name in enumerate(table.names) if text_time.is_time(name)]
        counters = [i for i, name in enumerate(table.names) if text_time.is_index(name)]
    else:
        extra = given.leads is None or len(table.names) == len(given.leads) + 1
        times = [0] if extra and len(table.names) > 1 and text_time.steps_evenly(table.values[:, 0]) else []
        counters = []
    rate = _rate(table, times[0], given, notes) if times else None
    columns = [i for i in range(len(table.names)) if i not in times and i not in counters]
    labels = [table.names[i] for i in columns] if named else _labels(table, len(columns), said, given)
    kept = _choose(labels, notes)
    stated = next((value for _, value in said if in_millivolts(value)), None)
    facts = {key.casefold(): value for key, value in said}
    return _Layout(
        kept=[columns[i] for i in kept],
        scales=[scale_of(table.units[columns[i]] or stated, given, notes, "mV") for i in kept],
        times=times[0] if times else None,
        rate=rate_of(rate if rate is not None else _stated_rate(table.preamble, said), given),
        leads=tuple(lead_name(labels[i]) for i in kept),
        age=parse_age(facts.get("age")) or _apple_age(facts),
        sex=facts.get("sex") or facts.get("gender") or None,
        notes=notes,
    )


def _rate(table: Table, column: int, given: Given, notes: list[str]) -> float | None:
    """Returns Hz of a column of times; None where it does not say its unit and the user gives the rate."""
    name = f"{table.names[column]} {table.units[column]}"
    seconds = text_time.unit_seconds(table.units[column]) or text_time.unit_seconds(name)
    if seconds is None and given.rate is not None:
        return None
    return text_time.rate_from_times(table.values[:, column], seconds, notes)


def _stated_rate(preamble: tuple[str, ...], said: list[tuple[str, str]]) -> float | None:
    """Returns Hz from the lines above the table: a number after "fs", "sampling rate" ..., or "512 hertz"."""
    texts = [match[0] for key, value in said if _RATE_KEY.fullmatch(key) and (match := _NUMBER.match(value))]
    texts += [match[1] for line in preamble if (match := HERTZ.search(line)) and not _FILTER.search(line)]
    return float(texts[0].replace(",", ".")) if texts else None


def _labels(table: Table, count: int, said: list[tuple[str, str]], given: Given) -> list[str] | tuple[str, ...]:
    """Returns names of columns that have none in the table."""
    # The Apple Watch says "Lead,Lead I" in its owner's language ("Ableitung,Ableitung I"), below the name, "Anna I".
    leads = [value.split()[-1] for _, value in said if value and canonical_lead(value.split()[-1])]
    if count == 1 and leads:
        return leads[-1:]
    if given.leads is None:
        raise UserError(f"does not name its {count} columns of samples; give their names, as I,II,V2")
    if len(given.leads) != count:
        raise UserError(f"has {count} columns of samples, which {len(given.leads)} names do not fit")
    return given.leads


def _choose(labels: list[str] | tuple[str, ...], notes: list[str]) -> list[int]:
    """Returns which columns are signals of an ECG; all of them, if no name tells."""
    known = [i for i, label in enumerate(labels) if canonical_lead(label) or _ECG.search(label)]
    left = [label for i, label in enumerate(labels) if i not in known]
    if known and left:
        notes.append(f"columns that name no lead are not read: {', '.join(left)}")
    return known or list(range(len(labels)))


def _apple_age(facts: dict[str, str]) -> float | None:
    """Returns years from the Apple Watch's dates, of which only the years are in a form that all languages share."""
    years = [re.search(r"\b(?:19|20)[0-9]{2}\b", facts.get(key, "")) for key in ("date of birth", "recorded date")]
    return float(int(years[1][0]) - int(years[0][0])) if years[0] and years[1] else None


FORMAT = Format("table (CSV)", (".csv", ".tsv", ".txt", ".asc"), _matches, _read, _read_blocks)
