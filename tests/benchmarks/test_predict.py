import json

import pytest

pytest.importorskip("torch")

from benchmarks import predict as benchmark


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
    path = tmp_path / "predict.json"
    benchmark.main(["--smoke", f"--output={path}"])
    result = json.loads(path.read_text())
    assert set(result["medians"]) == {
        f"{task}{whose}" for task in ("first answer", "folder", "day") for whose in ("", ", PyTorch")
    }
    assert all(found["seconds"] > 0 and found["megabytes"] > 10 for found in result["medians"].values())
    assert result["medians"]["folder"]["files_per_second"] > 0
    assert "s to the table" in capsys.readouterr().out


def test_a_command_that_fails_is_an_error():
    with pytest.raises(RuntimeError, match="failed"):
        benchmark.run(["lrhnet_jax.cli", "predict"])
    assert benchmark.run(["lrhnet_jax.cli", "--help"])["megabytes"] > 5
