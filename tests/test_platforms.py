"""Every module imports where Python lacks what POSIX alone has, as on Windows; the tests' own machine has it."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# What is installed beside the project may use these where they are, and is imported before they are taken away.
IMPORT_ALL = """
import importlib, os, pathlib, pkgutil, signal, sys
import array_record, filelock, flax, jax, matplotlib.pyplot, ml_collections, optax, orbax.checkpoint, wfdb
import scipy.io, scipy.optimize, scipy.signal, tensorflow_datasets, tqdm
from jax.experimental import multihost_utils, pallas
from tensorflow_datasets.core import dataset_builder, example_serializer, splits, writer

for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
for module, name in ((os, "sysconf"), (os, "sched_getaffinity"), (os, "getloadavg"), (os, "fork"), (signal, "SIGKILL")):
    delattr(module, name)
names = []
for package in ("lrhnet_jax", "data_builders", "configs"):
    names += [package, *(m.name for m in pkgutil.walk_packages([package], f"{package}."))]
for name in names:
    importlib.import_module(name)

from data_builders import shards
from lrhnet_jax.runtime import host
host.pathlib.Path.read_text = lambda *_: (_ for _ in ()).throw(FileNotFoundError)
assert host.memory() == host.ASSUMED_MEMORY and shards.cores() >= 1
print(len(names), "modules")
"""


@pytest.mark.slow
def test_every_module_imports_without_what_posix_alone_has():
    result = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.split()[0]) > 100


def test_the_builder_imports_without_fcntl():
    code = "import sys; sys.modules['fcntl'] = None; from data_builders import build"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
