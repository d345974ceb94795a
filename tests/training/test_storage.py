"""Full and read-only disks: one line that says what to do, and nothing lost."""

import json

import numpy as np
import pytest

from lrhnet_jax.errors import StorageError, command
from lrhnet_jax.runtime.files import write_json
from lrhnet_jax.training import checkpoint, loop
from tests.helpers import fakes
from tests.helpers.disk import fill, small_disk
from tests.helpers.runs import assert_same, change, make_run, without_rates


def test_a_file_that_does_not_fit_leaves_the_old_one(tmp_path):
    with small_disk(tmp_path / "disk") as read_only:
        path = tmp_path / "disk/results.json"
        write_json(path, {"a": 1})
        filler = fill(tmp_path / "disk")
        with pytest.raises(StorageError, match=r"results\.json: cannot be written \(No space left on device; 0 MB are"):
            write_json(path, {"a": "x" * 10_000_000})
        assert json.loads(path.read_text()) == {"a": 1}
        assert sorted(p.name for p in path.parent.iterdir()) == ["filler", "results.json"]  # nothing half-written
        filler.unlink()
        read_only()
        with pytest.raises(StorageError, match=r"cannot be written \(Read-only file system"):
            write_json(path, {"a": 2})


@pytest.mark.slow
def test_training_stops_at_the_first_save_that_fails_and_goes_on_from_the_one_before(tmp_path, capfd):
    lrhnet = fakes.lead_network()  # the state of a smaller network fits wherever the log does
    whole = loop.train(make_run(tmp_path / "whole", student=lrhnet))
    with small_disk(tmp_path / "disk", megabytes=8):
        run = make_run(tmp_path / "disk/student", student=lrhnet)
        loop.train(change(run, stop=4))  # an epoch of three, which is saved
        filler = fill(tmp_path / "disk", leave=200_000)  # for the log, and not for a state
        capfd.readouterr()
        with pytest.raises(StorageError, match=r"student/progress: cannot be written \(No space left on device; 0 MB"):
            loop.train(run)
        assert "Traceback" not in capfd.readouterr().err
        filler.unlink()
        resumed = loop.train(run)
    assert_same(whole.variables, resumed.variables)
    assert without_rates(whole.history) == without_rates(resumed.history)


def test_a_finished_network_that_does_not_fit_keeps_its_progress(tmp_path):
    with small_disk(tmp_path / "disk"):
        folder = tmp_path / "disk/student"
        (folder / "progress").mkdir(parents=True)
        fill(tmp_path / "disk")
        with pytest.raises(StorageError, match=r"weights\.npz: cannot be written"):
            checkpoint.save_model(folder, {"params": {"a": np.zeros(1000)}, "batch_stats": {}}, {})
        assert (folder / "progress").exists() and not checkpoint.is_finished(folder)


def test_a_command_tells_it_in_one_line(tmp_path, capsys):
    @command
    def main(arguments):
        (tmp_path / "disk/file").write_bytes(bytes(100_000_000))

    with small_disk(tmp_path / "disk"):
        assert main([]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "No space left on device" in error
