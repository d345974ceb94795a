"""Strict numerics, eight fake CPU devices, and programs that compile fast and run slowly, for every test.

Most tests run a program a few times only. Those in processes of their own compile as users' do.
"""

import os

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    + " --xla_backend_optimization_level=0"
    + " --xla_cpu_collective_call_terminate_timeout_seconds=300"  # devices wait for each other on a busy machine
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import pathlib

import jax
import pytest

from lrhnet_jax.experiment import datasets
from lrhnet_jax.runtime import log
from tests.helpers import fakes

jax.config.update("jax_numpy_rank_promotion", "raise")


def _shared(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of this run that its workers share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A compilation cache for this run alone: many tests, and the programs they start, compile the same steps."""
    folder = str(_shared(tmp_path_factory) / "compilation_cache")
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    return folder


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder of data sets for tests that only read them, shared by all of this run: 90 generated records of Challenge
    2020, and the other generated sets as soon as an experiment asks for them."""
    folder = _shared(tmp_path_factory) / "data"
    datasets.resolve("synthetic", str(folder), "paper", fakes.RECORDS)
    return folder


@pytest.fixture(scope="session")
def real_records() -> pathlib.Path:
    """The folder of real recordings in PhysioNet's layout, or a skip that says why."""
    folder = os.environ.get("LRHNET_REAL_RECORDS")
    if not folder:
        pytest.skip("LRHNET_REAL_RECORDS is not set: it names a folder of real recordings in PhysioNet's layout")
    return pathlib.Path(folder)


@pytest.fixture(autouse=True)
def log_as_it_was():
    """Undoes what a command that is called in a test does to the log, which other tests look at."""
    before = [(logger, logger.handlers[:], logger.propagate, logger.level) for logger in log.LOGGERS]
    yield
    for logger, handlers, propagate, level in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)
