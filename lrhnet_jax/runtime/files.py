"""Files that are written whole or not at all, by the first process."""

import contextlib
import csv
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lrhnet_jax.errors import CheckpointError, storage_error


def write_whole(path: pathlib.Path, write: Callable[[pathlib.Path], Any]) -> None:
    """Has `write` write a file so that a kill leaves the old one or the new one, never half of one.

    Args:
      write: is given another path with the same ending, which NumPy looks at.

    Raises:
      StorageError: if the disk is full, or the folder read-only.
    """
    scratch = path.with_name(f"tmp-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(scratch)
        os.replace(scratch, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise storage_error(error, path) from error


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file, whole or not at all; on the first process."""
    if _is_first():
        write_whole(path, lambda scratch: scratch.write_text(text, encoding="utf-8"))


def _is_first() -> bool:
    """Whether this process writes; one that has not imported JAX is on its own, and need not wait for it."""
    if "jax" not in sys.modules:
        return True
    from lrhnet_jax.runtime import processes

    return processes.is_first()


def write_csv(path: pathlib.Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a table as CSV, whole or not at all; a column that a row lacks is empty in it."""

    def write(scratch: pathlib.Path) -> None:
        with scratch.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)

    write_whole(path, write)


def write_json(path: pathlib.Path, value: Any, indent: int | None = 1) -> None:
    """Writes a JSON file, whole or not at all; on the first process. Without `indent` in a tenth of the time."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


def read_json(path: pathlib.Path) -> Any:
    """Reads a JSON file.

    Raises:
      CheckpointError: if it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # not text, not JSON, or nested without end
        raise CheckpointError(f"{path}: not a JSON file ({error})") from error
