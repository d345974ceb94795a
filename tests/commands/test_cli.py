"""The command `lrhnet-jax`, run as a process: what it prints without a sub-command, and that it starts them."""

import importlib
import pathlib
import subprocess
import sys
import time

import pytest

from lrhnet_jax import cli

ROOT = pathlib.Path(__file__).parents[2]


def run(*arguments, cwd=ROOT, module="lrhnet_jax.cli"):
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_help_fits_a_screen_and_comes_at_once():
    times = []
    for _ in range(3):
        start = time.perf_counter()
        result = run("--help")
        times.append(time.perf_counter() - start)
    lines = result.stdout.splitlines()
    assert result.returncode == 0 and len(lines) < 24 and max(map(len, lines)) <= 100
    assert all(name in result.stdout for name in cli.COMMANDS)
    assert min(times) < 1
    assert run().stdout == result.stdout


def test_help_imports_no_jax():
    code = "import sys; sys.argv[1:] = ['--help']; from lrhnet_jax import cli; cli.main(); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    loaded = {name.split(".")[0] for name in result.stdout.split()}
    assert "lrhnet_jax" in loaded and not loaded & {"jax", "flax", "matplotlib", "numpy", "tensorflow_datasets"}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_sub_command_is_its_module(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lrhnet-jax", name])
    printed = []
    for main, arguments in (
        (cli.main, [name, "--help"]),
        (importlib.import_module(cli.COMMANDS[name][0]).main, ["-h"]),
    ):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and printed[0].startswith(f"usage: lrhnet-jax {name}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trian",), "error: lrhnet-jax: unknown command 'trian'; choose build, train, predict, evaluate, export"),
        (("evaluate",), "error: the following arguments are required: --checkpoint, --raw_dir, --output"),
        (("evaluate", "--checkpoints=x", "--raw_dir=y", "--output=z"), "--checkpoint"),
        (("evaluate", "--checkpoint=x", "--raw_dir=y", "--output=z", "--batch_size=0"), "--batch_size=0: must be at"),
        (("export", "--checkpoint=/nowhere", "--output=out", "--format=onnx"), "--format; did you mean --formats?"),
        (("build", "synthetic"), "error: the following arguments are required: --data_dir"),
        (("build", "synthetic", "--data_dir=x", "--recrods=3"), "unknown flag --recrods; did you mean --records?"),
        (("train", "--workdr=x", "--config=lrhnet"), "unknown flag --workdr; did you mean --workdir?"),
    ],
)
def test_bad_input_is_one_line_whatever_the_command(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lrhnet-jax", *arguments])
    assert cli.main(arguments) == 1
    printed = capsys.readouterr()
    assert message in printed.err and not printed.out
    assert printed.err.startswith("error: ") and len(printed.err.splitlines()) == 1


@pytest.mark.slow
def test_a_sub_command_does_its_work_as_a_process(tmp_path):
    result = run("build", "synthetic", f"--data_dir={tmp_path}", "--records=8", "--workers=1")
    assert result.returncode == 0, result.stderr
    assert str(tmp_path / "synthetic/paper/1.0.0") in result.stdout
    assert (tmp_path / "synthetic/paper/1.0.0/report.json").exists()
    result = run("export", "--checkpoint=/nowhere", f"--output={tmp_path}")
    assert result.returncode == 1 and result.stderr.startswith("error: /nowhere: no such folder")
