"""Finding and opening the files of an archive that somebody else has packed.

Names may be of any bytes, links may lead anywhere, and what looks like a file may be a pipe. A link that lies in the
folder is the user's and is followed; a name that stands in a file's text is the packer's, and leads nowhere else.
"""

import os
import pathlib
import stat
from collections.abc import Iterator, Sequence

from lrhnet_jax.errors import UserError


def printable(path: str | os.PathLike[str]) -> str:
    """Returns a path for messages, tables and data sets; bytes of a name that are not UTF-8 become "\\\\xfc"."""
    text = os.fspath(path)
    try:
        text.encode()
    except UnicodeEncodeError:  # Python keeps such bytes as surrogates, which no file takes
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    return text


def find_files(folder: str | os.PathLike[str], suffixes: Sequence[str]) -> list[pathlib.Path]:
    """Returns the files below `folder` whose names end with one of `suffixes`, in any case, sorted by path.

    Links are followed, and each folder and each file is found once: by its own path if that lies below `folder`, else
    by the first link to it. Hidden files and folders are passed by, and so are the sidecars of macOS (._NAME,
    __MACOSX).
    """
    endings = tuple(suffix.casefold() for suffix in suffixes)
    files: list[str] = []
    linked: list[str] = []
    seen: set[tuple[int, int]] = set()
    waiting = [os.fspath(folder)]
    while waiting:
        links: list[str] = []
        for top in waiting:
            for place in _folders(top, seen, links):
                for entry in place:
                    if entry.name.casefold().endswith(endings):
                        (linked if entry.is_symlink() else files).append(entry.path)
        waiting = sorted(links)  # when all that lies there without a link has been seen
    if linked:
        real = {os.path.realpath(path) for path in files}
        for path in sorted(linked):
            target = os.path.realpath(path)
            if target not in real:
                real.add(target)
                files.append(path)
    return [pathlib.Path(path) for path in sorted(files)]


def _folders(top: str, seen: set[tuple[int, int]], links: list[str]) -> Iterator[list[os.DirEntry[str]]]:
    """Yields the files of `top` and of each folder below it that has not been seen; notes links to folders."""
    waiting = [top]
    while waiting:
        place = waiting.pop()
        try:
            status = os.stat(place)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(place) as entries:
                visible = [e for e in entries if not e.name.startswith(".") and e.name != "__MACOSX"]
        except OSError:  # not permitted, or gone: as os.walk does
            continue
        files = []
        for entry in visible:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif entry.is_symlink() and os.path.isdir(entry.path):
                links.append(entry.path)
            else:
                files.append(entry)
        yield files


def beside(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the path of the file that a text in `folder` calls `name`: in that folder, or below it.

    Where there is no such file, one whose name differs in case alone is taken (archives that were packed on Windows).

    Raises:
      UserError: if the name leads out of the folder.
    """
    for kind in (pathlib.PurePosixPath(name), pathlib.PureWindowsPath(name)):
        if kind.anchor or ".." in kind.parts or "\0" in name or not kind.name:
            raise UserError(f"names the file {name[:100]!a}, which is not in its folder or below it")
    path = folder / name
    if path.exists():
        return path
    names = {path.name.casefold()}
    if not name.isascii():  # a text and a folder may differ in encoding too
        names.add(os.fsdecode(path.name.encode("latin-1", "replace")).casefold())
    try:
        others = [other for other in os.listdir(path.parent) if other.casefold() in names]
    except OSError:
        return path
    return path.with_name(others[0]) if len(others) == 1 else path


def read_regular(path: str | os.PathLike[str], most: int | None = None, start: int = 0) -> bytes:
    """Returns the content of a file behind its first `start` bytes, or `most` bytes of it.

    Raises:
      UserError: if it is not a file: a pipe or a device is refused before it is opened.
      OSError: if it cannot be read.
    """
    size = max(file_size(path) - start, 0)
    left = size if most is None else min(most, size)
    parts = []
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        while left:  # one read returns 2 GB at most
            part = file.read(left)
            if not part:
                break
            parts.append(part)
            left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def file_size(path: str | os.PathLike[str]) -> int:
    """Returns the bytes of a file; errors are those of `read_regular`."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a device or a socket"
        raise UserError(f"{os.path.basename(printable(path))} is {kind}, not a file")
    return status.st_size
