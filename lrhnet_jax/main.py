"""Runs an experiment: python -m lrhnet_jax.main --config=configs/pmlkd.py [--workdir=FOLDER]

As one of several processes (docs/scaling.md): with --distributed=auto under SLURM or on a TPU pod, or with
--coordinator=HOST:PORT --num_processes=N --process_id=I.
"""

import logging
import pathlib
import re
import sys

from absl import app, flags
from ml_collections import config_flags
from tqdm.contrib.logging import logging_redirect_tqdm

from lrhnet_jax.errors import UserError
from lrhnet_jax.runtime import log

_CONFIG = config_flags.DEFINE_config_file("config", None, "An experiment, as FILE.py or FILE.py:KEY=VALUE,...")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; a run that was killed goes on there.")
_DISTRIBUTED = flags.DEFINE_enum("distributed", None, ["auto"], "Find the other processes by SLURM or the TPU pod.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT, where process 0 listens for the others.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes run this command.", lower_bound=1)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.", lower_bound=0)
_JOIN_TIMEOUT = flags.DEFINE_integer("join_timeout", 300, "Seconds to wait for the other processes.", lower_bound=1)
flags.mark_flag_as_required("config")


def main(argv: list[str]) -> None:
    from lrhnet_jax.experiment.run import run
    from lrhnet_jax.runtime import (
        host,
        processes,  # import JAX: not before the flags are known to be good
    )

    host.keep_freed_memory()
    if len(argv) > 1:
        raise UserError(f"unexpected argument {argv[1]!r}; every setting is a --flag")
    automatic = _DISTRIBUTED.value == "auto"
    processes.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value, automatic, _JOIN_TIMEOUT.value)
    if not processes.is_first():
        log.limit(logging.WARNING)
    config = _CONFIG.value
    workdir = _WORKDIR.value or f"runs/{config.experiment}-{config.preset}-seed{config.seed}"
    page = run(config, pathlib.Path(workdir))
    if processes.is_first():
        print(page)


def _parse(argv: list[str]) -> list[str]:
    """Reads the flags and loads the config; whatever is wrong with them is one line, not a traceback."""
    try:
        rest = flags.FLAGS(argv)
        if not hasattr(_CONFIG.value, "networks"):
            raise UserError("the config names no networks; see configs/common.py")
        return rest
    except (UserError, flags.Error, AttributeError, KeyError, TypeError, OSError) as error:
        # Of what a config file raises, ml_collections quotes the whole traceback; its last line is the message. Of an
        # unknown field it gives the name alone.
        text = str(error).strip(' \n"')
        if re.fullmatch(r"'\w+'", text):
            text = f"the config has no field {text}; configs/common.py lists the fields"
        if "Traceback" in text:
            text = re.sub(r"^[\w.]*Error: ", "", text.splitlines()[-1])
        raise SystemExit(f"error: {' '.join(text.split())}") from None


def entry() -> None:
    """Runs `main`; a UserError is printed without a traceback, and the exit status is 1."""
    log.configure()
    try:
        with logging_redirect_tqdm(log.LOGGERS):
            app.run(main, flags_parser=_parse)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    entry()
