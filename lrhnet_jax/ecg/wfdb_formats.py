"""The storage formats of WFDB signal files: bytes to ADC units (https://wfdb.io/spec/signals.html).

What is stored tells what a missing sample looks like: the lowest value of each format, -32768 only where samples have
16 bits. The compressed formats are FLAC streams, which libsndfile decodes.
"""

import io
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lrhnet_jax.errors import UserError


class Format(NamedTuple):
    """A storage format.

    Attributes:
      bits: of a sample's values.
      dtype: of the stored samples, where they fill whole bytes as NumPy knows them; else "".
      samples, bytes: so many samples take so many bytes; 0 bytes where it depends on the signal.
      centre: what is stored for 0.
      missing: the value that marks a missing sample, or None.
    """

    bits: int
    dtype: str
    samples: int
    bytes: int
    centre: int = 0
    missing: int | None = None


FORMATS: dict[int, Format] = {
    8: Format(32, "<i1", 1, 1),  # differences of samples
    16: Format(16, "<i2", 1, 2, missing=-(2**15)),
    24: Format(24, "", 1, 3, missing=-(2**23)),
    32: Format(32, "<i4", 1, 4, missing=-(2**31)),
    61: Format(16, ">i2", 1, 2, missing=-(2**15)),
    80: Format(8, "<u1", 1, 1, centre=2**7, missing=-(2**7)),
    160: Format(16, "<u2", 1, 2, centre=2**15, missing=-(2**15)),
    212: Format(12, "", 2, 3, missing=-(2**11)),
    310: Format(10, "", 3, 4, missing=-(2**9)),
    311: Format(10, "", 3, 4, missing=-(2**9)),
    508: Format(8, "", 1, 0, missing=-(2**7)),
    516: Format(16, "", 1, 0, missing=-(2**15)),
    524: Format(24, "", 1, 0, missing=-(2**23)),
}
DIFFERENCES = 8
COMPRESSED = (508, 516, 524)


def size(format: int, samples: int) -> int:
    """Returns how many bytes hold `samples` samples of a format that is not compressed."""
    kind = FORMATS[format]
    if format == 310 and samples % 3 == 2:  # the second sample lies in the second byte pair
        return 4 * (samples // 3 + 1)
    return math.ceil(samples * kind.bytes / kind.samples)


def capacity(format: int, size: int) -> int:
    """Returns how many samples of a format that is not compressed `size` bytes hold."""
    kind = FORMATS[format]
    return max(size, 0) * kind.samples // kind.bytes


def decode(data: bytes, format: int, samples: int, offset: int = 0) -> np.ndarray:
    """Returns the first `samples` samples of uncompressed `data` behind `offset` bytes, (samples,), some integer type.

    What format 8 stores are differences, and these are what is returned. The caller has seen to it that `data` holds so
    many samples.
    """
    kind = FORMATS[format]
    if kind.dtype:
        stored = np.frombuffer(data, kind.dtype, samples, offset)
        return stored.astype(np.int32) - kind.centre if kind.centre else stored
    block, count = kind.bytes, -(-samples // kind.samples)
    raw = np.zeros(count * block, np.uint8)
    have = np.frombuffer(data, np.uint8, min(len(data) - offset, len(raw)), offset)
    raw[: len(have)] = have
    columns = [raw[i::block].astype(np.int32) for i in range(block)]
    unpacked = np.stack(_UNPACK[format](*columns), axis=1).ravel()[:samples]
    low = 1 << (kind.bits - 1)
    return (unpacked ^ low) - low  # two's complement


def _unpack_24(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, ...]:
    return (a | b << 8 | c << 16,)


def _unpack_212(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, ...]:
    return a | (b & 15) << 8, c | (b >> 4) << 8


def _unpack_310(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, ...]:
    return a >> 1 | (b & 7) << 7, c >> 1 | (d & 7) << 7, b >> 3 | (d >> 3) << 5


def _unpack_311(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, ...]:
    return a | (b & 3) << 8, b >> 2 | (c & 15) << 6, c >> 4 | (d & 63) << 4


_UNPACK: dict[int, Callable[..., tuple[np.ndarray, ...]]] = {
    24: _unpack_24,
    212: _unpack_212,
    310: _unpack_310,
    311: _unpack_311,
}


def flac_shape(data: bytes) -> tuple[int, int]:
    """Returns (samples, channels) that a FLAC stream announces; raises UserError if it is not one."""
    import soundfile

    try:
        described = soundfile.info(io.BytesIO(data))
    except (RuntimeError, TypeError) as error:
        raise UserError(f"is not a FLAC stream ({error})") from error
    if described.format != "FLAC":
        raise UserError(f"is not a FLAC stream, but {described.format}")
    return described.frames, described.channels


def decode_flac(data: bytes, format: int, samples: int, offset: int = 0) -> np.ndarray:
    """Returns `samples` samples of each channel behind the first `offset`, (samples, channels) int32.

    Raises:
      UserError: if the stream is broken, ends before, or has more bits a sample than the format.
    """
    import soundfile

    parts, left = [], samples
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as stream:
            bits = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}.get(stream.subtype, 32)
            if bits > FORMATS[format].bits:
                raise UserError(f"has {stream.subtype} samples, too wide for format {format}")
            stream.seek(offset)
            while left:
                part = stream.read(min(left, 2**20), dtype="int32", always_2d=True)  # fails beyond 2**24 at once
                if not len(part):
                    raise UserError(f"ends {left} samples early")
                parts.append(part >> (32 - bits))
                left -= len(part)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"is a broken FLAC stream ({error})") from error
    return np.concatenate(parts)
