"""The command lines' log: the project's own messages on stderr, and of its libraries only warnings."""

import logging

from absl import logging as absl_logging

LOGGERS = [logging.getLogger("lrhnet_jax"), logging.getLogger("data_builders")]


def configure(level: int = logging.INFO) -> None:
    """Sends the project's log, from `level` on, to stderr with the time of day."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    for logger in LOGGERS:
        logger.addHandler(handler)
        logger.propagate = False
    limit(level)


def limit(level: int) -> None:
    """Keeps back the project's messages below `level`."""
    for logger in LOGGERS:
        logger.setLevel(level)
