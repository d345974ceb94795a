"""The Huffman codes of SCP-ECG (section 2), which pack the samples of sections 5 and 6."""

import struct
from typing import NamedTuple

import numpy as np

from lrhnet_jax.ecg.formats.base import check_claim
from lrhnet_jax.errors import UserError

_DEFAULT = 19999  # in place of a number of tables: the one that the standard prints
_MAX_BITS = 16  # of a code's prefix, and of the number behind it
_MAX_TABLES = 16


class _Code(NamedTuple):
    bits: int  # of the prefix
    extra: int  # bits behind it: a two's complement number
    value: int  # added to that number; or of which table the next code is, counted from 1
    switch: bool


class Table(NamedTuple):
    """Codes by what the next `bits` bits say."""

    bits: int
    codes: list[_Code | None]  # 2**bits


def parse_tables(section: bytes) -> list[Table]:
    """Returns the tables of section 2; the first one is in force at the start of each lead."""
    (count,) = struct.unpack_from("<H", section)
    if count == _DEFAULT:
        return [_default_table()]
    if not 1 <= count <= _MAX_TABLES:
        raise UserError(f"broken SCP-ECG file: {count} Huffman tables; export it again")
    tables, offset = [], 2
    for _ in range(count):
        (size,) = struct.unpack_from("<H", section, offset)
        check_claim(offset + 2 + 9 * size, len(section), "its section 2")
        entries = []
        for start in range(offset + 2, offset + 2 + 9 * size, 9):
            bits, total, mode, value, stored = struct.unpack_from("<BBBhI", section, start)
            if not 1 <= bits <= _MAX_BITS or not 0 <= total - bits <= _MAX_BITS:
                raise UserError(f"broken SCP-ECG file: a Huffman code of {bits} + {total - bits} bits")
            prefix = int(f"{stored & ((1 << bits) - 1):0{bits}b}"[::-1], 2)  # its first bit is stored lowest
            entries.append((prefix, _Code(bits, total - bits, value, mode == 0)))
        tables.append(_table(entries))
        offset += 2 + 9 * size
    return tables


def decode(packed: bytes, count: int, tables: list[Table]) -> np.ndarray:
    """Returns `count` numbers, int64, from their codes."""
    check_claim(count / 8, len(packed), "its section 3")  # a code has a bit at least
    ahead = _bits_ahead(packed)
    result = np.empty(count, np.int64)
    table, position, done, end = tables[0], 0, 0, 8 * len(packed)
    while done < count:
        code = table.codes[ahead[position] >> (_MAX_BITS - table.bits)] if position < end else None
        if code is None or position + code.bits + code.extra > end:
            raise UserError(f"truncated or broken SCP-ECG file: {done} of {count} samples of a lead")
        position += code.bits
        if code.switch:
            if not 1 <= code.value <= len(tables):
                raise UserError(f"broken SCP-ECG file: no Huffman table {code.value}")
            table = tables[code.value - 1]
            continue
        value = code.value
        if code.extra:
            number = ahead[position] >> (_MAX_BITS - code.extra)
            value += number - (1 << code.extra if number >> (code.extra - 1) else 0)
            position += code.extra
        result[done] = value
        done += 1
    return result


def _bits_ahead(packed: bytes) -> list[int]:
    """Returns, for each bit of `packed`, the 16 bits that begin there, as a number."""
    data = np.frombuffer(packed + b"\0\0\0", np.uint8).astype(np.uint32)
    window = (data[:-2] << 16) | (data[1:-1] << 8) | data[2:]
    return ((window[:, None] >> np.arange(8, 0, -1)) & 0xFFFF).ravel().tolist()


def _default_table() -> Table:
    entries = [(0, _Code(1, 0, 0, False))]
    for size in range(1, 9):  # as many ones, a zero, and the sign
        ones = (1 << (size + 2)) - 4
        entries += [(ones, _Code(size + 2, 0, size, False)), (ones | 1, _Code(size + 2, 0, -size, False))]
    entries += [(0b1111111110, _Code(10, 8, 0, False)), (0b1111111111, _Code(10, 16, 0, False))]
    return _table(entries)


def _table(entries: list[tuple[int, _Code]]) -> Table:
    bits = max((code.bits for _, code in entries), default=1)
    codes: list[_Code | None] = [None] * (1 << bits)
    for prefix, code in entries:
        span = 1 << (bits - code.bits)
        codes[prefix * span : (prefix + 1) * span] = [code] * span
    return Table(bits, codes)
