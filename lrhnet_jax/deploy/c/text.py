"""Pieces of C text: names, arrays, constants."""

import pathlib
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

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


def wrapped(parts: Sequence[str], indent: str, depth: int = 0) -> str:
    """Returns parts with commas between them, in lines of which none breaks a part.

    Args:
      indent: of all lines but the first, which begins behind as much.
      depth: by how much more all of it will be indented.
    """
    lines = [""]
    for part in (*(f"{part}," for part in parts[:-1]), parts[-1]):
        if lines[-1] and depth + len(indent) + len(lines[-1]) + len(part) > WIDTH - 3:
            lines.append(part)
        else:
            lines[-1] = f"{lines[-1]} {part}".lstrip()
    return f"\n{indent}".join(lines)


def call(function: str, arguments: Sequence[str], depth: int) -> str:
    """Returns a call as a statement; `depth` as of `wrapped`."""
    return f"{function}({wrapped(arguments, ' ' * (len(function) + 1), depth)});"


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
    return "/* " + "\n".join([*lines[:1], *(f" * {line}".rstrip() for line in lines[1:])]) + " */\n"
