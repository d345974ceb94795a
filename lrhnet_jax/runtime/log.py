"""The command lines' log: the project's own messages on stderr, and of its libraries only warnings."""

import logging
import sys
from typing import Any

from absl import logging as absl_logging

LOGGERS = [logging.getLogger("lrhnet_jax"), logging.getLogger("data_builders")]


class _Stderr(logging.StreamHandler):
    """Writes to what sys.stderr is at the time: a notebook or a test may put another in its place."""

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, value: Any) -> None:
        pass


_HANDLER = _Stderr()
_HANDLER.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))


def configure(level: int = logging.INFO) -> None:
    """Sends the project's log, from `level` on, to stderr with the time of day."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    for logger in LOGGERS:
        logger.addHandler(_HANDLER)  # once, however often this is called
        logger.propagate = False
    limit(level)


def limit(level: int) -> None:
    """Keeps back the project's messages below `level`."""
    for logger in LOGGERS:
        logger.setLevel(level)
