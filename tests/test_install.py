"""The wheel, installed: the command works from a folder of the user's, with packages of the same names in it."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def run(*command, cwd, status=0):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}
    result = subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == status, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the tree: a build leaves files in it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("lrhnet_jax", "data_builders", "configs", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    build = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", out, ".")
    run(sys.executable, "-m", "pip", *build, cwd=source)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of the commands of an environment with the wheel, and with what else is installed here."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    run(*pip, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "rest.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


@pytest.fixture
def project(tmp_path):
    """A folder of the user's, with packages `configs` and `data_builders` of its own."""
    for name in ("configs", "data_builders"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("LEARNING_RATE = 1e-3\n")
    return tmp_path


@pytest.mark.slow
def test_the_wheel_holds_the_three_packages_with_their_tables_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "lrhnet_jax",
        "data_builders",
        "configs",
        "lrhnet_jax-0.1.0.dist-info",
    }
    data = {
        str(path.relative_to(ROOT))
        for package in ("lrhnet_jax", "data_builders", "configs")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert data == {name for name in names if ".dist-info/" not in name}


@pytest.mark.slow
def test_an_experiment_runs_in_a_folder_with_packages_of_the_same_names(installed, project):
    # Two shards, so that processes are started, which have to find the right packages, too.
    built = run(
        installed / "lrhnet-jax", "build", "synthetic", "--data_dir=data", "--records=260", "--workers=2", cwd=project
    )
    assert "data/synthetic/paper/1.0.0" in built.stdout
    flags = (
        "--config.window=256",
        "--config.train.epochs=1",
        "--config.evaluation.resamples=5",
        "--config.train.keep=last",
    )
    trained = run(
        *(
            installed / "lrhnet-jax",
            "train",
            "--config=lrhnet:preset=demo",
            "--workdir=run",
            "--config.compilation_cache=",
        ),
        *flags,
        cwd=project,
    )
    assert "results: run/results.json" in trained.stdout
    for config in ("configs/lrhnet.py", ROOT / "configs/lrhnet.py"):
        command = (installed / "python", "-m", "lrhnet_jax.main", f"--config={config}:preset=demo")
        refused = run(*command, "--config.train.temperature=0", cwd=project, status=1)
        assert refused.stderr == "error: config.networks.lrhnet.train.temperature: 0.0 is not a number above 0\n"


@pytest.mark.slow
def test_from_python_a_package_that_stands_in_the_way_is_named(installed, project):
    code = "import configs, lrhnet_jax.experiment.graph; assert configs.LEARNING_RATE"
    run(installed / "python", "-c", code, cwd=project)  # the user's own stays what it is
    code = "import data_builders, lrhnet_jax.experiment"
    clash = run(installed / "python", "-c", code, cwd=project, status=1)
    assert f"another package 'data_builders' is loaded, of {project / 'data_builders'}" in clash.stderr
