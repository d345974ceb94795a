"""Finding the table of numbers in a text file: where it begins, its separator, decimal comma, names and units."""

import csv
import dataclasses
import io
import re

import numpy as np

from lrhnet_jax.ecg.formats import text_time
from lrhnet_jax.ecg.formats.base import in_millivolts
from lrhnet_jax.ecg.lead_names import canonical_lead
from lrhnet_jax.errors import UserError

MISSING = ("", "-", "nan", "na", "n/a", "null", "none")  # what tables say in place of a number
HERTZ = re.compile(r"([0-9]+(?:[.,][0-9]+)?)\s*(?:hz|hertz|hercios?|герц|гц|赫|ヘルツ|헤르츠)", re.IGNORECASE)

_MAX_PREAMBLE = 200  # lines above the table
_MAX_COLUMNS = 1000
_LOOK = 50  # rows that tell the dialect
_LONGEST_NAME, _LONGEST_LINE = 100, 300  # characters that are looked at: patterns take the square of them
_MISSING = re.compile(r"\b(nan|n/?a|null|none)\b", re.IGNORECASE)
_NUMBERS = re.compile(r"[0-9+\-.,;:|/\[\]\s\"'eETZ]+")
_NAME_AND_UNIT = re.compile(r"(.*?)(?:[\s_]*[\[(]\s*([^\])]+?)\s*[\])]|[\s_]+([munµμ]V))", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of numbers.

    Attributes:
      values: (rows, columns) float64; NaN where the file has none. Times of day and dates are in seconds.
      names: of the columns, without their units; "" where there is none.
      units: of the columns, "" where there is none.
      preamble: the lines above the table and its names; of long ones, the beginning.
    """

    values: np.ndarray
    names: tuple[str, ...]
    units: tuple[str, ...]
    preamble: tuple[str, ...]


def decode(data: bytes) -> str:
    """Returns the text of a file: UTF-16 if its byte order mark says so, else UTF-8, else Latin-1."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def find_row(lines: list[str]) -> int | None:
    """Returns the first of `lines` that begins three of nothing but numbers (or the last two), or None."""
    looks = [_is_row(line) for line in lines]
    return next((i for i in range(min(len(looks) - 1, _MAX_PREAMBLE)) if all(looks[i : i + 3])), None)


def find_table(text: str) -> Table:
    """Finds the table in a file's text.

    Raises:
      UserError: if there is none, or its rows are not alike.
    """
    if "\0" in text:
        raise UserError("is not a table of numbers, but binary data of a format that is not read")
    top = [line.strip("\r ") for line in text.split("\n", _MAX_PREAMBLE + _LOOK)[: _MAX_PREAMBLE + _LOOK]]
    first = find_row(top)
    if first is None:
        raise UserError("holds no table of numbers; a row a sample, and a column a lead, are expected")
    if _counts_columns(top[first : first + 3]):  # the names that pandas gives
        top[first] = ""
        first += 1
    rows = text.split("\n", first)[first]
    sample = [line for line in top[first : first + _LOOK] if line]
    separator, comma = _dialect(sample, top[:first])
    if comma:
        rows = rows.replace(",", ".")
    elif separator == "," and '"' in sample[0]:  # "0,12","0,34"
        rows = re.sub(r'"([^"\n]*)"', lambda quoted: quoted[1].replace(",", "."), rows)
    fields = _split(rows.split("\n", 1)[0], separator)
    if len(fields) > _MAX_COLUMNS:
        raise UserError(f"has rows of {len(fields)} numbers; a row a sample, and a column a lead, are expected")
    names, units, preamble = _head(top[:first], separator, len(fields))
    kept = [i for i, field in enumerate(fields) if field or names[i]]
    clocks = [i for i in kept if text_time.is_clock(fields[i])]
    values = _load(rows, separator, [i for i in kept if i not in clocks])
    for i in clocks:
        units[i] = "s"
        texts = np.loadtxt(io.StringIO(rows), str, None, separator, usecols=i, ndmin=1, quotechar='"', encoding=None)
        values = np.insert(values, kept.index(i), text_time.parse_times(texts.tolist()), 1)
    said = tuple(line[:_LONGEST_LINE] for line in preamble)
    return Table(values, tuple(names[i] for i in kept), tuple(units[i] for i in kept), said)


def _counts_columns(lines: list[str]) -> bool:
    """Whether the first of some rows is "0,1,2": not samples, but numbers of the columns, which are fractions below."""
    fields = [field for field in re.split(r"[,;\s]", lines[0]) if field]
    return len(fields) > 1 and fields == [str(i) for i in range(len(fields))] and any("." in line for line in lines[1:])


def _is_row(line: str) -> bool:
    line = _MISSING.sub("0", line)
    return _NUMBERS.fullmatch(line) is not None and any(letter.isdigit() for letter in line)


def _dialect(rows: list[str], above: list[str]) -> tuple[str | None, bool]:
    """Returns the separator (None: blanks, or one column) and whether numbers have a decimal comma."""
    body = "\n".join(rows)
    comma = "," in body and "." not in body
    for separator in ("\t", ";"):
        if separator in body:
            return separator, comma
    if "," not in body:
        return None, False
    if comma:
        if all(re.search(r"[0-9]\s+[-+0-9]", row) for row in rows):  # 0,12 0,34
            return None, True
        if all(len(_split(row, ",")) == 1 for row in rows):  # "0,12"
            return None, True
        counts = {row.count(",") for row in rows}
        if counts == {0, 1} or (counts == {1} and _is_one_signal(above)):
            return None, True
    return ",", False


def _is_one_signal(above: list[str]) -> bool:
    """Whether lines above the table tell the rate and unit of all of it, as the Apple Watch writes them."""
    rate = any(HERTZ.search(line[:_LONGEST_LINE]) for line in above)
    return rate and any(in_millivolts(line.rpartition(",")[2]) for line in above)


def _head(above: list[str], separator: str | None, width: int) -> tuple[list[str], list[str], list[str]]:
    """Returns names and units of the columns, and the lines above them."""
    names, units = [""] * width, [""] * width
    while above and above[-1]:
        line = above[-1].lstrip("#% ")
        if not line:
            above = above[:-1]
            continue
        fields = _fields(line, separator, width)
        if fields is None or _is_statement(above[-1], width):
            break
        above = above[:-1]
        if all(not field or _is_unit(field) for field in fields):
            units = fields
            continue
        for i, field in enumerate(fields):
            field = field[:_LONGEST_NAME]
            match = _NAME_AND_UNIT.fullmatch(field)
            unit = (match[2] or match[3]) if match else ""
            names[i] = match[1] if match and _is_unit(unit) else field
            units[i] = units[i] or (unit if _is_unit(unit) else "")
        break
    return names, units, above


def _fields(line: str, separator: str | None, width: int) -> list[str] | None:
    """Returns the fields of a line of names, which may be separated otherwise than the rows; None if none fits."""
    splits = (
        [_split(line, separator)] + [_split(line, other) for other in (",", ";", "\t")] + [re.split(r"\s{2,}", line)]
    )
    return next((fields for fields in splits if len(fields) == width), None)


def _is_statement(line: str, width: int) -> bool:
    """Whether a line says something of all of the table ("Unit,µV"), and does not name its one or two columns."""
    parts = re.split(r"[,;:=\t]", line[:_LONGEST_LINE], maxsplit=1)
    if width > 2 or len(parts) != 2:
        return False
    key, value = (part.strip("'\" ") for part in parts)
    named = text_time.is_time(key) or text_time.is_index(key) or canonical_lead(key) is not None
    stated = HERTZ.search(value) or in_millivolts(value) or canonical_lead(value)
    return width == 1 or (bool(stated) and not named)


def _is_unit(text: str) -> bool:
    return in_millivolts(text) is not None or text_time.unit_seconds(text) is not None or "mm:ss" in text


def _split(line: str, separator: str | None) -> list[str]:
    fields = next(csv.reader([line], delimiter=separator), []) if separator else line.split()
    return [field.strip("'\" \r") for field in fields]


def _load(rows: str, separator: str | None, columns: list[int]) -> np.ndarray:
    def number(text: str) -> float:
        text = text.strip("'\" ")
        return np.nan if text.casefold() in MISSING else float(text)

    for converters in (None, number):  # the second takes several times as long
        try:
            return np.loadtxt(
                io.StringIO(rows), delimiter=separator, converters=converters, usecols=columns, ndmin=2, quotechar='"',
                comments=None, encoding=None,
            )  # fmt: skip
        except ValueError as error:
            failure = error
    raise UserError(f"its rows are not alike ({str(failure).split(';')[0]}); it may be truncated: export it again")
