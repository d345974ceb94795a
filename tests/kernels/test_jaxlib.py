"""The jaxlib that computes wrong numbers is refused, and the one that is here computes right ones."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

from lrhnet_jax import kernels
from lrhnet_jax.errors import UserError
from tests.helpers.launch import ROOT

# What jaxlib 0.10.2 gets wrong on CPUs, in the last rows.
PATTERN = """
import jax, numpy as np
rng = np.random.default_rng(0)
for rows, size in ((32_769, 3), (40_001, 3), (33_333, 4), (5, 8)):
    matrix, x = (rng.normal(size=shape).astype(np.float32) for shape in ((size, size), (rows, size)))
    found = jax.jit(jax.vmap(lambda row: ((matrix @ row) ** 2).sum()))(x)
    wanted = ((x.astype(np.float64) @ matrix.T.astype(np.float64)) ** 2).sum(1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
"""


def python(code, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"} | variables
    return subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)


def test_small_vectorised_products_that_are_summed_are_right():
    result = python(PATTERN)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("version", "flags", "refused"),
    [
        ("0.10.1", "", False),
        ("0.10.2", "", True),
        ("0.10.2", "--xla_force_host_platform_device_count=8", True),
        ("0.10.2", f"--xla_dump_to=x {kernels.CURE}", False),
        ("0.10.20", "", False),
        ("0.12.0.1", "", False),
    ],
)
def test_the_wrong_jaxlib_is_refused(version, flags, refused, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda package: version)
    monkeypatch.setenv("XLA_FLAGS", flags)
    if not refused:
        kernels.refuse_wrong_jaxlib()
        return
    with pytest.raises(UserError, match=r"jaxlib 0\.10\.2 computes wrong numbers on CPUs .*: pip install 'jax!=0"):
        kernels.refuse_wrong_jaxlib()


@pytest.mark.slow
def test_a_command_says_so_in_one_line():
    code = """if True:
        import importlib.metadata
        version = importlib.metadata.version
        importlib.metadata.version = lambda name: "0.10.2" if name == "jaxlib" else version(name)
        from lrhnet_jax import cli
        status = [cli.main(arguments) for arguments in (
            ["export", "--checkpoint=x", "--output=z"], ["train", "--config=lrhnet"])]
        assert status == [1, 1]
    """
    result = python(code)
    assert result.returncode == 0, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 2 and all(line.startswith("error: jaxlib 0.10.2 computes wrong numbers") for line in lines)
