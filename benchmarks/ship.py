"""Packs trained networks as the models that come with the package, with cards made of what their runs have measured.

    python -m benchmarks.ship LIST [--folder=lrhnet_jax/shipped]

A line of LIST is a name and a network, as "dx24-2 WORKDIR/networks/NAME". Runs again whenever a network is better: a
model of the same name is replaced. docs/models.md says how those that are shipped were trained.
"""

import argparse
import logging
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Sequence

from lrhnet_jax import export
from lrhnet_jax.deploy import shipped
from lrhnet_jax.errors import UserError, command
from lrhnet_jax.report import model_card
from lrhnet_jax.runtime import log


def ship(lines: Sequence[str], folder: pathlib.Path) -> list[str]:
    """Packs the networks of a list below `folder`; returns the models' names.

    Raises:
      UserError: for a line that makes no sense, or a network that cannot be packed; models before it are packed.
    """
    names = []
    for line in filter(None, (line.partition("#")[0].split() for line in lines)):
        if len(line) != 2:
            raise UserError(f"{' '.join(line)!r}: a name and a network are expected, as 'dx24-2 WORKDIR/networks/NAME'")
        name, network = line
        with tempfile.TemporaryDirectory() as scratch:  # a model that is refused leaves the one before it
            meta = export.export(network, scratch, [export.MODEL], name=name)
            if "card" not in meta:
                model_card.make(pathlib.Path(network), meta)  # says why there is none
            (folder / name).mkdir(parents=True, exist_ok=True)
            for file in pathlib.Path(scratch).iterdir():
                shutil.copyfile(file, folder / name / file.name)
        names.append(name)
    return names


@command
def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ship", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("list", metavar="LIST", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path, default=shipped.FOLDER)
    options = parser.parse_args(arguments)
    log.configure(logging.WARNING)
    try:
        lines = options.list.read_text().splitlines()
    except OSError as error:
        raise UserError(f"{options.list}: cannot be read ({error.strerror})") from error
    names = ship(lines, options.folder)
    shipped.models.cache_clear()
    print(model_card.table({name: meta for name, meta in shipped.models().items() if name in names}))


if __name__ == "__main__":
    sys.exit(main())
