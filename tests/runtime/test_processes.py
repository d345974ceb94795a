"""Two processes on loopback, each with two fake CPU devices, beside one process with one."""

import json
import os
import socket

import jax
import numpy as np
import pytest

from lrhnet_jax.errors import ConfigError
from lrhnet_jax.runtime import processes
from lrhnet_jax.runtime.devices import make_parallel
from lrhnet_jax.training import loop
from tests.helpers import process_worker
from tests.helpers.launch import free_port, launch_all, meet
from tests.helpers.process_worker import flat


def one_process(folder, **changes):
    return loop.train(process_worker.make_run(folder, make_parallel("jit", 1), **changes))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The folder of two workers, what each of them found, and the uninterrupted training of one process."""
    folder = tmp_path_factory.mktemp("processes")
    one_process(folder / "resumed0", epochs=1)  # the workers go on from here
    address = f"127.0.0.1:{free_port()}"
    statuses, outputs = launch_all(
        [("tests.helpers.process_worker", str(i), "2", address, str(folder)) for i in range(2)]
    )
    assert statuses == [0, 0], "\n".join(outputs)[-6000:]
    found = [dict(np.load(folder / f"outcome{i}.npz")) for i in range(2)]
    return folder, found, one_process(folder / "alone")


@pytest.mark.slow
def test_processes_agree_and_fail_together(outcomes):
    for found in outcomes[1]:
        np.testing.assert_array_equal(found["exchange"], [0, 1])
        np.testing.assert_array_equal(found["from_first"], [5, 5, 5])
        assert found["nothing_yet"]
        np.testing.assert_array_equal(found["first_then_rest"], [0, 1])
        assert found["first_fails"] == "DataError: no such folder"
    first, second = (str(found["second_fails"]) for found in outcomes[1])
    assert (first, second) == ("DataError: process 1: no data", "DataError: no data")


@pytest.mark.slow
def test_what_several_processes_cannot_do_is_an_error(outcomes):
    for found in outcomes[1]:
        assert "config.parallel: pmap runs in one process" in str(found["pmap"])
        assert "take part with all of their 4 devices; set 0" in str(found["too_few_devices"])
        assert "a batch of 6 cannot be divided among 4 devices; choose a multiple" in str(found["batch"])


@pytest.mark.slow
def test_two_processes_train_the_network_of_one(outcomes):
    _, found, alone = outcomes
    for outcome in found:
        assert outcome["devices"] == 4
        np.testing.assert_allclose(outcome["whole"], flat(alone.variables), atol=1e-4)
        np.testing.assert_allclose(outcome["losses"], [row["loss"] for row in alone.history], rtol=1e-4)
    np.testing.assert_array_equal(found[0]["whole"], found[1]["whole"])
    start = process_worker.make_run("unused", make_parallel("jit", 1)).variables
    assert np.abs(flat(alone.variables) - flat(start)).max() > 1e-2


@pytest.mark.slow
def test_every_process_gets_all_predictions_where_windows_do_not_divide_among_devices(outcomes):
    _, found, alone = outcomes
    expected = process_worker.window_logits(process_worker.make_run("unused", make_parallel("jit", 1)), alone.variables)
    for outcome in found:
        np.testing.assert_allclose(outcome["logits"], expected, atol=1e-3)
    np.testing.assert_array_equal(found[0]["logits"], found[1]["logits"])


@pytest.mark.slow
def test_only_the_first_process_writes(outcomes):
    folder = outcomes[0]
    for name in ("whole", "resumed", "stopped"):
        assert list((folder / f"{name}0" / "progress").glob("[0-9]*")) and not (folder / f"{name}1").exists()
    assert len((folder / "whole0/metrics.jsonl").read_text().splitlines()) == 3


@pytest.mark.slow
def test_two_processes_go_on_where_one_stopped(outcomes):
    _, found, alone = outcomes
    for outcome in found:
        np.testing.assert_allclose(outcome["resumed"], flat(alone.variables), atol=1e-4)


@pytest.mark.slow
def test_two_processes_stream_what_they_would_hold(outcomes):
    for outcome in outcomes[1]:
        np.testing.assert_array_equal(outcome["streamed"], outcome["whole"])


@pytest.mark.slow
def test_sigterm_to_one_stops_both_at_one_step_and_one_process_goes_on(outcomes):
    folder, found, alone = outcomes
    (status, step), other = found[0]["stopped"], found[1]["stopped"]
    assert status == 0 and 2 <= step < 12
    np.testing.assert_array_equal([status, step], other)
    assert (folder / f"stopped0/progress/{step}").is_dir()
    resumed = one_process(folder / "stopped0")
    np.testing.assert_allclose(flat(resumed.variables), flat(alone.variables), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coordinator": "host:1"}, "belong together; --num_processes, --process_id is missing"),
        ({"num_processes": 2, "process_id": 0}, "belong together; --coordinator is missing"),
        ({"coordinator": "host", "num_processes": 2, "process_id": 0}, "--coordinator=host: not HOST:PORT"),
        ({"coordinator": "host:1", "num_processes": 2, "process_id": 2}, "--process_id=2: not one of 0 to 1"),
        ({"coordinator": "host:1", "automatic": True}, "--distributed=auto finds --coordinator, .* by itself"),
    ],
)
def test_flags_that_do_not_fit_together_are_an_error(arguments, message):
    with pytest.raises(ConfigError, match=message):
        processes.join(**arguments)


@pytest.fixture(scope="module")
def main_flags(data_dir):
    """Flags of a small run; an LRH-Net stands in for the teacher, since an SE-ResNet takes long to compile."""
    return (
        "lrhnet_jax.main",
        "--config=configs/vanilla_kd.py:preset=demo,data=synthetic,leads=2",
        f"--config.data_dir={data_dir}",
        f"--config.compilation_cache={jax.config.jax_compilation_cache_dir or ''}",
        "--config.networks.teacher12.model=lrhnet",
        "--config.networks.teacher12.train.epochs=1",
        "--config.networks.student.train.epochs=2",
        "--config.train.batch_size=16",
        "--config.window=256",
        "--config.windows_per_record=2",
        "--config.evaluation.resamples=20",
    )


@pytest.mark.slow
def test_the_main_job_in_two_processes_is_that_of_one(main_flags, tmp_path):
    statuses, _ = launch_all([(*main_flags, f"--workdir={tmp_path / 'alone'}", "--config.devices=1")])
    assert statuses == [0]
    address = f"127.0.0.1:{free_port()}"
    statuses, outputs = launch_all(
        [(*main_flags, f"--workdir={tmp_path / f'run{i}'}", *meet(i, coordinator=address)) for i in range(2)]
    )
    assert statuses == [0, 0], "\n".join(outputs)[-6000:]
    assert "report: " in outputs[0] and "report: " not in outputs[1]
    assert "records of synthetic on 4 x cpu in 2 processes" in outputs[0] and "records of" not in outputs[1]
    assert not (tmp_path / "run1").exists()
    alone, both = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("alone", "run0"))
    assert both["device"] == "4 x cpu in 2 processes"
    for name in ("teacher12", "student"):
        rows = [results["folds"]["0"]["networks"][name] for results in (alone, both)]
        losses = [[row["loss"] for row in network["history"]] for network in rows]
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
        found = [np.load(tmp_path / run / "networks" / name / "predictions.npz")["test"] for run in ("alone", "run0")]
        np.testing.assert_allclose(*found, atol=0.02)


@pytest.mark.slow
def test_a_process_with_other_flags_is_named_and_slurm_is_found(main_flags, tmp_path):
    # JAX takes its port from the job's number.
    job = next(job for job in range(os.getpid() % 4096, 8192) if not in_use(61440 + job % 4096))
    slurm = {"SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2"}
    statuses, outputs = launch_all(
        [(*main_flags, f"--workdir={tmp_path}", "--distributed=auto", f"--config.seed={i}") for i in range(2)],
        [slurm | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(2)],
    )
    assert statuses == [1, 1], "\n".join(outputs)[-6000:]
    for output in outputs:
        assert "error: process 1 differs from process 0 in config.seed; start all with the same flags" in output
        assert "Traceback" not in output
    assert not list(tmp_path.iterdir())


def in_use(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_a_process_that_stays_alone_says_so_in_time(tmp_path):
    flags = ("lrhnet_jax.main", "--config=configs/pmlkd.py:data=synthetic", f"--workdir={tmp_path}")
    alone = [(*flags, "--join_timeout=3", *meet(i, coordinator=f"127.0.0.1:{free_port()}")) for i in range(2)]
    statuses, outputs = launch_all([*alone, (*flags, "--distributed=auto")])
    assert statuses == [1, 1, 1], "\n".join(outputs)[-6000:]
    for process, output in enumerate(outputs[:2]):
        assert f"error: process {process} of 2 at 127.0.0.1:" in output
        assert "not all processes came together within 3 s. Every process needs the same --coordinator" in output
    assert "this is not a job of SLURM, Open MPI or Kubernetes, nor a TPU pod" in outputs[2]
    assert not any("Traceback" in output for output in outputs)
