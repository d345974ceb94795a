"""Tables of numbers as text: CSV and TSV in most dialects, and the CSV that the Apple Watch exports.

The rate comes from lines above the table ("Sample Rate,512 hertz", "# fs: 500") or from a column of times.
"""

import pathlib
import re

import numpy as np

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
from lrhnet_jax.ecg.recording import Recording, parse_age
from lrhnet_jax.errors import UserError

_RATE_KEY = re.compile(r"fs|sfreq|rate|freq.*|sampl\w*[ _-]*(rate|freq.*)", re.IGNORECASE)
_FILTER = re.compile(r"filter|pass|notch|mains|cut|band", re.IGNORECASE)  # these are in hertz too
_STATEMENT = re.compile(r"[#%\s]*([^,;:=\t]+?)\s*[,;:=\t]\s*(.*?)[,;\s]*")
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)?")
_ECG = re.compile(r"ecg|ekg|lead|ml", re.IGNORECASE)


def _matches(path: pathlib.Path, head: bytes) -> bool:
    text = decode(head)
    lines = [line.strip("\r ") for line in text.split("\n")]
    return "\0" not in text and find_row(lines[:-1] or lines) is not None  # the last line may be cut


def _read(path: pathlib.Path, given: Given) -> Recording:
    table = find_table(decode(read_bytes(path, MAX_MARKUP_BYTES)))
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
    scales = [scale_of(table.units[columns[i]] or stated, given, notes, "mV") for i in kept]
    facts = {key.casefold(): value for key, value in said}
    return Recording(
        signal=(table.values[:, [columns[i] for i in kept]] * scales).astype(np.float32),
        rate=rate_of(rate if rate is not None else _stated_rate(table.preamble, said), given),
        leads=tuple(lead_name(labels[i]) for i in kept),
        path=path,
        age=parse_age(facts.get("age")) or _apple_age(facts),
        sex=facts.get("sex") or facts.get("gender") or None,
        notes=tuple(dict.fromkeys(notes)),
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


FORMAT = Format("table (CSV)", (".csv", ".tsv", ".txt", ".asc"), _matches, _read)
