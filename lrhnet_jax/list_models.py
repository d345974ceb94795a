"""Lists the trained models that come with the package, or prints the card of one.

    lrhnet-jax models
    lrhnet-jax models NAME

NAME is a shipped model, or the folder of another (`lrhnet-jax export --formats=model`). A card says what the model
reads, what it has learned from, what was measured on what, and what it must not be used for.
"""

import sys
from collections.abc import Sequence

from lrhnet_jax.deploy import model_folder, shipped
from lrhnet_jax.deploy.model import NOT_A_DEVICE
from lrhnet_jax.errors import Parser, command
from lrhnet_jax.report import model_card


@command
def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="lrhnet-jax models", description=__doc__)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a shipped model, or a model's folder")
    options = parser.parse_args(arguments)
    if options.name is None:
        print(f"{model_card.table(shipped.models())}\n\n{NOT_A_DEVICE} A model's card: lrhnet-jax models NAME")
        return
    meta, _ = model_folder.read(shipped.resolve(options.name))
    print(f"{model_card.text(meta['name'], meta)}\n\n{NOT_A_DEVICE}")


if __name__ == "__main__":
    sys.exit(main())
