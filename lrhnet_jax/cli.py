"""The command `lrhnet-jax`: each of its sub-commands is a module that can also be run as python -m MODULE."""

import importlib
import os
import sys
from collections.abc import Sequence

from lrhnet_jax.errors import choose, command
from lrhnet_jax.runtime import project

COMMANDS = {  # module, and what it does
    "build": ("data_builders.build", "make a data set of recordings, or of generated ones"),
    "train": ("lrhnet_jax.main", "train and score the networks of an experiment"),
    "predict": ("lrhnet_jax.predict", "answer for recordings of any ECG device, with a page for each"),
    "evaluate": ("lrhnet_jax.evaluate", "run a trained network on a folder of recordings, and score it"),
    "export": ("lrhnet_jax.export", "write a trained network as ONNX and StableHLO"),
    "models": ("lrhnet_jax.list_models", "list the trained models that come with this package, and their cards"),
}
EXAMPLE = """
an example:
  lrhnet-jax build synthetic --data_dir=data --records=600
  lrhnet-jax train --config=pmlkd:preset=demo --workdir=runs/demo
  lrhnet-jax evaluate --checkpoint=runs/demo/networks/student --raw_dir=DIR --output=OUT"""


def usage() -> str:
    """Returns what --help prints."""
    rows = [f"  {name:10} {text}" for name, (_, text) in COMMANDS.items()]
    head = ["usage: lrhnet-jax COMMAND [--FLAG=VALUE ...]", "", "ECG knowledge distillation in JAX.", "", "commands:"]
    return "\n".join([*head, *rows, EXAMPLE, "", "lrhnet-jax COMMAND --help lists a command's flags."])


@command
def main(arguments: Sequence[str]) -> int:
    """Runs the sub-command that is named first; returns its exit status."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    choose("lrhnet-jax", name, COMMANDS, noun="command")
    project.use_own("data_builders")
    if name == "predict":  # its matrices are small: threads of a product would wait for each other most of the time
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.argv[1:] = rest  # what a run says of itself
    return importlib.import_module(COMMANDS[name][0]).main(rest)


if __name__ == "__main__":
    sys.exit(main())
