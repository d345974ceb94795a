"""Several JAX processes that run one program: how they meet, and how they stay in step.

All processes take the same path through the program, since each computes its part of every step. Whatever that path
hangs on, and only one of them knows, goes through this module: the first process alone reads and writes the run's
folder, and tells the others what it found; an error of one is an error of all, so that none waits for it.

With a single process everything here is a plain call.
"""

import collections
import pickle
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from lrhnet_jax.errors import ConfigError, UserError

T = TypeVar("T")

JOIN_SECONDS = 300
LEAVE_SECONDS = 60  # how long a process that ends waits for the others


def join(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    automatic: bool = False,
    timeout: int = JOIN_SECONDS,
) -> None:
    """Makes this process one of several; before anything else asks JAX for its devices. Without arguments: no-op.

    Args:
      coordinator: HOST:PORT, where process 0 listens.
      num_processes, process_id: how many there are, and which this one is, counted from 0.
      automatic: let JAX find all three in the surroundings: SLURM, a TPU pod, Open MPI, Kubernetes.
      timeout: seconds to wait for the others.

    Raises:
      ConfigError: for arguments that do not fit together, where there is nothing to find, if the others do not come in
        time, or if processes have different numbers of devices.
    """
    given = {"--coordinator": coordinator, "--num_processes": num_processes, "--process_id": process_id}
    missing = [flag for flag, value in given.items() if value is None]
    if automatic and len(missing) < 3:
        raise ConfigError("--distributed=auto finds --coordinator, --num_processes and --process_id by itself")
    if not automatic and len(missing) == 3:
        return
    if not automatic:
        if missing:
            raise ConfigError(f"{', '.join(given)} belong together; {', '.join(missing)} is missing")
        assert coordinator is not None and num_processes is not None and process_id is not None
        host, _, port = coordinator.rpartition(":")
        if not (host and port.isdigit()):
            raise ConfigError(f"--coordinator={coordinator}: not HOST:PORT, where process 0 listens")
        if not 0 <= process_id < num_processes:
            raise ConfigError(f"--process_id={process_id}: not one of 0 to {num_processes - 1}")
    _initialize(coordinator, num_processes, process_id, timeout)
    counts = collections.Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        raise ConfigError(f"all processes need the same number of devices; they have {sorted(counts.items())}")


def _initialize(coordinator: str | None, num_processes: int | None, process_id: int | None, timeout: int) -> None:
    """jax.distributed.initialize with errors that can be caught: where nobody comes, JAX aborts the process."""
    failure: list[Exception] = []

    def work() -> None:
        try:
            jax.distributed.initialize(
                coordinator,
                num_processes,
                process_id,
                initialization_timeout=timeout + 60,
                shutdown_timeout_seconds=LEAVE_SECONDS,
            )
        except (RuntimeError, ValueError, OSError, KeyError) as error:
            failure.append(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(timeout)
    where = f"process {process_id} of {num_processes} at {coordinator}" if coordinator else "--distributed=auto"
    if worker.is_alive():
        raise ConfigError(
            f"{where}: not all processes came together within {timeout} s. Every process needs the same --coordinator, "
            "a port of process 0's machine that the others can reach, and a --process_id of its own"
        )
    if failure:
        if coordinator is None:
            raise ConfigError(
                f"{where}: this is not a job of SLURM, Open MPI or Kubernetes, nor a TPU pod ({failure[0]}); give "
                "--coordinator=HOST:PORT --num_processes=N --process_id=I"
            ) from failure[0]
        raise ConfigError(f"{where}: {failure[0]}") from failure[0]


def is_first() -> bool:
    """Whether this process is the one that reads and writes the run's folder."""
    return jax.process_index() == 0


def exchange(value: Any) -> list[Any]:
    """Returns what every process gave, by process. All wait for the last."""
    if jax.process_count() == 1:
        return [value]
    payload = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(payload)))
    rows = multihost_utils.process_allgather(_padded(payload, int(sizes.max())))
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def from_first(function: Callable[[], T]) -> T:
    """Calls `function` on the first process, and returns its result, or raises its error, on all of them.

    The result travels pickled: values, NumPy and JAX arrays, which arrive on the default device. `function` may not
    call this module, nor compute on the devices of other processes.
    """
    if jax.process_count() == 1:
        return function()
    payload = np.zeros(0, np.uint8)
    error: Exception | None = None
    if is_first():
        result, error = _attempt(function)
        payload = np.frombuffer(pickle.dumps((result, _portable(error))), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(payload))))
    received = multihost_utils.broadcast_one_to_all(_padded(payload, size))
    result, remote = pickle.loads(received[:size].tobytes())
    if error or remote:
        raise error or remote
    return result


def each(function: Callable[[], T]) -> T:
    """Calls `function` on every process; if one raises, all raise."""
    result, error = _attempt(function)
    errors = exchange(_portable(error))
    if error:
        raise error
    for process, other in enumerate(errors):
        if other:
            raise type(other)(f"process {process}: {other}")
    return result  # type: ignore[return-value]


def first_then_rest(function: Callable[[], T]) -> T:
    """Like `each`, but the others wait for the first, and so find what it left on a disk that they share."""
    if jax.process_count() == 1:
        return function()
    nothing: Callable[[], Any] = lambda: None  # noqa: E731
    early = each(function if is_first() else nothing)
    late = each(nothing if is_first() else function)
    return early if is_first() else late


def _attempt(function: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return function(), None
    except Exception as error:
        return None, error


def _portable(error: Exception | None) -> Exception | None:
    """The error as other processes can raise it: not every exception can be pickled."""
    return error if error is None or isinstance(error, UserError) else RuntimeError(repr(error))


def _padded(payload: np.ndarray, size: int) -> np.ndarray:
    """The bytes with zeros up to a power of two: each size is a program of its own."""
    return np.pad(payload, (0, max(1024, 1 << (size - 1).bit_length()) - len(payload)))
