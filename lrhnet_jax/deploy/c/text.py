"""Pieces of C text: names, arrays, constants."""

import pathlib
import re
import textwrap
from collections.abc import Iterable, Mapping

import numpy as np

WIDTH = 120


def name(layer: str) -> str:
    """Returns a layer's name as C may have it."""
    return re.sub(r"\W", "_", layer)


def constant(layer: str) -> str:
    """Returns the name of a layer's place in the arena."""
    return f"{name(layer).upper()}_AT"


def array(declaration: str, values: Iterable[int], suffix: str = "") -> str:
    """Returns a constant array, such as array("int8_t weights", values)."""
    flat = np.asarray(list(values) if not isinstance(values, np.ndarray) else values).ravel().tolist()
    kind, _, label = declaration.rpartition(" ")
    numbers = textwrap.fill(", ".join(f"{value}{suffix}" for value in flat), WIDTH - 4, break_long_words=False)
    return f"static const {kind} {label}[{len(flat)}] = {{\n{textwrap.indent(numbers, '    ')}\n}};\n"


def rows(values: np.ndarray) -> str:
    """Returns the inside of a constant array of two dimensions."""
    lines = []
    for row in values.tolist():
        numbers = textwrap.fill(", ".join(map(str, row)), WIDTH - 8)
        lines.append(f"    {{\n{textwrap.indent(numbers, ' ' * 8)}\n    }},\n")
    return "".join(lines)


def fill(template: pathlib.Path, values: Mapping[str, object]) -> str:
    """Returns a template's text with its @fields@ filled in."""
    content = template.read_text()
    for key, value in values.items():
        content = content.replace(f"@{key}@", str(value))
    return content


def string(text: str) -> str:
    """Returns a C string literal."""
    escaped = "".join(
        char if 32 <= ord(char) < 127 and char not in '"\\?' else f"\\{ord(char):03o}" if ord(char) < 256 else "."
        for char in text
    )
    return f'"{escaped}"'


def comment(text: str) -> str:
    """Returns a C comment of any text, wrapped."""
    safe = text.replace("*/", "* /").replace("/*", "/ *")
    lines = [wrapped for line in safe.splitlines() for wrapped in (textwrap.wrap(line, WIDTH - 6) or [""])]
    return "/* " + "\n * ".join(lines) + " */\n"
