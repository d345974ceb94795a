import dataclasses

import numpy as np
import pytest

from lrhnet_jax import tasks
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.ecg.wfdb import read_header
from lrhnet_jax.errors import CheckpointError, DataError
from lrhnet_jax.tasks import raw_labels
from tests.helpers.wfdb_files import write_record

META = {
    "task": "physionet2017",
    "classes": ["N", "A", "O", "~"],
    "preprocess": "300hz",
    "preprocess_options": {"resample": "polyphase", "bandpass": "none", "rate": 300.0},
}


def header(folder, name="A00001", **options):
    return read_header(write_record(folder, name, **options))


def test_a_network_says_how_its_signals_are_prepared():
    task, options = raw_labels.expected("f", META)
    assert task is tasks.PHYSIONET2017 and options == preprocessing.Preprocess(rate=300.0)
    older = {"classes": list(tasks.PHYSIONET2020.classes), "preprocess": "bandpass"}
    assert raw_labels.expected("f", older) == (tasks.PHYSIONET2020, preprocessing.OPTIONS["bandpass"])


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "mitbih"},
        {"task": "ptbxl"},
        {"classes": ["N", "A", "O", "P"]},
        {"preprocess_options": None},
        {"preprocess_options": {"resample": "cubic"}},
        {"preprocess_options": {"gain": 2}},
    ],
)
def test_a_network_of_another_task_or_preprocessing_is_named(changes):
    message = "folder: its preprocessing or its classes are not those of this version"
    with pytest.raises(CheckpointError, match=message):
        raw_labels.expected("folder", META | changes)


def test_the_lead_of_challenge_2017_is_lead_i(tmp_path):
    values = np.random.default_rng(0).normal(0, 99, (600, 1)).astype(np.int16)
    single = header(tmp_path, "A00001", values=values, leads=("ECG",))
    twelve = header(tmp_path, "A00002")
    assert raw_labels.lead_names(tasks.PHYSIONET2017, single, ("I",)) == ("ECG",)
    assert raw_labels.lead_names(tasks.PHYSIONET2017, twelve, ("I",)) == ("I",)
    assert raw_labels.lead_names(tasks.PHYSIONET2020, single, ("I",)) == ("I",)
    assert raw_labels.lead_names(tasks.PHYSIONET2017, single, ("II",)) == ("II",)


@pytest.mark.parametrize("place", ["REFERENCE.csv", "training2017/REFERENCE-v3.csv", "training/REFERENCE.csv"])
def test_challenge_2017_is_labelled_by_its_table_wherever_it_lies(place, tmp_path):
    known, twice, other = (header(tmp_path, name) for name in ("A00001", "A00002", "A00003"))
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("A00001,O\nA00002,N\nA00002,A\n")
    label_of = raw_labels.labels(tasks.PHYSIONET2017, tmp_path)
    np.testing.assert_array_equal(label_of(known), [False, False, True, False])
    assert not label_of(twice).any() and not label_of(other).any()


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no\.csv.*No such file"):
        raw_labels.labels(tasks.PTBXL, tmp_path, tmp_path / "no.csv")
    with pytest.raises(DataError, match=r"no\.csv.*No such file"):
        raw_labels.patients(tmp_path / "no.csv")


def test_a_patient_is_known_by_its_header_or_ptbxls_table(tmp_path):
    table = tmp_path / "ptbxl_database.csv"
    table.write_text("ecg_id,patient_id\n1,77.0\n2,\n")
    patient_of = raw_labels.patients(table)
    folder = tmp_path / "training/ptb-xl/g1"
    first, second = header(folder, "HR00001"), header(folder, "HR00002")
    assert [patient_of(h) for h in (first, second)] == ["ptb-xl/77", ""]
    assert patient_of(dataclasses.replace(second, patient="x")) == "ptb-xl/x"
