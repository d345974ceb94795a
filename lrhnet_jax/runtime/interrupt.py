"""SIGTERM: finish the step, save, exit 0. Cluster schedulers send it before they take a machine away.

With several processes JAX's own handler is left in place: it tells all of them of a signal to one, and has them agree
on a step to stop at, without any traffic before that.
"""

import contextlib
import signal
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

_requested = False
_deferred = False
_looks = 0  # counts for all networks of a run, since JAX agrees on one count to stop at


def _handle(signum: int, frame: object) -> None:
    global _requested
    _requested = True
    if not _deferred:
        raise SystemExit(0)


def install() -> None:
    """Makes SIGTERM exit with 0; inside `deferred` it only sets what `requested` returns.

    With several processes it always waits for `requested`.
    """
    global _requested
    _requested = False
    if jax.process_count() == 1:
        signal.signal(signal.SIGTERM, _handle)


def requested() -> bool:
    """Whether to stop now. Several processes look equally often, once a dispatch, and are all told so at one look."""
    global _looks
    if jax.process_count() == 1:
        return _requested
    _looks += 1
    return multihost_utils.reached_preemption_sync_point(_looks)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """While it lasts, SIGTERM waits for the caller to look at `requested` and stop where it is safe."""
    global _deferred
    _deferred = True
    try:
        yield
    finally:
        _deferred = False
