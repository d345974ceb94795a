"""Worker processes that a script without a guard starts: each runs the script once more."""

import multiprocessing

from lrhnet_jax.errors import DataError

ADVICE = (
    """a script that builds sets does so below `if __name__ == "__main__":`, and a script from standard input cannot """
    "start processes; or build in this process: --workers=1"
)


def check() -> None:
    """Raises DataError in a worker process that runs its parent's script once more, which would wait for its parent."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing.spawn asks itself
        raise DataError(f"a worker process has come to build the set itself: {ADVICE}")
