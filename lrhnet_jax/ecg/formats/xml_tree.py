"""Parsing XML that may be hostile: no entities of its own, nothing fetched, bounded depth; namespaces are dropped."""

import pathlib
import re
import xml.etree.ElementTree as ET
from xml.parsers import expat

from lrhnet_jax.ecg.formats.base import MAX_MARKUP_BYTES, read_bytes
from lrhnet_jax.errors import UserError

_MAX_DEPTH = 200
_MAX_ELEMENTS = 1_000_000
_ROOT = re.compile(r"<(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)")  # not "<?xml", "<!--" or "<!DOCTYPE"


def root_name(head: bytes) -> str:
    """Returns the name of the first element that begins in `head`, lower case, or "" if it is not XML."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = head.decode("utf-16", "ignore")
    else:
        text = head.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL).lstrip()
    match = _ROOT.search(text) if text.startswith("<") else None
    return match[1].lower() if match else ""


def parse_xml(path: pathlib.Path) -> ET.Element:
    """Returns the root of an XML file; tags and attributes lose their namespace.

    Raises:
      UserError: if it is not well-formed, declares entities (they can grow without bound), or has too many elements.
    """
    data = read_bytes(path, MAX_MARKUP_BYTES)
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    depth = count = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth += 1
        count += 1
        if depth > _MAX_DEPTH or count > _MAX_ELEMENTS:
            raise UserError(f"has more than {_MAX_DEPTH} elements in each other, or {_MAX_ELEMENTS:,}, as no ECG has")
        builder.start(_local(tag), {_local(name): value for name, value in attributes.items()})

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_local(tag))

    def refuse(*_: object) -> None:
        raise UserError("declares XML entities, which are not expanded; export it without them")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise UserError(f"broken XML ({error}); it may be truncated: export it again") from error
    return builder.close()


def text_of(element: ET.Element | None, path: str = ".") -> str:
    """Returns the text of the first element at `path` below `element`, stripped; "" if there is none."""
    child = element.find(path) if element is not None else None
    return "".join(child.itertext()).strip() if child is not None else ""


def number_of(text: str | None) -> float | None:
    """Returns a finite number, or None."""
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _local(name: str) -> str:
    return name.rpartition("}")[2]
