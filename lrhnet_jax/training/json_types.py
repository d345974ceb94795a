"""What a value that was read from JSON is: for schemas, which look before they believe."""

import math
from collections.abc import Callable
from typing import Any

Check = Callable[[Any], bool]


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_whole(value: Any, low: float = 0, high: float = math.inf) -> bool:
    """Whether a value is a whole number in a range."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether a value is a finite number in a range."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and math.isfinite(value) and low <= value <= high


def is_range(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether a value is a list of two numbers in a range, the smaller one first."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(is_number(v, low, high) for v in value)
        and (value[0] <= value[1])
    )


def is_list(value: Any, of: Check) -> bool:
    """Whether a value is a list of one item or more, each as `of` says."""
    return isinstance(value, list) and bool(value) and all(map(of, value))


def is_names(value: Any) -> bool:
    """Whether a value is a list of different texts."""
    return is_list(value, is_text) and len(set(value)) == len(value)


def is_table(value: Any, of: Check) -> bool:
    """Whether a value is a table of any keys whose values are as `of` says."""
    return isinstance(value, dict) and all(map(of, value.values()))


def has_fields(value: Any, fields: dict[str, Check]) -> bool:
    """Whether a value is a table with just these keys, and their values are as they say."""
    return isinstance(value, dict) and value.keys() == fields.keys() and all(fields[key](value[key]) for key in fields)
