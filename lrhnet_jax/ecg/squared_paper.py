"""Draws an ECG on squared paper as cardiologists read it: 25 mm/s and 10 mm/mV, a small square is 40 ms and 0.1 mV.

Twelve leads are three rows of four leads with lead II below; of fewer leads, each has rows of its own.
"""

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lrhnet_jax.ecg.leads import LEADS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
SECONDS = 10.0  # width of the paper
ROW_MV = 3.0  # height of a row
MOST_ROWS = 6  # of fewer than twelve leads; a lead of a longer recording has several
MARKED = "#1f4e8c"
SHADE, DARKEST = (1.0, 0.6, 0.0), 0.55  # colour and opacity
_GRID = "#f0b0b0"


class Strip(NamedTuple):
    """A piece of a lead, and where it lies on the paper.

    Attributes:
      lead: its name.
      row: from the top.
      left: seconds from the left edge of the paper.
      start, seconds: of the recording.
    """

    lead: str
    row: int
    left: float
    start: float
    seconds: float


def layout(leads: Sequence[str], seconds: float, long: str = "II") -> list[Strip]:
    """Returns what of a recording is drawn where: ten seconds of twelve leads; up to a minute of a single one.

    Args:
      leads: names.
      seconds: of the recording.
      long: which of twelve leads is drawn in full, below the others.
    """
    if set(LEADS) <= set(leads):
        column = SECONDS / 4
        short = [
            Strip(name, row, i * column, i * column, column)
            for row, names in enumerate(ROWS)
            for i, name in enumerate(names)
        ]
        return [*short, Strip(long, len(ROWS), 0.0, 0.0, SECONDS)]
    parts = max(1, min(math.ceil(seconds / SECONDS - 0.01), MOST_ROWS // len(leads)))
    pieces = [(part, lead) for part in range(parts) for lead in leads]
    return [Strip(lead, row, 0.0, part * SECONDS, SECONDS) for row, (part, lead) in enumerate(pieces)]


def shown_seconds(leads: Sequence[str], seconds: float) -> float:
    """Returns how much of a recording of that length is drawn."""
    return min(seconds, max(strip.start + strip.seconds for strip in layout(leads, seconds)))


def size(strips: Sequence[Strip]) -> tuple[float, float]:
    """Returns width and height, in inches, of the paper that the strips take at 25 mm/s and 10 mm/mV."""
    return SECONDS * 25 / 25.4, _height(strips) * 10 / 25.4


def draw(
    axes: "Axes",
    signal: np.ndarray,
    rate: float,
    leads: Sequence[str] = LEADS,
    marked: Collection[str] = (),
    shade: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Draws a recording into axes, which are to scale if they are as large as `size` says.

    Args:
      signal: (time, len(leads)), mV; NaN where a sample is missing, which leaves a gap.
      rate: Hz.
      leads: names of the columns.
      marked: leads to draw in blue; of twelve, the last row is one of them.
      shade: (n,) evenly spaced times in seconds, and (n,) values from 0 to 1, which colour the paper of these leads.
    """
    signal = np.asarray(signal)[: round(MOST_ROWS * SECONDS * rate)]
    time = np.arange(len(signal)) / rate
    long = "II" if "II" in marked else next((lead for lead in LEADS if lead in marked), "II")
    strips = layout(leads, len(signal) / rate, long)
    height = _height(strips)
    axes.set_xlim(0, SECONDS)
    axes.set_ylim(-height + ROW_MV / 2, ROW_MV / 2)
    for step, width in ((0.04, 0.25), (0.2, 0.6)):
        axes.vlines(np.arange(0, SECONDS + step / 2, step), -height, ROW_MV, color=_GRID, linewidth=width)
    for step, width in ((0.1, 0.25), (0.5, 0.6)):
        axes.hlines(np.arange(-height, ROW_MV, step), 0, SECONDS, color=_GRID, linewidth=width)
    axes.axis("off")
    for strip in strips:
        inside = (time >= strip.start) & (time < strip.start + strip.seconds)
        values = signal[:, list(leads).index(strip.lead)]
        present = values[np.isfinite(values)]
        level = np.median(present) if len(present) else 0.0  # of the whole lead: parts of it stay comparable
        color = MARKED if strip.lead in marked else "black"
        place = strip.left + time[inside] - strip.start
        heights = values[inside] - level - strip.row * ROW_MV
        axes.plot(place, heights, color=color, linewidth=0.7, clip_on=False)  # high beats go beyond the top row
        if shade and strip.lead in marked:
            _shade(axes, strip, *shade)
        later = f"  {strip.start:g} s" if strip.left == 0 and strip.start else ""
        text = strip.lead + later
        box = {"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 1}  # a trace may run below the name
        corner = strip.left + 0.05, 0.75 - strip.row * ROW_MV
        axes.text(*corner, text, fontsize=9, weight="bold", color=color, bbox=box)


def page(
    signal: np.ndarray,
    rate: float,
    leads: Sequence[str] = LEADS,
    title: str = "",
    marked: Collection[str] = (),
    shade: tuple[np.ndarray, np.ndarray] | None = None,
) -> "Figure":
    """Returns a matplotlib figure of the begin of a recording, to scale; save it with `savefig`.

    Args:
      signal, rate, leads, marked, shade: as in `draw`.
      title: written above, in one line or several.
    """
    from matplotlib.figure import Figure  # late: what reads recordings has no need of it

    width, height = size(layout(leads, len(signal) / rate))
    head = 0.3 + 0.16 * title.count("\n")  # inches
    figure = Figure(figsize=(width, height + head))
    draw(figure.add_axes((0, 0, 1, height / (height + head))), signal, rate, leads, marked, shade)
    figure.text(0.01, 1 - 0.03 / (height + head), title, va="top", fontsize=9, parse_math=False)
    return figure


def _shade(axes: "Axes", strip: Strip, times: np.ndarray, values: np.ndarray) -> None:
    """Colours a strip's paper, below its trace."""
    grid = strip.start + np.arange(0, strip.seconds, 0.02) + 0.01
    image = np.empty((1, len(grid), 4))
    image[..., :3] = SHADE
    image[..., 3] = DARKEST * np.interp(grid, times, values, 0.0, 0.0)
    middle, half = -strip.row * ROW_MV, ROW_MV / 2
    extent = (strip.left, strip.left + strip.seconds, middle - half, middle + half)
    axes.imshow(image, extent=extent, aspect="auto", interpolation="bilinear", zorder=1.5)


def _height(strips: Sequence[Strip]) -> float:
    return (max(strip.row for strip in strips) + 1) * ROW_MV
