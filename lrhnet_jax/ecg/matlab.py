"""Matrices of numbers in MATLAB files, versions 4 to 7, with every declared size checked before it is believed.

SciPy reads these files too, but a file that declares more than it holds makes it crash, and a broken one raises errors
of any type. Layouts: MathWorks, "MAT-File Format", chapters 1 (version 5) and 2 (version 4).
"""

import dataclasses
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from lrhnet_jax.errors import UserError

_V4_TYPES = ("f8", "f4", "i4", "i2", "u2", "u1")
# Version 5: type of stored data -> dtype; class of a matrix -> dtype, or what it is where it is not of plain numbers.
_V5_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_V5_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_V5_OTHERS = {1: "a cell array", 2: "a struct", 3: "an object", 4: "text", 5: "a sparse matrix", 16: "a function"}
_MATRIX, _COMPRESSED = 14, 15
_COMPLEX = 0x0800
_LARGEST_NAME = 100
_MOST_ELEMENTS = 1000
_PLAIN = 2**26  # bytes to which any file may unpack; beyond, 64 times its size


@dataclasses.dataclass(frozen=True)
class Variable:
    """A variable of a file.

    Attributes:
      name: of the variable.
      kind: "" for a matrix of real numbers; else what it is, as "a struct".
      values: (rows, columns), of the type in which they are stored; empty if `kind` says so.
      dtype: of the variable, which may be wider than what is stored.
      offset: bytes before the first value, where the file has the values as they are; else 0.
    """

    name: str
    kind: str
    values: np.ndarray
    dtype: np.dtype
    offset: int = 0


def read_matrix(data: bytes, name: str = "val") -> Variable:
    """Returns the matrix `name` of a file's bytes, or the only matrix that there is.

    Raises:
      UserError: if there is none, or the file is something else, is cut, or declares more than it holds.
    """
    variables = list(read_variables(data))
    chosen = [variable for variable in variables if variable.name == name] or variables
    if len(chosen) != 1:
        names = ", ".join(ascii(variable.name) for variable in variables[:10])
        raise UserError(f"has {len(variables)} variables ({names}), and not the one {name!r} that is expected")
    if chosen[0].kind:
        raise UserError(
            f"has {chosen[0].kind}, {chosen[0].name!a}, where a matrix (leads x samples) of numbers is expected; in "
            f"MATLAB, save the matrix alone: {name} = ...; save('FILE.mat', '{name}', '-v4')"
        )
    return chosen[0]


def read_variables(data: bytes) -> Iterator[Variable]:
    """Yields the variables of a file's bytes; errors are those of `read_matrix`."""
    if data[:10] == b"MATLAB 7.3" or data[512:520] == b"\x89HDF\r\n\x1a\n" or data[:8] == b"\x89HDF\r\n\x1a\n":
        raise UserError("is of MATLAB 7.3 (HDF5), which is not read; in MATLAB, save it with save(..., '-v7') or '-v4'")
    if not data:
        raise UserError("is empty")
    try:
        if data[126:128] in (b"IM", b"MI") and 0 not in data[:4]:
            yield from _version_5(data)
        else:
            yield from _version_4(data)
    except (struct.error, zlib.error) as error:
        raise UserError(f"is not a whole MATLAB file ({error})") from error


def _version_4(data: bytes) -> Iterator[Variable]:
    at = 0
    while at < len(data):
        order = "<" if data[at + 2 : at + 4] == b"\0\0" else ">"  # a small number comes first
        code, rows, columns, imaginary, length = struct.unpack_from(f"{order}5i", data, at)
        machine, zero, precision, shape = code // 1000, code // 100 % 10, code // 10 % 10, code % 10
        if machine != "<>".index(order) or zero or precision > 5 or shape > 2 or not 0 < length <= _LARGEST_NAME:
            raise UserError("is not a MATLAB file")
        dtype = np.dtype(order + _V4_TYPES[precision])
        at += 20 + length
        size = rows * columns * dtype.itemsize
        if rows < 0 or columns < 0 or at + size > len(data):
            raise UserError(f"declares {rows} x {columns} values, more than it holds")
        name = data[at - length : at].split(b"\0")[0].decode("latin-1")
        kind = "complex numbers" if imaginary else ("", "text", "a sparse matrix")[shape]
        values = np.frombuffer(data, dtype, 0 if kind else rows * columns, at)
        yield Variable(name, kind, values.reshape((0, 0) if kind else (rows, columns), order="F"), dtype, at)
        at += size * (2 if imaginary else 1)


def _version_5(data: bytes) -> Iterator[Variable]:
    order = "<" if data[126:128] == b"IM" else ">"
    left = max(_PLAIN, 64 * len(data))
    for code, body in _elements(memoryview(data)[128:], order):
        if code == _COMPRESSED:
            unpacker = zlib.decompressobj()
            plain = unpacker.decompress(body, max(left, 1))
            if not unpacker.eof:
                raise UserError("unpacks to more than any recording is, or is cut")
            left -= len(plain)
            code, body = next(_elements(memoryview(plain), order), (0, memoryview(b"")))
        if code == _MATRIX:
            yield _matrix(body, order)


def _matrix(body: memoryview, order: str) -> Variable:
    parts = [part for part, _ in zip(_elements(body, order), range(4), strict=False)]
    if len(parts) < 3 or len(parts[0][1]) < 4:
        raise UserError("has a variable without a description")
    (flags,) = struct.unpack_from(f"{order}I", parts[0][1])
    shape = np.frombuffer(parts[1][1], f"{order}i4", len(parts[1][1]) // 4).tolist()
    name = bytes(parts[2][1][:_LARGEST_NAME]).decode("latin-1")
    kind = "" if flags & 0xFF in _V5_CLASSES else _V5_OTHERS.get(flags & 0xFF, "something else than numbers")
    if not kind and flags & _COMPLEX:
        kind = "complex numbers"
    if not kind and len(shape) != 2:
        kind = f"an array of {len(shape)} dimensions"
    dtype = np.dtype(_V5_CLASSES.get(flags & 0xFF, "u1"))
    if kind:
        return Variable(name, kind, np.zeros((0, 0)), dtype)
    code, stored = parts[3] if len(parts) > 3 else (0, memoryview(b""))
    stored_type = np.dtype(order + _V5_TYPES[code]) if code in _V5_TYPES else None
    if stored_type is None or min(shape) < 0 or shape[0] * shape[1] * stored_type.itemsize != len(stored):
        raise UserError(f"declares {' x '.join(map(str, shape))} values, not what it holds")
    return Variable(name, "", np.frombuffer(stored, stored_type).reshape(shape, order="F"), dtype)


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yields the type and content of each data element."""
    at = 0
    for _ in range(_MOST_ELEMENTS):
        if at + 8 > len(data):
            return
        code, size = struct.unpack_from(f"{order}II", data, at)
        if code >> 16:  # small element: size and type in four bytes, content in the next four
            code, size, start, end = code & 0xFFFF, code >> 16, at + 4, at + 8
            if size > 4:
                raise UserError("declares more than it holds")
        else:
            start = at + 8
            end = start + size + (0 if code == _COMPRESSED else -size % 8)
        if start + size > len(data):
            raise UserError("is cut, or declares more than it holds")
        yield code, data[start : start + size]
        at = end
    raise UserError(f"has more than {_MOST_ELEMENTS} parts")
