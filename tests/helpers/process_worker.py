"""One of several processes of tests/runtime/test_processes.py.

    python -m tests.helpers.process_worker ID COUNT COORDINATOR FOLDER

Writes FOLDER/outcome{ID}.npz and, of every training, what a process of that number writes: FOLDER/NAME{ID}/.
"""

import os
import pathlib
import signal
import sys
import time

import jax
import numpy as np
import optax

from lrhnet_jax.errors import DataError, UserError
from lrhnet_jax.runtime import interrupt, processes
from lrhnet_jax.runtime.devices import make_parallel
from lrhnet_jax.scoring import predict
from lrhnet_jax.training import loop
from tests.helpers import runs

WINDOWS = np.arange(10, dtype=np.int32)  # of as many records; no multiple of the devices


def make_run(folder, parallel, **changes):
    # Plain gradient descent: Adam would hide a gradient that is a multiple of the right one, and magnify rounding.
    return runs.make_run(folder, parallel=parallel, optimizer=optax.sgd(0.3), **changes)


def window_logits(run, variables):
    store = run.spec.parallel.replicate(run.inputs.store)
    predictor = predict.Predictor(run.spec.student, variables, runs.WINDOW, 6, parallel=run.spec.parallel)
    return predictor.logits(store, WINDOWS, 0 * WINDOWS)


def flat(variables):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(variables)])


def message(function, *arguments):
    """The error of a call that has to fail."""
    try:
        function(*arguments)
    except UserError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def fail(text):
    raise DataError(text)


def agree(process):
    """What `processes` does, as a dict of arrays and texts."""
    found = {}
    found["exchange"] = [value["process"] for value in processes.exchange({"process": process, "fill": "x" * process})]
    found["from_first"] = processes.from_first(lambda: np.full(3, process + 5))
    found["nothing_yet"] = processes.from_first(lambda: None) is None
    found["first_fails"] = message(processes.from_first, lambda: fail("no such folder"))
    found["second_fails"] = message(processes.each, lambda: fail("no data") if process == 1 else None)
    order = processes.first_then_rest(time.monotonic)  # one clock for the processes of a machine
    found["first_then_rest"] = np.argsort(processes.exchange(order))
    found["pmap"] = message(make_parallel, "pmap", 0)
    found["too_few_devices"] = message(make_parallel, "jit", 2)
    found["batch"] = message(make_parallel("jit", 0).check, 6)
    return found


def stop(folder, parallel):
    """Trains until the second process is told to stop; returns the exit status."""
    interrupt.install()
    wait = jax.block_until_ready
    calls = 0

    def terminate_second(value):
        nonlocal calls
        calls += 1
        if calls == 2 and jax.process_index() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)  # the news takes a while to reach all
        return wait(value)

    jax.block_until_ready = terminate_second
    try:
        loop.train(make_run(folder, parallel))
    except SystemExit as stopped:
        return stopped.code, calls
    finally:
        jax.block_until_ready = wait
    return -1, calls


def main():
    process, count, folder = int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[4])
    processes.join(sys.argv[3], count, process, timeout=120)
    found = agree(process)
    parallel = make_parallel("jit", 0)
    found["devices"] = len(parallel.devices)
    whole = loop.train(make_run(folder / f"whole{process}", parallel))
    found["whole"] = flat(whole.variables)
    found["losses"] = [row["loss"] for row in whole.history]
    found["logits"] = window_logits(make_run(folder, parallel), whole.variables)
    streamed = make_run(folder / f"streamed{process}", parallel, resident=False)  # each cuts for its own devices alone
    found["streamed"] = flat(loop.train(streamed).variables)
    found["resumed"] = flat(loop.train(make_run(folder / f"resumed{process}", parallel)).variables)
    found["stopped"] = stop(folder / f"stopped{process}", parallel)
    np.savez(folder / f"outcome{process}.npz", **found)


if __name__ == "__main__":
    main()
