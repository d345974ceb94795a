"""Two processes on loopback, each with two fake CPU devices, beside one process with one."""

import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from lrhnet_jax import processes, sharding, train
from lrhnet_jax.errors import ConfigError
from tests import process_worker

ROOT = pathlib.Path(__file__).parents[1]
SECONDS = 400  # after which processes that wait for each other are given up


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch_all(commands, devices=2):
    """Runs commands side by side; returns their exit statuses and outputs."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir or "",
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    ]
    try:
        outputs = [process.communicate(timeout=SECONDS)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    return [process.returncode for process in running], outputs


def flat(variables):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(variables)])


def one_process(folder, **changes):
    return train.run(process_worker.job(folder, sharding.make("jit", 1), **changes))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The folder of two workers, what each of them found, and the uninterrupted training of one process."""
    folder = tmp_path_factory.mktemp("processes")
    one_process(folder / "resumed0", epochs=1)  # the workers go on from here
    address = f"127.0.0.1:{free_port()}"
    statuses, outputs = launch_all([("tests.process_worker", str(i), "2", address, str(folder)) for i in range(2)])
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
        assert "take part with all their 4 devices; set 0" in str(found["too_few_devices"])
        assert "a batch of 6 cannot be shared out over 4 devices; choose a multiple" in str(found["batch"])


@pytest.mark.slow
def test_two_processes_train_the_network_of_one(outcomes):
    _, found, alone = outcomes
    for outcome in found:
        assert outcome["devices"] == 4
        np.testing.assert_allclose(outcome["whole"], flat(alone.variables), atol=1e-4)
        np.testing.assert_allclose(outcome["losses"], [row["loss"] for row in alone.history], rtol=1e-4)
    np.testing.assert_array_equal(found[0]["whole"], found[1]["whole"])
    start = process_worker.job("unused", sharding.make("jit", 1)).variables
    assert np.abs(flat(alone.variables) - flat(start)).max() > 1e-2


@pytest.mark.slow
def test_every_process_gets_all_predictions_where_windows_do_not_divide_among_devices(outcomes):
    _, found, alone = outcomes
    expected = process_worker.window_logits(process_worker.job("unused", sharding.make("jit", 1)), alone.variables)
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
