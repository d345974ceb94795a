import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from data_builders import plot, synthetic
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.ecg.wfdb import RecordError


def test_page_draws_every_lead_to_scale():
    signal = np.zeros((5000, 12), np.float32)
    signal[100, LEADS.index("II")] = 1.0
    figure = plot.page(signal, 500, "a title")
    axes = figure.axes[0]
    assert {text.get_text() for text in axes.texts} == set(LEADS)
    width, height = figure.get_size_inches() * 25.4 * np.array(axes.get_position().bounds[2:])
    assert width / np.ptp(axes.get_xlim()) == pytest.approx(25)  # mm per second
    assert height / np.ptp(axes.get_ylim()) == pytest.approx(10)  # mm per mV
    strips = [line.get_ydata() for line in axes.lines]
    assert len(strips) == 13
    assert sum(np.ptp(strip) == pytest.approx(1.0) for strip in strips) == 2  # lead II, above and as rhythm strip


def test_page_starts_where_asked_and_refuses_to_start_after_the_end():
    signal = np.zeros((3000, 12))
    assert len(plot.page(signal, 100, start=25).axes[0].lines[-1].get_xdata()) == 500
    with pytest.raises(ValueError, match="ends before 30 s"):
        plot.page(signal, 100, start=30)


def test_page_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"shape \(samples, 12\); got \(12, 5000\)"):
        plot.page(np.zeros((12, 5000)), 500)


def test_command_line_draws_a_record(tmp_path):
    synthetic.write(tmp_path, 1)
    (header,) = tmp_path.rglob("*.hea")
    output = tmp_path / "page.png"
    subprocess.run([sys.executable, "-m", "data_builders.plot", header, output], check=True, capture_output=True)
    picture = imread(output)
    assert picture.shape[0] > 500
    assert picture[..., 0].min() < 0.1 < picture[..., 1].max()


def test_command_line_names_what_is_wrong_in_one_line(tmp_path, capsys):
    assert plot.main([str(tmp_path / "HR00001.hea"), "out.png"]) == 1
    assert plot.main(["HR00001.hea"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: ") and "HR00001" in first
    assert second == "error: the following arguments are required: output"


def test_draw_record_names_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RecordError, match="HR00001"):
        plot.draw_record(tmp_path / "HR00001.hea", tmp_path / "out.png")
