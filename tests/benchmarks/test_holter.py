import json
import shutil

import numpy as np
import pytest

from benchmarks import holter as benchmark
from data_builders import synthetic
from lrhnet_jax import export
from tests.helpers import fakes

LEADS = ("II", "V5")

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to compile what is written")


@pytest.mark.slow
def test_the_c_answers_a_stream_as_the_network_answers_its_windows(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "records_for", lambda meta, data_dir: fakes.of_task("physionet2020", 60))
    folder = fakes.network(tmp_path / "student", "physionet2020", LEADS, 1024, model="lrhnet_wide")
    output = tmp_path / "holter.json"
    benchmark.main([str(folder), "--smoke", f"--output={output}"])
    found = json.loads(output.read_text())
    assert found["windows"] == found["equal_to_integers"] == 8  # of 4 s, in half a minute; the last is not full
    assert found["largest_difference"] < 0.05 and found["decisions_equal"] > 0.98
    assert capsys.readouterr().out.count("sinus rhythm") == 8


def test_the_recording_changes_its_rhythm_and_keeps_its_heart():
    counts = benchmark.record(LEADS, 901)
    assert counts.shape == (901 * benchmark.RATE, 2) and counts.dtype == np.int32
    assert 100 < np.abs(counts).max() < 10_000  # microvolts
    turns = counts[: 900 * benchmark.RATE].reshape(3, -1, 2)
    fibrillation = synthetic.generate(["164889003"], (0, 1), 300, benchmark.RATE, patient=0)
    np.testing.assert_array_equal(turns[1], np.rint(1000 * fibrillation[:, [1, 10]]))
    assert (turns[0] != turns[2]).any()
