"""Trains an experiment: python -m lrhnet_jax.main --config=configs/pmlkd.py [--workdir=FOLDER --config.FIELD=VALUE]

As one of several processes (docs/scaling.md): with --distributed=auto under SLURM or on a TPU pod, or with
--coordinator=HOST:PORT --num_processes=N --process_id=I.
"""

import logging
import pathlib
import sys
from collections.abc import Sequence

from tqdm.contrib.logging import logging_redirect_tqdm

from lrhnet_jax.errors import ConfigError, Parser, command
from lrhnet_jax.runtime import log, project


def _parser() -> Parser:
    parser = Parser(
        prog="lrhnet-jax train",
        description="Trains and scores the networks of an experiment, teachers first; a run that was killed resumes.",
        epilog="--config.FIELD=VALUE sets a field of configs/common.py, such as --config.train.epochs=30.\n"
        f"The experiments: {', '.join(project.experiments())}",
    )
    parser.add_argument("--config", metavar="FILE.py[:KEY=VALUE,...]", help="an experiment; or the name of one below")
    parser.add_argument("--workdir", help="where results go (runs/EXPERIMENT-PRESET-seedN)")
    several = parser.add_argument_group("as one of several processes")
    several.add_argument("--distributed", choices=["auto"], help="find the others by SLURM or the TPU pod")
    several.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens for the others")
    several.add_argument("--num_processes", type=int, metavar="N", help="how many processes run this command")
    several.add_argument("--process_id", type=int, metavar="I", help="which of them this is, from 0")
    several.add_argument(
        "--join_timeout", type=int, default=300, metavar="SECONDS", help="to wait for the others (300)"
    )
    return parser


@command
def main(arguments: Sequence[str]) -> None:
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if options.config is None:
        raise ConfigError(f"--config is missing: a config's file, or one of {', '.join(project.experiments())}")
    log.configure()
    project.use_own("configs", "data_builders")
    from lrhnet_jax.experiment import config as configuration

    config = configuration.load(options.config)
    for unknown in configuration.override(config, rest):
        parser.refuse(unknown)

    # These import JAX: not before the flags are known to be good.
    from lrhnet_jax.experiment.run import run
    from lrhnet_jax.runtime import host, processes

    host.keep_freed_memory()
    automatic = options.distributed == "auto"
    processes.join(options.coordinator, options.num_processes, options.process_id, automatic, options.join_timeout)
    if not processes.is_first():
        log.limit(logging.WARNING)
    workdir = options.workdir or f"runs/{config.experiment}-{config.preset}-seed{config.seed}"
    with logging_redirect_tqdm(log.LOGGERS):
        page = run(config, pathlib.Path(workdir))
    if processes.is_first():
        print(page)


if __name__ == "__main__":
    sys.exit(main())
