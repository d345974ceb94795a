"""WFDB records, named by their header or by a signal file beside it; `ecg.wfdb` reads them."""

import pathlib
import re

from lrhnet_jax.ecg import files, wfdb, wfdb_blocks
from lrhnet_jax.ecg.formats.base import Format, Given
from lrhnet_jax.ecg.recording import BlockRecording, Recording
from lrhnet_jax.errors import UserError

_SIGNALS = (".dat", ".mat")
_RECORD_LINE = re.compile(rb"\s*(?:#[^\n]*\n\s*)*[^\s#]+[ \t]+[0-9]+(?:[ \t][^\n]*)?(?:\n|$)")


def _matches(path: pathlib.Path, head: bytes) -> bool:
    if path.suffix.lower() == ".hea":
        return _RECORD_LINE.match(head) is not None
    return path.suffix.lower() in _SIGNALS and files.beside(path.parent, f"{path.stem}.hea").is_file()


def _read(path: pathlib.Path, given: Given) -> Recording:
    return wfdb.read_recording(_header(path))


def _read_blocks(path: pathlib.Path, given: Given) -> BlockRecording:
    return wfdb_blocks.read(_header(path))


def _header(path: pathlib.Path) -> pathlib.Path:
    header = files.beside(path.parent, f"{path.stem}.hea")
    if not header.is_file():
        raise UserError(f"is a signal file without its header; put {header.name} beside it")
    return header


FORMAT = Format("WFDB", (".hea", ".dat"), _matches, _read, _read_blocks)
