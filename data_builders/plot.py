"""Draws an ECG on squared paper as cardiologists read it: 25 mm/s, 10 mm/mV, three rows of four leads, lead II below.

`python -m data_builders.plot RECORD.hea OUT.png` draws a WFDB record of any source.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lrhnet_jax.ecg import squared_paper
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.ecg.wfdb import read_header, read_signal
from lrhnet_jax.errors import Parser, command
from lrhnet_jax.tasks import physionet2020

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    signal = np.asarray(signal)
    if signal.ndim != 2 or signal.shape[1] != len(LEADS):
        raise ValueError(f"a page needs a signal of shape (samples, 12); got {signal.shape}")
    signal = signal[max(round(start * rate), 0) :][: round(squared_paper.SECONDS * rate)]
    if len(signal) < 2:
        raise ValueError(f"the record ends before {start} s")
    return squared_paper.page(signal, rate, LEADS, title)


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
