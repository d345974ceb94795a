"""Draws an ECG on squared paper as cardiologists read it: 25 mm/s, 10 mm/mV, three rows of four leads, lead II below.

`python -m data_builders.plot RECORD.hea OUT.png` draws a WFDB record of any source.
"""

import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.ecg.wfdb import read_header, read_signal
from lrhnet_jax.errors import Parser, command
from lrhnet_jax.tasks import physionet2020

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
SECONDS = 10.0
_ROW_MV = 3.0  # height of a row on the paper
HEIGHT = (len(ROWS) + 1) * _ROW_MV  # mV
INCHES = (SECONDS * 25 / 25.4, HEIGHT * 10 / 25.4)  # the size of the page at 25 mm/s and 10 mm/mV
MARKED = "#1f4e8c"


def page(signal: np.ndarray, rate: float, title: str = "", start: float = 0.0) -> "Figure":
    """Draws ten seconds of a 12-lead ECG.

    Args:
      signal: (samples, 12), mV, leads in the order of `leads.LEADS`.
      rate: samples a second.
      title: written above.
      start: seconds into the record.

    Returns:
      A matplotlib figure, drawn to scale at 25 mm/s; save it with `savefig`.

    Raises:
      ValueError: if `signal` does not hold 12 leads, or ends before `start`.
    """
    from matplotlib.figure import Figure  # late: nothing else here needs it

    signal = np.asarray(signal)
    if signal.ndim != 2 or signal.shape[1] != len(LEADS):
        raise ValueError(f"a page needs a signal of shape (samples, 12); got {signal.shape}")
    signal = signal[max(round(start * rate), 0) :][: round(SECONDS * rate)]
    if len(signal) < 2:
        raise ValueError(f"the record ends before {start} s")
    width, height = INCHES
    figure = Figure(figsize=(width, height + 0.3))
    draw(figure.add_axes((0, 0, 1, height / (height + 0.3))), signal, rate)
    figure.text(0.01, 0.995, title, va="top", fontsize=9)
    return figure


def draw(axes: "Axes", signal: np.ndarray, rate: float, marked: Collection[str] = ()) -> None:
    """Draws a page into axes, which are to scale if they are `INCHES` large.

    Args:
      signal: (samples, 12), mV, leads in the order of `leads.LEADS`; at most ten seconds.
      rate: samples a second.
      marked: leads to draw in blue.
    """
    time = np.arange(len(signal)) / rate
    signal = signal - np.median(signal, axis=0)
    axes.set_xlim(0, SECONDS)
    axes.set_ylim(-HEIGHT + _ROW_MV / 2, _ROW_MV / 2)
    _paper(axes, HEIGHT)
    column = SECONDS / 4
    strips = [(row, name, i * column, column) for row, names in enumerate(ROWS) for i, name in enumerate(names)]
    for row, name, left, width in [*strips, (len(ROWS), "II", 0.0, SECONDS)]:
        inside = (time >= left) & (time < left + width)
        color = MARKED if name in marked else "black"
        _strip(axes, time[inside], signal[inside, LEADS.index(name)], row, name, left, color)


def _paper(axes, height: float) -> None:
    for step, width in ((0.04, 0.25), (0.2, 0.6)):
        axes.vlines(np.arange(0, SECONDS + step / 2, step), -height, _ROW_MV, color="#f0b0b0", linewidth=width)
    for step, width in ((0.1, 0.25), (0.5, 0.6)):
        axes.hlines(np.arange(-height, _ROW_MV, step), 0, SECONDS, color="#f0b0b0", linewidth=width)
    axes.axis("off")


def _strip(axes, time: np.ndarray, values: np.ndarray, row: int, name: str, left: float, color: str) -> None:
    axes.plot(time, values - row * _ROW_MV, color=color, linewidth=0.7)
    axes.text(left + 0.05, 0.75 - row * _ROW_MV, name, fontsize=9, weight="bold", color=color)


def draw_record(header: str | os.PathLike[str], output: str | os.PathLike[str]) -> None:
    """Draws the first ten seconds of a WFDB record into an image file, whose suffix names its format.

    Raises:
      RecordError: if the record cannot be read.
    """
    head = read_header(Path(header))
    names = [physionet2020.DIAGNOSES.get(physionet2020.EQUIVALENT.get(code, code), (code,))[0] for code in head.codes]
    age = "?" if head.age is None else f"{head.age:.0f}"
    title = f"{head.record_id}   age {age}, sex {head.sex or '?'}   {', '.join(names) or 'no diagnosis'}"
    page(read_signal(head), head.rate, title).savefig(output, dpi=130)


@command
def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="python -m data_builders.plot", description=__doc__)
    parser.add_argument("record", help="a WFDB header, RECORD.hea")
    parser.add_argument("output", help="an image file, such as OUT.png")
    options = parser.parse_args(arguments)
    draw_record(options.record, options.output)


if __name__ == "__main__":
    sys.exit(main())
