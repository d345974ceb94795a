"""The command line: bad input is one line that names it, and exit status 1."""

import pathlib
import subprocess
import sys

import pytest


def run(*arguments):
    root = pathlib.Path(__file__).parents[2]
    command = [sys.executable, "-m", "lrhnet_jax.main", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--config"),
        (("--config=configs/nothing.py",), "configs/nothing.py"),
        (("--config=configs/pmlkd.py:lead=2",), "'lead=2' is not KEY=VALUE with a key among leads, data, preset, fold"),
        (("--config=configs/pmlkd.py", "--config.epochs=3"), "the config has no field 'epochs'"),
        (("--config=configs/pmlkd.py", "--config.train.learning_rat=1"), "learning_rate"),
        (("--config=configs/pmlkd.py", "--config.train.epochs=many"), "epochs"),
        (("--config=configs/pmlkd.py", "more"), "unexpected argument 'more'"),
        (
            ("--config=configs/pmlkd.py:data=physionet2020", "--config.data_dir=/nowhere"),
            "is not built under '/nowhere'",
        ),
        (
            ("--config=configs/pmlkd.py", "--config.networks.student.teachers.teacher12=0.9"),
            "weights sum to 1.3, not to 1",
        ),
        (
            ("--config=configs/pmlkd.py:preset=demo", "--config.train.temperature=0"),
            "train.temperature: 0.0 is not a number above 0",
        ),
    ],
)
def test_bad_input_is_one_clear_error(arguments, message, tmp_path):
    result = run(*arguments, *([f"--workdir={tmp_path}"] if arguments else []))
    assert result.returncode == 1
    assert message in result.stderr and "error: " in result.stderr
    assert "Traceback" not in result.stderr
