import dataclasses

import jax
import numpy as np
import pytest

from lrhnet_jax.data import store as data_store
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.data.store import cut_windows, make_store, random_shifts
from lrhnet_jax.data.windows import covering_windows
from lrhnet_jax.errors import DataError
from tests.helpers import fakes

WINDOW = 256


def window_of(records: Dataset, i: int, shift: int) -> np.ndarray:
    """What `cut_windows` must return for one record, sample by sample."""
    signal = records.signals[records.offsets[i] : records.offsets[i] + records.lengths[i]]
    cut = np.zeros((WINDOW, signal.shape[1]), np.float16)
    for t in range(WINDOW):
        if 0 <= t + shift < len(signal):
            cut[t] = signal[t + shift]
    return cut


@pytest.mark.parametrize("round_up", [False, True])
def test_windows_are_the_records_samples_and_zero_outside_them(round_up):
    records = fakes.records(6, shortest=100, longest=600)
    store = make_store(records, WINDOW, round_up=round_up)
    index = np.array([0, 0, 3, 5, 5, 2], np.int32)
    last = records.lengths[5] - WINDOW
    shift = np.array([0, -40, 7, last, min(last, 0) - 3, 11], np.int32)
    cut = cut_windows(store, index, shift, WINDOW)
    expected = np.stack([window_of(records, i, s) for i, s in zip(index, shift, strict=True)])
    assert cut.dtype == np.float16
    np.testing.assert_array_equal(cut, expected)


@pytest.mark.parametrize("columns", [tuple(range(12)), (0, 1), (7, 2, 3)])
def test_the_host_cuts_the_same_windows(columns, tmp_path):
    records = fakes.records(6, shortest=100, longest=600)
    mapped = np.lib.format.open_memmap(tmp_path / "signals.npy", "w+", np.float16, records.signals.shape)
    mapped[:] = records.signals
    resident = make_store(records, WINDOW)
    streamed = make_store(dataclasses.replace(records, signals=mapped), WINDOW, resident=False)
    assert streamed.signals.shape == (0, 12) and streamed.host is not None and resident.host is None
    np.testing.assert_array_equal(streamed.labels, resident.labels)
    index = np.array([0, 0, 3, 5, 5, 2, 1, 4], np.int32)
    shift = np.array([0, -40, 7, records.lengths[5] - WINDOW, -3, 11, -WINDOW, records.lengths[4]], np.int32)
    cut = streamed.host.cut(index, shift, WINDOW, columns)
    assert type(cut) is np.ndarray and cut.dtype == np.float16
    expected = cut_windows(resident, index, shift, WINDOW)[..., np.array(columns)]
    np.testing.assert_array_equal(cut, expected)


def test_a_set_too_long_for_the_offsets_is_an_error(monkeypatch):
    monkeypatch.setattr(data_store, "MAX_ROWS", 1000)
    with pytest.raises(DataError, match=r"samples do not fit the store's 32-bit offsets; set --config\.input=stream"):
        make_store(fakes.records(6), WINDOW)


def test_random_windows_stay_within_long_records_and_hold_all_of_short_ones():
    lengths = np.array([100, 255, 256, 257, 1000], np.int32)
    shifts = np.asarray(random_shifts(jax.random.key(0), lengths, WINDOW, 2000))
    slack = lengths - WINDOW
    assert (shifts.min(1) == np.minimum(slack, 0)).all()
    assert (shifts.max(1) == np.maximum(slack, 0)).all()
    # Every position is equally likely: the mean is the middle, to four standard errors.
    error = np.abs(shifts.mean(1) - slack / 2)
    assert (error <= 4 * (np.abs(slack) + 1) / np.sqrt(12 * 2000)).all()


def test_covering_windows_cover_every_sample_once_or_more_and_are_as_few_as_can_be():
    lengths = np.array([1, 200, 256, 257, 700, 1024])
    record, shift = covering_windows(lengths, WINDOW)
    for i, length in enumerate(lengths):
        mine = shift[record == i]
        assert len(mine) == max(1, -(-length // WINDOW))
        covered = np.zeros(length, bool)
        for start in mine:
            covered[max(start, 0) : start + WINDOW] = True
        assert covered.all()
        if length >= WINDOW:
            assert mine.min() == 0 and mine.max() == length - WINDOW
        else:
            front, back = -mine[0], WINDOW - length + mine[0]
            assert abs(front - back) <= 1
