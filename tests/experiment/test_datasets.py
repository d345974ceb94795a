import numpy as np
import pytest

from data_builders import build
from lrhnet_jax import tasks
from lrhnet_jax.errors import DataError
from lrhnet_jax.experiment import provenance
from lrhnet_jax.experiment.datasets import resolve
from tests.helpers import fakes


def test_a_missing_data_set_says_how_to_get_and_build_it(tmp_path):
    with pytest.raises(
        DataError, match=r"not built under .*physionet\.org.*python -m data_builders\.build physionet2020"
    ):
        resolve("physionet2020", str(tmp_path), "paper", 10)
    with pytest.raises(DataError, match="unknown data set 'mitbih'; choose auto, physionet2020, synthetic"):
        resolve("mitbih", str(tmp_path), "paper", 10)


def test_a_broken_data_set_is_named(tmp_path):
    folder = tmp_path / "physionet2020/paper/1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match=r"1\.0\.0: not a readable data set .* build it again"):
        resolve("auto", str(tmp_path), "paper", 10)


@pytest.mark.parametrize("name", ["physionet2017", "synthetic_ptbxl"])
def test_a_built_set_has_the_classes_of_its_task_and_its_own_rate(name, tmp_path):
    records = fakes.of_task(name, 8)
    preprocess = tasks.choose("auto", [records.task.name]).preprocess[0]
    fakes.build(records, tmp_path, preprocess)
    found = resolve(name, str(tmp_path), preprocess, 10, [records.task.name])
    assert found.task is tasks.of(name) and found.classes == records.classes and found.leads == records.leads
    assert found.synthetic == name.startswith("synthetic")
    np.testing.assert_array_equal(found.labels, records.labels)
    assert found.rate == provenance.describe_data(found)["rate"] == (300 if name == "physionet2017" else 257)
    fakes.build(records, tmp_path / "other", preprocess, preprocess={"rate": 200.0})
    assert resolve(name, str(tmp_path / "other"), preprocess, 10, [records.task.name]).rate == 200


def test_a_built_set_of_other_classes_is_named(tmp_path):
    fakes.build(fakes.of_task("physionet2017", 8), tmp_path, "300hz", classes=["N", "A", "O", "P"])
    message = (
        r"physionet2017/300hz/1\.0\.0: its classes are N, A, O, P, those of physionet2017 are N, A, O, ~; build it"
    )
    with pytest.raises(DataError, match=message):
        resolve("auto", str(tmp_path), "300hz", 10, ["physionet2017"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("physionet2017", r"Challenge 2017 is not built under .* with preprocess='paper'\. Download training2017\.zip"),
        (
            "ptbxl",
            r"physionet\.org/content/ptb-xl.* data_builders\.build ptbxl --raw_dir=FOLDER --data_dir=.*paper, or",
        ),
        ("cpsc2018", r"CPSC 2018 is not built .*training/cpsc_2018.*or point --config\.data_dir at a built copy"),
    ],
)
def test_every_missing_data_set_says_how_to_get_and_build_it(tmp_path, name, message):
    with pytest.raises(DataError, match=message):
        resolve(name, str(tmp_path), "paper", 10, [name])


def test_auto_takes_the_real_set_or_generates_one_and_says_so(tmp_path, monkeypatch, caplog):
    asked = []

    def build_synthetic(data_dir, records, seed=0, *, preprocess, kind):
        asked.append((records, preprocess, kind))
        return fakes.build(fakes.of_task("synthetic_ptbxl", records), data_dir, preprocess)

    monkeypatch.setattr(build, "build_synthetic", build_synthetic)
    names = ("ptbxl", "cpsc2018")
    for _ in range(2):  # the second time it is there
        with caplog.at_level("WARNING"):
            found = resolve("auto", str(tmp_path), "paper", 10, names)
        assert found.name == "synthetic_ptbxl" and found.synthetic and len(found) == 10
    assert asked == [(10, "paper", "ptbxl")]
    assert "PTB-XL is not built under" in caplog.text and "GENERATED ECGs are used instead" in caplog.text
    fakes.build(fakes.of_task("ptbxl", 10), tmp_path, "paper")
    assert resolve("auto", str(tmp_path), "paper", 10, names).name == "ptbxl"
    assert resolve("synthetic_ptbxl", str(tmp_path), "paper", 10, names).name == "synthetic_ptbxl"
    # There are no generated ECGs for CPSC 2018.
    with pytest.raises(DataError, match="CPSC 2018 is not built"):
        resolve("auto", str(tmp_path), "paper", 10, ("cpsc2018",))
