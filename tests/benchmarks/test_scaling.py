import json

import pytest

from benchmarks import cases
from benchmarks import scaling as benchmark
from lrhnet_jax.runtime.devices import make_parallel
from tests.helpers import launch


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
    path = tmp_path / "results" / "scaling.json"
    benchmark.main(["--smoke", "--networks=lrhnet", "--devices=1,2", f"--output={path}"])
    result = json.loads(path.read_text())
    assert result["processes"] == 1 and result["device"] == "8 x cpu" and not result["left_out"]
    seen = [(row["parallel"], row["scaling"], row["devices"], row["batch"]) for row in result["rows"]]
    assert seen == [
        (kind, scaling, devices, batch)
        for kind in ("jit", "pmap")
        for scaling, batches in (("weak", (2, 4)), ("strong", (4, 4)))
        for devices, batch in zip((1, 2), batches, strict=True)
    ]
    for row in result["rows"]:
        assert len(row["seconds"]) == 2 and row["samples_per_second"] > 0
        assert row["devices"] > 1 or row["efficiency"] == 1
    assert "lrhnet pmap strong 2 4" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_two_processes_measure_together(tmp_path):
    path = tmp_path / "scaling.json"
    address = f"127.0.0.1:{launch.free_port()}"
    flags = ("benchmarks.scaling", "--smoke", "--networks=lrhnet", "--devices=1,4", f"--output={path}")
    statuses, outputs = launch.launch_all([(*flags, *launch.meet(i, coordinator=address)) for i in range(2)])
    assert statuses == [0, 0], "\n".join(outputs)[-6000:]
    result = json.loads(path.read_text())
    assert (result["processes"], result["device"]) == (2, "4 x cpu")
    assert [(row["scaling"], row["devices"]) for row in result["rows"]] == [
        ("weak", 1),
        ("weak", 4),
        ("strong", 1),
        ("strong", 4),
    ]
    assert result["left_out"] == ["lrhnet by pmap, which runs in one process"]
    assert "left out: lrhnet by pmap" in outputs[0] and "samples/s" not in outputs[1]


@pytest.mark.slow
def test_the_taught_step_learns_from_its_teachers():
    # LRH-Nets teach: an SE-ResNet takes long to compile.
    case = cases.CASES["pmlkd"]
    case = case._replace(teachers=tuple(("lrhnet", leads) for _, leads in case.teachers))
    parallel = make_parallel("jit", 2)
    run = cases.make_run(case, parallel, batch=4, window=256, dtype="bfloat16", count=1)
    losses = [run() for _ in range(6)]
    assert losses[-1] < losses[0]


def test_efficiency_is_speed_over_that_of_one_device():
    planned = benchmark.settings([1, 2, 6], batch=3, strong_batch=20)
    assert planned["weak"] == [(1, 3), (2, 6), (6, 18)] and planned["strong"] == [(1, 24), (2, 24), (6, 24)]
    seconds = {(1, 3): [1.0, 1.0, 9.0], (2, 6): [1.0] * 3, (6, 18): [2.0] * 3}
    seconds |= {(1, 24): [6.0], (2, 24): [3.0], (6, 24): [2.0]}
    found = benchmark.rows(planned, {benchmark.Setting(*key): value for key, value in seconds.items()}, count=10)
    assert [row["samples_per_second"] for row in found] == [30, 60, 90, 40, 80, 120]
    assert [row["efficiency"] for row in found] == [1, 1, 0.5, 1, 1, 0.5]


def test_devices_are_doubled_up_to_all():
    assert [benchmark.device_counts(n) for n in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_what_cannot_be_measured_is_named(capsys):
    for flags, message in (
        (["--networks=resnet"], "--networks: unknown resnet; choose of lrhnet, seresnet, pmlkd, pmlkd_precomputed"),
        (["--parallel=tpu"], "--parallel: unknown tpu; choose of jit, pmap"),
        (["--devices=1,99"], "--devices=1,99: there are 8"),
    ):
        with pytest.raises(SystemExit):
            benchmark.main(flags)
        assert message in capsys.readouterr().err
