"""Holds a value of JSON against a type: TypedDicts, dicts, lists, unions, and plain values."""

import types
import typing
from typing import Any


def mismatches(value: Any, kind: Any, path: str = "") -> list[str]:
    """Returns in which fields a value is not of a type, as "folds.0.records: ...".

    A whole number serves as a float, as in JSON, but a bool as neither.
    """
    if kind is Any:
        return []
    if typing.is_typeddict(kind):
        return _of_fields(value, kind, path)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        found = [mismatches(value, one, path) for one in arguments]
        return min(found, key=len)
    if origin is dict and isinstance(value, dict):
        names = [line for name in value for line in mismatches(name, arguments[0], f"{path}: the name {name}")]
        return names + [line for name, one in value.items() for line in mismatches(one, arguments[1], _at(path, name))]
    if origin is list and isinstance(value, list):
        return [line for i, one in enumerate(value) for line in mismatches(one, arguments[0], _at(path, i))]
    plain = {float: (float, int)}.get(kind, origin or kind)
    if isinstance(value, plain) and (kind is bool or not isinstance(value, bool)):
        return []
    return [f"{path}: {value!r:.60} is not {getattr(kind, '__name__', kind)}"]


def _of_fields(value: Any, kind: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: {value!r:.60} is not {kind.__name__}"]
    fields = typing.get_type_hints(kind)
    found = [f"{_at(path, name)}: missing from {kind.__name__}" for name in sorted(kind.__required_keys__ - set(value))]
    for name, one in value.items():
        known = name in fields
        found += mismatches(one, fields[name], _at(path, name)) if known else [f"{_at(path, name)}: unknown field"]
    return found


def _at(path: str, name: Any) -> str:
    return f"{path}.{name}".lstrip(".")
