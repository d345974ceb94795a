"""Numbers and tables as text, for the report and the terminal. Metrics are printed in percent, None as a dash."""

import statistics
import textwrap
from collections.abc import Iterable, Sequence

from lrhnet_jax.ecg.leads import LEAD_SETS


def mean(values: Iterable[float | None]) -> float | None:
    """Returns the mean of the values that exist, None if none does."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def mean_and_deviation(values: Iterable[float | None], sign: str = "") -> str:
    """Returns "58.4 ± 1.2" (the sample's standard deviation), or the mean alone of a single value."""
    known = [value for value in values if value is not None]
    text = percent(mean(known), sign)
    return f"{text} ± {100 * statistics.stdev(known):.1f}" if len(known) > 1 else text


def percent(value: float | None, sign: str = "") -> str:
    """Returns "58.4"; with sign="+", positive values have one."""
    return "-" if value is None else f"{100 * value:{sign}.1f}"


def kibibytes(size: int) -> str:
    """Returns "334.5" of a size in bytes."""
    return f"{size / 1024:,.1f}"


def interval(value: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    """Returns "58.4 [55.1, 61.2]"."""
    if value is None or low is None:
        return percent(value, sign)
    return f"{percent(value, sign)} [{percent(low, sign)}, {percent(high, sign)}]"


def leads(names: Sequence[str]) -> str:
    """Returns what a config string calls these leads: a lead set's size, or the names joined by '+'."""
    return next((size for size, known in LEAD_SETS.items() if known == tuple(names)), "+".join(names))


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def columns(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Returns the lines of a plain table; the first row is its header, the first `left` columns are left-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return [lines[0], "-" * len(lines[0]), *(line.rstrip() for line in lines[1:])]


def wrap(paragraphs: Iterable[str], width: int) -> list[str]:
    """Returns the paragraphs' lines, an empty one after each."""
    return [line for text in paragraphs for line in [*textwrap.wrap(text, width), ""]]
