import json
import types

import pytest

pytest.importorskip("torch")

from benchmarks import startup as benchmark


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
    path = tmp_path / "results" / "startup.json"
    benchmark.main(["--smoke", "--leads=2", f"--output={path}"])
    result = json.loads(path.read_text())
    assert list(result["medians"]) == ["no cache", "cache", "PyTorch"]
    for kind, medians in result["medians"].items():
        stages = [stage for stage in benchmark.STAGES if kind != "PyTorch" or stage != "compile"]
        assert list(medians) == [*stages, "total"]
        assert medians["total"] == pytest.approx(sum(medians[stage] for stage in stages))
        assert min(medians.values()) >= 0
    assert result["ratios"].keys() == {"no cache", "cache"}
    printed = capsys.readouterr().out
    assert "first step" in printed and "PyTorch" in printed


def test_a_process_that_fails_is_an_error_that_shows_why(tmp_path):
    options = types.SimpleNamespace(model="lrhnet", leads="2", batch=2, window=256)
    folders = {"ours": tmp_path, "torch": tmp_path, "cache": tmp_path}
    with pytest.raises(RuntimeError, match=r"(?s)'PyTorch' failed:.*fields\.npz"):
        benchmark.start("PyTorch", options, folders, (0, 1))
