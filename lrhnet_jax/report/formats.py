"""Numbers and tables as text, for the report and the terminal. Metrics are printed in percent, None as a dash."""

import statistics
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

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


def columns(rows: Sequence[Sequence[Any]], left: int | None = None, rule: bool = True) -> list[str]:
    """Returns the lines of a plain table.

    Args:
      rows: text, or numbers, which are rounded to three digits where they are below 100; None is a dash. The first row
        is the header.
      left: this many columns are flush left, the others right; None: those whose rows are all text are flush left.
      rule: draw a line below the header.

    Raises:
      ValueError: if the rows differ in length.
    """
    texts = [[_text(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    if left is None:
        flush = [all(isinstance(value, str) for value in column) for column in zip(*(rows[1:] or rows), strict=True)]
    else:
        flush = [i < left for i in range(len(widths))]
    lines = [
        "  ".join(
            text.ljust(width) if on_left else text.rjust(width)
            for text, width, on_left in zip(row, widths, flush, strict=True)
        ).rstrip()
        for row in texts
    ]
    return [lines[0], *(["-" * (sum(widths) + 2 * len(widths) - 2)] if rule else []), *lines[1:]]


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def wrap(paragraphs: Iterable[str], width: int) -> list[str]:
    """Returns the paragraphs' lines, an empty one after each."""
    return [line for text in paragraphs for line in [*textwrap.wrap(text, width), ""]]
