"""KardiaMobile recordings (AliveCor): .atc files, and the JSON that the Kardia API returns.

Sources: AliveCor, "ATC File Format Specification 1.7" (github.com/alivecor/ATCpy); developers.kardia.com.
"""

import json
import pathlib
import struct
import zlib

import numpy as np

from lrhnet_jax.ecg.formats.base import Format, Given, check_claim, columns, read_bytes
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.ecg.recording import Recording
from lrhnet_jax.errors import UserError

_MAX_JSON_BYTES = 32 * 1024**2  # half an hour; what JSON says takes up to twenty times its size in memory
_MAGIC = b"ALIVE\0\0\0"
_BLOCKS = {b"ecg" + digit.encode(): lead for digit, lead in zip(" 23456789abc", LEADS, strict=True)}
_KEYS = {"leadI": "I", "leadII": "II", "leadIII": "III"}


def _matches_atc(path: pathlib.Path, head: bytes) -> bool:
    return head.startswith(_MAGIC)


def _read_atc(path: pathlib.Path, given: Given) -> Recording:
    data = read_bytes(path)
    blocks: dict[bytes, bytes] = {}
    notes = []
    offset = 12  # after the signature and the version
    while offset + 12 <= len(data):
        name, size = struct.unpack_from("<4sI", data, offset)
        end = offset + 8 + size
        check_claim(end + 4, len(data), f"its block {name.decode('latin-1')!r}")
        (stored,) = struct.unpack_from("<I", data, end)
        # The specification says CRC32; AliveCor's own writer adds the bytes up.
        if stored not in (zlib.crc32(data[offset:end]), sum(data[offset:end]) & 0xFFFFFFFF):
            notes.append(f"block {name.decode('latin-1').strip()!r} does not match its checksum")
        blocks.setdefault(name, data[offset + 8 : end])
        offset = end + 4
    try:
        kind, rate, resolution, _ = struct.unpack_from("<BHHB", blocks[b"fmt "])
    except (KeyError, struct.error):
        raise UserError("truncated: it lacks the block that describes its samples; export it again") from None
    if kind != 1 or rate <= 0 or resolution <= 0:
        raise UserError(f"broken format block: kind {kind}, {rate} Hz, {resolution} nV; export it again")
    signals = {
        lead: np.frombuffer(blocks[name], "<i2", len(blocks[name]) // 2)
        for name, lead in _BLOCKS.items()
        if name in blocks
    }
    signal, leads = columns(signals)
    return Recording(signal * np.float32(resolution * 1e-6), float(rate), leads, path, notes=tuple(notes))


def _matches_json(path: pathlib.Path, head: bytes) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def _read_json(path: pathlib.Path, given: Given) -> Recording:
    """Reads `data.raw`; `data.enhanced`, which holds the same signal after AliveCor's filters, is not used."""
    document = json.loads(read_bytes(path, _MAX_JSON_BYTES))
    try:
        block = document["data"]["raw"]
        samples, rate, resolution = block["samples"], float(block["frequency"]), float(block["amplitudeResolution"])
        signals = {_KEYS.get(name, name): np.asarray(values, np.float32) for name, values in samples.items()}
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UserError(
            "is not a Kardia recording: data.raw with frequency, amplitudeResolution and samples is expected"
        ) from None
    signal, leads = columns(signals)
    return Recording(signal * np.float32(resolution * 1e-6), rate, leads, path)  # the resolution is in nanovolts


ATC = Format("Kardia ATC", (".atc",), _matches_atc, _read_atc)
JSON = Format("Kardia JSON", (".json",), _matches_json, _read_json)
