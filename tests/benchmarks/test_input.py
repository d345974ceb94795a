import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import input as benchmark  # noqa: E402
from benchmarks import torch_windows  # noqa: E402
from lrhnet_jax.data import dataset  # noqa: E402
from lrhnet_jax.data.dataset import Dataset  # noqa: E402


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
    path = tmp_path / "results" / "input.json"
    benchmark.main(["--smoke", "--leads=2", "--workers=1", f"--output={path}"])
    result = json.loads(path.read_text())
    assert result["synthetic"] and result["load"]["records"] >= 40
    assert result["load"]["peak_bytes_stored"] >= result["load"]["peak_bytes_loaded"] > 0
    (row,) = result["windows"]
    for way in ("resident", "streamed", "torch"):
        assert row[way]["windows_per_second"] > 0 and len(row[way]["seconds"]) == 2
        assert way == "torch" or row[way]["ratio"] > 0
    assert result["step"]["given"]["samples_per_second"] > 0
    assert all(result["step"][way]["input_share"] < 1 for way in ("resident", "streamed"))
    printed = capsys.readouterr().out
    assert "(synthetic)" in printed and "share of input" in printed


@pytest.mark.slow
def test_a_set_of_any_size_is_made_of_one_shard(tmp_path):
    path = benchmark.make_set(tmp_path, 100)
    (small,) = {file.stat().st_ino for file in path.glob("*array_record*")}
    assert small
    records = dataset.load(path)
    one = int(np.flatnonzero(records.record_ids == records.record_ids[0])[1])
    assert len(records) >= 100 and len(records) % one == 0
    np.testing.assert_array_equal(records.lengths[:one], records.lengths[-one:])


def test_pytorch_gets_windows_of_the_same_records(tmp_path):
    rng = np.random.default_rng(0)
    signals = [rng.normal(size=(length, 12)).astype(np.float16) for length in (300, 90)]
    records = Dataset.from_arrays(signals, labels=rng.random((2, 24)) < 0.5)
    records.signals.tofile(tmp_path / "signals.f16")
    source = torch_windows.Windows(
        tmp_path / "signals.f16",
        records.offsets,
        records.lengths,
        records.labels,
        records.demographics,
        12,
        128,
        6,
    )
    long, _, labels = source[2]
    starts = [s for s in range(300 - 128 + 1) if np.array_equal(long.numpy().T, signals[0][s : s + 128])]
    assert len(starts) == 1 and long.dtype == torch.float32
    np.testing.assert_array_equal(labels, records.labels[0])
    short, _, _ = source[3]
    starts = [s for s in range(128 - 90 + 1) if np.array_equal(short.numpy().T[s : s + 90], signals[1])]
    assert len(starts) == 1 and np.count_nonzero(short.any(0)) == 90
    batches = list(torch_windows.loader(source, 4, 0))
    assert [batch[0].shape for batch in batches] == [(4, 12, 128)]
