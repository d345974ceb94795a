import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import step as benchmark  # noqa: E402
from lrhnet_jax import models  # noqa: E402
from lrhnet_jax.models import torch_weights  # noqa: E402


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
    path = tmp_path / "results" / "step.json"
    benchmark.main(["--smoke", "--models=lrhnet", "--leads=2", f"--output={path}"])
    result = json.loads(path.read_text())
    assert result["matmul_gflops"] > 0
    (row,) = result["networks"]
    assert (row["model"], row["leads"]) == ("lrhnet", 2)
    forward = 2 * 2 * models.multiply_accumulates("lrhnet", 2, 256)
    for task, passes in (("train", 3), ("inference", 1)):
        ours = row[task]["jax"]
        assert len(row[task]["torch"]["seconds"]) == len(row[task]["torch"]["cpu_seconds"]) == 2
        assert ours["gflops"] / ours["samples_per_second"] == pytest.approx(passes * forward / 2 / 1e9)
    assert row["inference"]["torch_windows_a_call"] in (1, 2)
    assert "lrhnet" in capsys.readouterr().out


def test_an_unknown_model_is_named(capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["--models=resnet"])
    assert "--models: unknown resnet; choose of lrhnet, seresnet, cnn1d" in capsys.readouterr().err


def test_ratios_are_of_turns():
    ours = {"seconds": [1.0, 2.0, 10.0], "cpu_seconds": [2.0, 4.0, 3.0]}
    theirs = {"seconds": [2.0, 4.0, 20.0], "cpu_seconds": [6.0, 12.0, 9.0]}
    result = benchmark.compare(ours, theirs, batch=8, operations=4e9)
    assert (result["ratio"], result["cpu_ratio"]) == (2, 3)
    assert (result["jax"]["samples_per_second"], result["jax"]["gflops"]) == (4, 2)
    assert (result["torch"]["samples_per_second"], result["torch"]["gflops"]) == (2, 1)


@pytest.mark.slow
def test_both_sides_learn():
    # The loss of one batch falls on either side: the steps that are timed are real ones.
    our_train, our_infer = benchmark.jax_tasks("lrhnet", 2, 4, 256)
    their_train, their_infer = benchmark.torch_tasks("lrhnet", 2, 4, 256)
    for train, infer in ((our_train, our_infer), (their_train, their_infer(2))):
        first = train()
        for _ in range(4):
            last = train()
        assert last < first
        assert infer().shape == (4, 24)


def test_both_sides_are_the_same_network():
    shapes = {k: v.shape for k, v in benchmark.TORCH_MODELS["lrhnet"](2).state_dict().items()}
    variables = torch_weights.from_torch("lrhnet", benchmark.TORCH_MODELS["lrhnet"](2).state_dict())
    assert models.count_parameters(variables["params"]) == 83_236
    assert {k: np.shape(v) for k, v in torch_weights.to_torch("lrhnet", variables).items()} == shapes
