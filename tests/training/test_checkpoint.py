import json

import jax
import numpy as np
import pytest

from lrhnet_jax.errors import CheckpointError
from lrhnet_jax.runtime.files import write_json
from lrhnet_jax.tasks import physionet2020
from lrhnet_jax.training import checkpoint, description
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


@pytest.mark.slow
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
    folder, _, _ = saved
    with pytest.raises(CheckpointError, match="nowhere: no such folder; give WORKDIR/networks/NAME"):
        checkpoint.load_model(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"run: no trained network here; there are .*networks/student"):
        checkpoint.load_model(tmp_path / "run")
    unfinished = tmp_path / "run/networks/teacher"
    (unfinished / "progress").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="teacher: its training is not finished; run the training command again"):
        checkpoint.load_model(unfinished)
    described = json.loads((folder / "network.json").read_text())
    (folder / "network.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"network\.json: not a JSON file"):
        checkpoint.load_model(folder)
    (folder / "network.json").write_text(json.dumps({"model": "lrhnet"}))
    with pytest.raises(CheckpointError, match=r"network\.json: does not describe a network"):
        checkpoint.load_model(folder)
    (folder / "network.json").write_text(json.dumps({**described, "leads": ["I", "II", "V2"]}))
    with pytest.raises(CheckpointError, match=r"kernel.* has shape \(8, 2, 16\), where the network has \(8, 3, 16\)"):
        checkpoint.load_model(folder)


@pytest.mark.parametrize("field", sorted({**description.REQUIRED, **description.OPTIONAL}))
@pytest.mark.parametrize("value", [[], {"a": 1}, -1, float("nan"), [["I"]], 1e300])
def test_a_description_of_other_types_or_ranges_is_refused(saved, field, value):
    folder, _, _ = saved
    described = json.loads((folder / "network.json").read_text())
    if field in ("options", "preprocess_options") and value == {"a": 1}:
        pytest.skip("a table, as it has to be")
    (folder / "network.json").write_text(json.dumps({**described, field: value}))
    with pytest.raises(CheckpointError, match=rf"network\.json: does not describe a network: {field} is"):
        checkpoint.load_model(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"leads": ["II", "I"]}, "leads is .*, not a list of leads, in the order of a 12-lead ECG"),
        ({"leads": ["I", "I"]}, "leads is"),
        ({"classes": ["a", "a"]}, "classes is"),
        ({"window": 0}, "window is 0, not a whole number of samples from 16"),
        ({"window": True}, "window is True"),
        ({"rate": 0}, r"rate is 0, not a number from 20 to 20000 \(Hz\)"),
        ({"options": {"dtype": "bfloat16"}}, "options is .*without num_classes, dtype, axis_name"),
        ({"options": {"widht": 2}}, r"does not describe a network \(.*widht"),
        ({"model": None}, "model is None, not one of lrhnet"),
    ],
)
def test_what_is_wrong_in_a_description_is_named(saved, changes, message):
    folder, _, _ = saved
    described = json.loads((folder / "network.json").read_text())
    (folder / "network.json").write_text(json.dumps({**described, **changes}))
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load_model(folder)


@pytest.mark.parametrize("values", [[0.5] * 23, [float("nan")] * 24, [-0.1] * 24, [None] * 24, [True] * 24, 0.5, "x"])
def test_thresholds_that_are_no_probabilities_are_refused(saved, values):
    folder, _, _ = saved
    (folder / "thresholds.json").write_text(json.dumps({"thresholds": values}))
    with pytest.raises(CheckpointError, match=r"thresholds\.json: thresholds has to be 24 numbers from 0 to 1"):
        checkpoint.load_model(folder)


def test_weights_that_were_altered_or_are_missing_do_not_load(saved):
    folder, _, _ = saved
    weights = folder / checkpoint.WEIGHTS
    content = weights.read_bytes()
    for altered in (content[:-1], content[:200] + bytes([content[200] ^ 1]) + content[201:], b""):
        weights.write_bytes(altered)
        with pytest.raises(
            CheckpointError, match=r"weights\.npz: not the weights that network\.json beside it describes"
        ):
            checkpoint.load_model(folder)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"weights\.npz: cannot be read"):
        checkpoint.load_model(folder)


def test_progress_stays_where_what_was_saved_does_not_read_back(saved, monkeypatch):
    folder, variables, meta = saved
    (folder / "progress").mkdir()
    monkeypatch.setattr(np, "savez", lambda path, **arrays: path.write_bytes(b"half a file"))
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.save_model(folder, variables, meta)
    assert (folder / "progress").exists()


@pytest.mark.parametrize("name", ["a[1]", "a{1}", "100% a", "ü", "a*b?", "a#1", "a|b", 'a"b', ".a", "~a"])
def test_any_name_of_a_folder_serves(saved, tmp_path, name):
    _, variables, meta = saved
    folder = tmp_path / name / "networks/n"
    checkpoint.save_model(folder, variables, meta)
    jax.tree.map(np.testing.assert_array_equal, variables, checkpoint.load_model(folder)[1])
    with pytest.raises(CheckpointError, match="no trained network here; there are"):
        checkpoint.load_model(tmp_path / name)
