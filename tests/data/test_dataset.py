import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders import build
from lrhnet_jax.data import dataset, tfds_reader
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.errors import DataError
from lrhnet_jax.runtime import host
from tests.helpers import fakes


def test_selected_records_keep_everything_that_belongs_to_them():
    records = fakes.records(10)
    some = records.select(np.array([7, 2]))
    assert some.record_ids.tolist() == ["R0007", "R0002"]
    np.testing.assert_array_equal(some.labels, records.labels[[7, 2]])
    start = records.offsets[7]
    np.testing.assert_array_equal(some.signals[: some.lengths[0]], records.signals[start : start + records.lengths[7]])
    np.testing.assert_array_equal(records.select(records.folds == 1).record_ids, records.record_ids[records.folds == 1])


def test_a_lead_that_the_data_lacks_is_named():
    records = Dataset.from_arrays([np.zeros((9, 2), np.float16)], leads=("I", "II"))
    assert records.columns(("II",)) == (1,)
    with pytest.raises(DataError, match="no lead V2; it has I, II"):
        records.columns(("I", "V2"))


def test_an_unfinished_build_is_not_a_data_set(tmp_path):
    for version in ("1.0.0", "incomplete.ABC_1.0.0"):
        folder = tmp_path / "physionet2020/paper" / version
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
    assert dataset.find("physionet2020", str(tmp_path)) == tmp_path / "physionet2020/paper/1.0.0"
    assert dataset.find("physionet2020", str(tmp_path), "reference") is None


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build.build_synthetic(tmp_path_factory.mktemp("data"), 12, workers=1)


@pytest.fixture
def copy(built, tmp_path):
    """A copy of the built set, to be changed."""
    return shutil.copytree(built, tmp_path / "synthetic/paper/1.0.0")


def assert_same_records(a, b):
    for field in dataclasses.fields(Dataset):
        if field.name != "path":
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def test_a_built_set_is_loaded_as_it_was_written(built, monkeypatch):
    monkeypatch.setattr(tfds_reader, "PART", 5)
    loaded = dataset.load(built)
    source = tfds.builder_from_directory(built).as_data_source("train")
    assert len(loaded) == len(source) > 5
    assert len(loaded.signals) == loaded.lengths.sum() and not isinstance(loaded.signals, np.memmap)
    for i, row in enumerate(source):
        start = loaded.offsets[i]
        np.testing.assert_array_equal(loaded.signals[start : start + loaded.lengths[i]], row["signal"])
        np.testing.assert_array_equal(loaded.labels[i], row["labels"])
        np.testing.assert_array_equal(loaded.demographics[i], row["demographics"])
        assert (loaded.record_ids[i], loaded.sources[i]) == (row["record_id"].decode(), row["source"].decode())
        assert (loaded.patients[i], loaded.folds[i]) == (row["patient"].decode(), row["fold"])


def test_a_set_larger_than_half_of_the_memory_is_mapped_from_a_file_that_is_written_once(copy, monkeypatch):
    in_memory = dataset.load(copy)
    monkeypatch.setattr(host, "memory", lambda: 2 * in_memory.signals.nbytes - 1)
    mapped = dataset.load(copy)
    assert isinstance(mapped.signals, np.memmap) and not mapped.signals.flags.writeable
    assert_same_records(in_memory, mapped)
    with monkeypatch.context() as no_reading:
        no_reading.delattr(tfds_reader, "read")
        assert_same_records(in_memory, dataset.load(copy))
    # What changes the set, as a new build does, makes the file stale.
    (folder,) = copy.glob("memory_map-*")
    os.utime(copy / "dataset_info.json", (1, 1))
    (copy / "incomplete-map-killed").mkdir()
    assert_same_records(in_memory, dataset.load(copy))
    (remade,) = copy.glob("*map-*")
    assert remade != folder
    assert dataset.find("synthetic", str(copy.parents[2])) == copy


def test_a_damaged_memory_map_is_named(copy):
    dataset.load(copy, memory_map=True)
    (file,) = copy.glob("memory_map-*/signals.f16")
    os.truncate(file, 100)
    with pytest.raises(DataError, match=r"memory_map-\w+: signals\.f16 has 100 bytes, .* delete the folder"):
        dataset.load(copy, memory_map=True)
    (file.parent / "records.npz").write_text("no arrays")
    with pytest.raises(DataError, match=r"memory_map-\w+: cannot be used"):
        dataset.load(copy, memory_map=True)


def test_a_memory_map_that_cannot_be_written_says_what_it_needs(copy, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "memmap", full)
    with pytest.raises(DataError, match=r"No space left on device.* folder writable, and space for its samples there"):
        dataset.load(copy, memory_map=True)
    assert not [*copy.glob("*map-*")]


def test_a_set_that_holds_more_than_its_description_says_is_an_error(copy):
    info = json.loads((copy / "dataset_info.json").read_text())
    info["splits"][0]["numBytes"] = "5000"
    (copy / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=r"more samples than dataset_info\.json says; build it again"):
        dataset.load(copy)
