import numpy as np
import pytest

from lrhnet_jax import data, ecg
from lrhnet_jax.errors import DataError
from tests import fakes


def test_selected_records_keep_everything_that_belongs_to_them():
    records = fakes.records(10)
    some = records.select(np.array([7, 2]))
    assert some.record_ids.tolist() == ["R0007", "R0002"]
    np.testing.assert_array_equal(some.labels, records.labels[[7, 2]])
    start = records.offsets[7]
    np.testing.assert_array_equal(some.signals[: some.lengths[0]], records.signals[start : start + records.lengths[7]])
    np.testing.assert_array_equal(records.select(records.folds == 1).record_ids, records.record_ids[records.folds == 1])


def test_description_counts_labels_by_source_and_together():
    records = fakes.records(20)
    described = records.describe()
    assert described["records"] == 20 and described["per_source"] == {"a": 10, "b": 10}
    code = ecg.CLASSES[3]
    assert described["per_class"][code] == records.labels[:, 3].sum()
    assert described["per_source_class"]["b"][code] == records.labels[1::2, 3].sum()
    assert described["co_occurrence"][3][5] == (records.labels[:, 3] & records.labels[:, 5]).sum()


def test_a_lead_that_the_data_lacks_is_named():
    records = data.Records.from_arrays([np.zeros((9, 2), np.float16)], leads=("I", "II"))
    assert records.columns(("II",)) == (1,)
    with pytest.raises(DataError, match="no lead V2; it has I, II"):
        records.columns(("I", "V2"))


def test_a_missing_data_set_says_how_to_get_and_build_it(tmp_path):
    with pytest.raises(
        DataError, match=r"not built under .*physionet\.org.*python -m data_builders\.build physionet2020"
    ):
        data.resolve("physionet2020", str(tmp_path), "paper", 10)
    with pytest.raises(DataError, match="unknown data set 'mitbih'; choose auto, physionet2020, synthetic"):
        data.resolve("mitbih", str(tmp_path), "paper", 10)


def test_an_unfinished_build_is_not_a_data_set(tmp_path):
    for version in ("1.0.0", "incomplete.ABC_1.0.0"):
        folder = tmp_path / "physionet2020/paper" / version
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
    assert data.find("physionet2020", str(tmp_path)) == tmp_path / "physionet2020/paper/1.0.0"
    assert data.find("physionet2020", str(tmp_path), "reference") is None


def test_a_broken_data_set_is_named(tmp_path):
    folder = tmp_path / "physionet2020/paper/1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match=r"1\.0\.0: not a readable data set .* build it again"):
        data.resolve("auto", str(tmp_path), "paper", 10)
