"""Where this project lies, a clone or a folder of installed packages, and what is found beside the package there.

`configs` and `data_builders` are packages of their own beside `lrhnet_jax`. Their names are common: a user's working
folder, which Python searches first, may well hold others. So they are found by this project's place.
"""

import importlib.util
import pathlib
import re
import sys

from lrhnet_jax.errors import ConfigError

ROOT = pathlib.Path(__file__).resolve().parents[2]


def use_own(*packages: str) -> None:
    """Makes `import configs` or `import data_builders` mean this project's, here and in processes started from here.

    Raises:
      ConfigError: if another package of that name has been imported already.
    """
    for name in packages:
        spec = importlib.util.find_spec(name)
        folders = [] if spec is None else list(spec.submodule_search_locations or ())
        if any(pathlib.Path(folder).resolve() == ROOT / name for folder in folders):
            continue
        if name in sys.modules:
            raise ConfigError(
                f"another package {name!r} is loaded, of {', '.join(folders)}, where lrhnet_jax's own is needed; "
                "import lrhnet_jax.experiment before it, or rename it"
            )
        # Processes that are started take over the path; they would not know of an import hook.
        sys.path.insert(0, str(ROOT))


def experiments() -> list[str]:
    """Returns the names of this project's configs."""
    return sorted(p.stem for p in (ROOT / "configs").glob("*.py") if p.stem not in ("__init__", "common"))


def find_config(text: str) -> tuple[pathlib.Path, str | None]:
    """Returns the file, and the config string after it, that FILE[:KEY=VALUE,...] or NAME[:KEY=VALUE,...] means.

    A file is looked for in the working folder, then in this project; a name means one of `experiments`.

    Raises:
      ConfigError: if there is none.
    """
    # A colon after one letter is of a Windows path.
    matched = re.fullmatch(r"((?:[A-Za-z]:[\\/])?[^:]*)(?::(.*))?", text, re.DOTALL)
    assert matched
    file, string = matched.groups()
    name = pathlib.Path(file)
    candidates = [name, ROOT / name] if name.suffix == ".py" else [ROOT / "configs" / f"{file}.py"]
    for path in candidates:
        if file and path.is_file():
            return path, string
    raise ConfigError(f"--config={file}: no such config; it is a file, NAME.py, or one of {', '.join(experiments())}")
