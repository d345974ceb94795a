"""SIGTERM: finish the step, save, exit 0. Cluster schedulers send it before they take a machine away."""

import contextlib
import signal
from collections.abc import Iterator

_requested = False
_deferred = False


def _handle(signum: int, frame: object) -> None:
    global _requested
    _requested = True
    if not _deferred:
        raise SystemExit(0)


def install() -> None:
    """Makes SIGTERM exit with 0; inside `deferred` it only sets what `requested` returns."""
    global _requested
    _requested = False
    signal.signal(signal.SIGTERM, _handle)


def requested() -> bool:
    return _requested


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """While it lasts, SIGTERM waits for the caller to look at `requested` and stop where it is safe."""
    global _deferred
    _deferred = True
    try:
        yield
    finally:
        _deferred = False
