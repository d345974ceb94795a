import json

import jax
import numpy as np
import pytest

from lrhnet_jax.errors import CheckpointError
from lrhnet_jax.runtime.files import write_json
from lrhnet_jax.tasks import physionet2020
from lrhnet_jax.training import checkpoint
from lrhnet_jax.training.state import init_variables
from tests.helpers import fakes

WINDOW = 256


@pytest.fixture
def saved(tmp_path):
    """A finished LRH-Net on two leads, and its variables."""
    variables = init_variables(fakes.lead_network().model, jax.random.key(0), 2, WINDOW)
    meta = {
        "name": "student",
        "model": "lrhnet",
        "options": {},
        "leads": ["I", "II"],
        "classes": list(physionet2020.CLASSES),
        "window": WINDOW,
        "preprocess": "paper",
    }
    folder = tmp_path / "run/networks/student"
    checkpoint.save_model(folder, variables, meta)
    return folder, variables, meta


def test_a_network_comes_back_bit_for_bit_with_what_belongs_to_it(saved):
    folder, variables, meta = saved
    loaded_meta, loaded = checkpoint.load_model(folder)
    jax.tree.map(np.testing.assert_array_equal, variables, loaded)
    assert loaded_meta == {**meta, "thresholds": None}
    write_json(folder / "thresholds.json", {"thresholds": [0.25] * 24})
    assert checkpoint.load_model(folder)[0]["thresholds"] == [0.25] * 24


def test_saving_again_replaces_the_network(saved):
    folder, variables, meta = saved
    doubled = jax.tree.map(lambda leaf: 2 * leaf, variables)
    checkpoint.save_model(folder, doubled, meta)
    jax.tree.map(np.testing.assert_array_equal, doubled, checkpoint.load_model(folder)[1])


def test_wrong_folders_are_named_with_the_remedy(saved, tmp_path):
    folder, _, meta = saved
    with pytest.raises(CheckpointError, match="nowhere: no such folder; give WORKDIR/networks/NAME"):
        checkpoint.load_model(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"run: no trained network here; there are .*networks/student"):
        checkpoint.load_model(tmp_path / "run")
    unfinished = tmp_path / "run/networks/teacher"
    (unfinished / "progress").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="teacher: its training is not finished; run the training command again"):
        checkpoint.load_model(unfinished)
    (folder / "network.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"network\.json: not a JSON file"):
        checkpoint.load_model(folder)
    (folder / "network.json").write_text(json.dumps({"model": "lrhnet"}))
    with pytest.raises(CheckpointError, match=r"network\.json: does not describe a network"):
        checkpoint.load_model(folder)
    (folder / "network.json").write_text(json.dumps({**meta, "leads": ["I", "II", "V2"]}))
    with pytest.raises(CheckpointError, match=r"kernel.* has shape \(8, 2, 16\), where the network has \(8, 3, 16\)"):
        checkpoint.load_model(folder)
