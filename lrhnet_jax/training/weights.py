"""A trained network's arrays in one NumPy file, never pickled, and told from an altered one by its checksum."""

import hashlib
import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np

from lrhnet_jax.errors import CheckpointError
from lrhnet_jax.runtime.files import write_whole

MOST_BYTES = 4 * 1024**3  # of all arrays, unpacked: a thousand times the largest network here


def write(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Writes arrays by name, whole or not at all; returns the file's checksum (SHA-256, in hexadecimal)."""
    write_whole(path, lambda scratch: np.savez(scratch, allow_pickle=False, **arrays))
    return checksum(path)


def read(path: pathlib.Path, expected: str | None, described_by: str) -> dict[str, np.ndarray]:
    """Reads what `write` wrote.

    Args:
      expected: the checksum that it returned.
      described_by: name of the file that holds it, for the message.

    Raises:
      CheckpointError: if the file is missing, altered or broken.
    """
    try:
        if checksum(path) != expected:
            raise CheckpointError(
                f"{path}: not the weights that {described_by} beside it describes: they were altered, or only partly "
                "copied; copy the folder again, or train the network again"
            )
        with zipfile.ZipFile(path) as packed:  # its own account of the sizes, before anything is unpacked
            size = sum(entry.file_size for entry in packed.infolist())
        if size > MOST_BYTES:
            raise CheckpointError(f"{path}: unpacks to {size:,} bytes, as no network does")
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except CheckpointError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise CheckpointError(f"{path}: cannot be read ({str(error).partition(chr(10))[0]})") from error


def checksum(path: pathlib.Path) -> str:
    """Returns a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
