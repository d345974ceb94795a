"""The files of onnxruntime-web that the page runs a network with: from npm or a folder, and just those expected."""

import hashlib
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
from typing import NamedTuple

from lrhnet_jax.errors import ConfigError

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
PATIENCE = 600  # s, for npm: the package is 33 MB


class File(NamedTuple):
    """A file of the package: what it is called in the page's folder, where old servers know .mjs for no script, and its
    checksum."""

    name: str
    sha256: str


FILES = {
    "ort.wasm.min.mjs": File("ort.wasm.min.js", "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b"),
    "ort-wasm-simd-threaded.mjs": File(
        "ort-wasm-simd-threaded.js", "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
    ),
    "ort-wasm-simd-threaded.wasm": File(
        "ort-wasm-simd-threaded.wasm", "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
}
REMEDY = (
    f"install Node.js, whose npm gets it, or give --onnxruntime_web=PATH, the package {PACKAGE} {VERSION} as npm pack "
    "leaves it, or a folder with its files"
)


def fetch(source: pathlib.Path | None = None) -> dict[str, bytes]:
    """Returns the files, by their names in the page's folder, each of which has the checksum that is expected.

    Args:
      source: the package (.tgz), or a folder with its files, at any depth; None asks npm for the package.

    Raises:
      ConfigError: if they cannot be had, or are of another version.
    """
    if source is not None:
        return _checked(_archive(source) if source.is_file() else _folder(source), source)
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigError(f"the format web needs the package {PACKAGE}: {REMEDY}")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", folder]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
            why = "" if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2] or f"status {done.returncode}"
        except (OSError, subprocess.TimeoutExpired) as error:
            why = str(error)
        packed = sorted(pathlib.Path(folder).glob("*.tgz"))
        if why or len(packed) != 1:
            raise ConfigError(f"npm could not get {PACKAGE} {VERSION} ({why or 'it left no package'}): {REMEDY}")
        return _checked(_archive(packed[0]), packed[0])


def _archive(path: pathlib.Path) -> dict[str, bytes]:
    contents = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = pathlib.PurePosixPath(member.name)
                if member.isfile() and name.name in FILES and name.parent.name == "dist":
                    file = archive.extractfile(member)
                    contents[name.name] = file.read() if file else b""
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ConfigError(f"{path}: not a package of npm ({error}): {REMEDY}") from error
    return contents


def _folder(path: pathlib.Path) -> dict[str, bytes]:
    try:
        places = {name: next((one for one in sorted(path.rglob(name)) if one.is_file()), None) for name in FILES}
        return {name: place.read_bytes() for name, place in places.items() if place}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): {REMEDY}") from error


def _checked(contents: dict[str, bytes], source: pathlib.Path) -> dict[str, bytes]:
    missing = [name for name in FILES if name not in contents]
    if missing:
        raise ConfigError(f"{source}: lacks {', '.join(missing)}: {REMEDY}")
    wrong = [name for name, file in FILES.items() if hashlib.sha256(contents[name]).hexdigest() != file.sha256]
    if wrong:
        raise ConfigError(f"{source}: {', '.join(wrong)} is not that of {PACKAGE} {VERSION}: {REMEDY}")
    return {file.name: contents[name] for name, file in FILES.items()}
