"""What of a recording is drawn where on squared paper, and that it is to scale."""

import numpy as np
import pytest

from lrhnet_jax.ecg import squared_paper
from lrhnet_jax.ecg.leads import LEADS


def test_twelve_leads_are_three_rows_of_four_that_follow_each_other_in_time_and_a_rhythm_strip():
    strips = squared_paper.layout(LEADS, 10)
    assert [strip.lead for strip in strips if strip.row == 1] == ["II", "aVL", "V2", "V5"]
    assert all(strip.left == strip.start for strip in strips) and {strip.lead for strip in strips} == set(LEADS)
    assert strips[-1] == ("II", 3, 0.0, 0.0, 10.0)
    assert squared_paper.shown_seconds(LEADS, 30) == 10


@pytest.mark.parametrize(
    ("leads", "seconds", "rows", "shown"),
    [
        (("I",), 8, 1, 8),
        (("I",), 10, 1, 10),
        (("I",), 10.002, 1, 10),  # a sample more is no reason for another row
        (("I",), 30, 3, 30),
        (("I",), 86_400, 6, 60),
        (("I", "II"), 30, 6, 30),
        (LEADS[:4], 30, 4, 10),
        (LEADS[:11], 30, 11, 10),
    ],
)
def test_fewer_leads_have_rows_of_their_own(leads, seconds, rows, shown):
    strips = squared_paper.layout(leads, seconds)
    assert [strip.row for strip in strips] == list(range(rows))
    assert squared_paper.shown_seconds(leads, seconds) == shown
    width, height = np.array(squared_paper.size(strips)) * 25.4
    assert (width, height) == (pytest.approx(250), pytest.approx(30 * rows))


def test_a_lead_of_a_long_recording_goes_on_in_the_next_row_at_the_same_level():
    rate = 100
    signal = np.arange(0, 30, 1 / rate)[:, None] / 30 + 5  # rises by a millivolt
    figure = squared_paper.page(signal, rate, ("I",), "two\nlines")
    axes = figure.axes[0]
    levels = [line.get_ydata() + i * squared_paper.ROW_MV for i, line in enumerate(axes.lines)]
    np.testing.assert_allclose(np.concatenate(levels), signal[:, 0] - np.median(signal), atol=1e-9)
    assert all(line.get_xdata()[0] == 0 for line in axes.lines)
    assert [text.get_text() for text in axes.texts] == ["I", "I  10 s", "I  20 s"]
    width, height = figure.get_size_inches() * 25.4 * np.array(axes.get_position().bounds[2:])
    assert width / np.ptp(axes.get_xlim()) == pytest.approx(25)  # mm per second
    assert height / np.ptp(axes.get_ylim()) == pytest.approx(10)  # mm per mV


@pytest.mark.filterwarnings("error")
def test_missing_samples_leave_a_gap_and_a_missing_lead_an_empty_row():
    signal = np.zeros((1000, 2))
    signal[100:200, 0] = np.nan
    signal[:, 1] = np.nan
    first, second = squared_paper.page(signal, 100, ("I", "V1")).axes[0].lines
    assert np.isnan(first.get_ydata()).sum() == 100 and np.isnan(second.get_ydata()).all()


def test_only_what_is_marked_is_blue_and_a_title_is_text():
    figure = squared_paper.page(np.zeros((1000, 2)), 100, ("I", "II"), "a $\\frac$ title", marked=("II",))
    assert [line.get_color() for line in figure.axes[0].lines] == ["black", squared_paper.MARKED]
    figure.canvas.draw()  # would stumble over the title, if it were a formula
    assert figure.texts[0].get_text() == "a $\\frac$ title"
