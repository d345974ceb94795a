"""The example records of examples/: small, readable, described, and made by the script beside them."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from lrhnet_jax.ecg import readers
from lrhnet_jax.ecg.leads import LEADS

FOLDER = pathlib.Path(__file__).parents[1] / "examples"
FILES = {"A00002.csv": 1, "A00004.hea": 1, "HR00001.hea": 12, "HR09289.edf": 12, "HR10862.dcm": 12}


def test_the_folder_holds_what_its_readme_tells():
    assert [path.name for path in readers.find([FOLDER])] == sorted(FILES)
    readme = (FOLDER / "README.md").read_text()
    assert all(f"`{name}`" in readme for name in FILES)
    assert "CC BY 4.0" in readme and "ODC-By 1.0" in readme
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_500_000


@pytest.mark.parametrize("name", FILES)
def test_every_example_is_read_without_a_complaint(name):
    recording = readers.read(FOLDER / name)
    leads = LEADS[: FILES[name]]
    selected = readers.select(recording, leads)
    assert (recording.leads, recording.rate) == (leads, 500 if len(leads) == 12 else 300)
    assert selected.notes == (("its only signal, 'ECG', is read as lead I",) if name == "A00004.hea" else ())
    assert np.ptp(selected.signal, 0).min() > 0.2 and np.ptp(selected.signal, 0).max() < 10


def test_the_script_makes_them_again(tmp_path, real_records):
    command = [sys.executable, FOLDER / "make.py", real_records, f"--folder={tmp_path}"]
    subprocess.run(command, check=True, cwd=FOLDER.parent, env={"PYTHONPATH": str(FOLDER.parent)})
    for name in FILES:
        made, kept = readers.read(tmp_path / name), readers.read(FOLDER / name)
        np.testing.assert_array_equal(made.signal, kept.signal)
        assert (made.age, made.sex, made.leads, made.codes) == (kept.age, kept.sex, kept.leads, kept.codes)
