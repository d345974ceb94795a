import json

import numpy as np

from benchmarks import builder as benchmark
from data_builders import synthetic
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.ecg.wfdb import find_headers, read_signal


def test_smoke(tmp_path, capsys):
    path = tmp_path / "results" / "builder.json"
    benchmark.main(["--smoke", f"--output={path}"])
    result = json.loads(path.read_text())
    assert result["records"] == 4 and result["synthetic"]
    assert all(len(result[way]["seconds"]) == 2 for way in ("ours", "plain"))
    assert list(result["shares"]) == ["read", "resample", "z-score", "encode", "write, checks"]
    assert abs(sum(result["shares"].values()) - 1) < 1e-9 and min(result["shares"].values()) > 0
    printed = capsys.readouterr().out
    assert "4 records (synthetic)" in printed and "wfdb + scipy loop" in printed


def test_the_plain_loop_makes_what_the_builder_makes(tmp_path):
    synthetic.write(tmp_path / "raw", 3, seed=1)
    entries = benchmark.find(tmp_path / "raw", 3)
    (tmp_path / "plain").mkdir()
    assert benchmark.build_plainly(entries, tmp_path / "plain") == len(entries) == 3
    for entry in entries:
        ours = preprocessing.preprocess(read_signal(entry.header), entry.header.rate)
        plain = np.load(tmp_path / "plain" / f"{entry.header.record_id}.npy")
        assert ours.shape == plain.shape
        # The plain way begins and ends with a jump from zero, which resampling smears.
        middle = slice(len(ours) // 4, -len(ours) // 4)
        np.testing.assert_allclose(ours[middle].astype(float), plain[middle].astype(float), atol=0.1)


def test_records_are_taken_from_all_of_an_archive(tmp_path):
    synthetic.write(tmp_path, 9, seed=1)
    found = [str(path) for path in find_headers(tmp_path)]
    chosen = [str(entry.header.path) for entry in benchmark.find(tmp_path, 3)]
    assert chosen == [found[0], found[4], found[8]]
    assert len(benchmark.find(tmp_path, 100)) == 9
