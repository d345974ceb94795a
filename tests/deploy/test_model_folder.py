"""A model's folder: what is written is what answers; what was altered, poisoned or is of another kind is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest

import lrhnet_jax
from lrhnet_jax import evaluate, export
from lrhnet_jax.deploy import jax_network, model_folder
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.errors import CheckpointError
from lrhnet_jax.training import checkpoint, weights
from tests.helpers import fakes
from tests.helpers.wfdb_files import write_noise

WINDOW = 512


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A run's network."""
    return fakes.network(
        tmp_path_factory.mktemp("networks") / "student", "physionet2020", ("I", "II"), WINDOW, "lrhnet_wide"
    )


@pytest.fixture(scope="module")
def packed(network):
    """The same, as a model."""
    folder = network.with_name("packed")
    export.export(network, folder, [export.MODEL], name="small")
    return folder


@pytest.fixture
def copy(packed, tmp_path):
    """A copy of the model, to alter."""
    folder = tmp_path / "copy"
    model_folder.write(folder, *model_folder.read(packed))
    return folder


def signal(seconds=7.0, rate=500.0, leads=2):
    rng = np.random.default_rng(0)
    return np.cumsum(rng.normal(size=(int(seconds * rate), leads)), 0).astype(np.float32) / 50


def test_the_folder_holds_two_files_and_what_the_network_is(network, packed):
    assert sorted(path.name for path in packed.iterdir()) == ["model.json", "weights.npz"]
    meta, arrays = model_folder.read(packed)
    assert (meta["name"], meta["leads"], meta["window"], meta["rate"]) == ("small", ["I", "II"], WINDOW, 257.0)
    assert meta["thresholds"] == [0.5] * 24 and meta["decision"] == "every class at or above its threshold"
    assert meta["files"]["weights.npz"]["sha256"] == weights.checksum(packed / "weights.npz")
    expected = checkpoint.flatten(checkpoint.load_model(network)[1])
    assert arrays.keys() == expected.keys()
    assert all(arrays[name].dtype == np.float32 and (arrays[name] == array).all() for name, array in expected.items())


@pytest.mark.slow
def test_it_answers_as_the_network_does_wherever_networks_go(network, packed, tmp_path):
    expected = lrhnet_jax.load(network).predict(signal(), 500)
    found = lrhnet_jax.load(packed).predict(signal(), 500)
    np.testing.assert_allclose(found.window_probabilities, expected.window_probabilities, atol=2e-6)
    assert found.notes == expected.notes and len(found.starts) > 1
    records = write_noise(tmp_path / "records", "noise", seconds=4).parent
    scores = [evaluate.evaluate(one, records, tmp_path / one.name) for one in (network, packed)]
    assert scores[0]["records"] == scores[1]["records"] and scores[1]["network"]["name"] == "small"
    again = export.export(packed, tmp_path / "again", [export.MODEL, "stablehlo"])
    assert again["name"] == "small" and again["files"].keys() == {"weights.npz", "model.stablehlo"}
    for name in ("", "model.stablehlo"):
        other = lrhnet_jax.load(tmp_path / "again" / name).predict(signal(), 500)
        np.testing.assert_allclose(other.probabilities, expected.probabilities, atol=1e-5)


def test_other_architectures_are_run_by_jax(tmp_path):
    network = fakes.network(tmp_path / "lrhnet", "physionet2017", ("I",), 300)
    export.export(network, tmp_path / "packed", [export.MODEL])
    found, expected = (lrhnet_jax.load(one).predict(signal(leads=1), 300) for one in (tmp_path / "packed", network))
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_a_small_model_answers_without_jax(packed):
    code = (
        "import sys, numpy, lrhnet_jax; model = lrhnet_jax.load(sys.argv[1]);"
        "model.predict(numpy.random.default_rng(0).normal(size=(900, 2)), 300);"
        "print(sorted({'jax', 'flax', 'orbax', 'matplotlib'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code, packed], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def rewrite(folder, **changes):
    """Changes fields of model.json."""
    path = folder / "model.json"
    meta = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in meta.items() if value is not ...}))


def poison(folder, **changes):
    """Writes other arrays, with a checksum that fits."""
    with np.load(folder / "weights.npz") as arrays:
        changed = {name: array for name, array in {**arrays, **changes}.items() if array is not ...}
    np.savez(folder / "weights.npz", **changed)
    size, digest = (folder / "weights.npz").stat().st_size, weights.checksum(folder / "weights.npz")
    rewrite(folder, files={"weights.npz": {"bytes": size, "sha256": digest}})


KERNEL = "params/fc/kernel"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "weights.npz").write_bytes(b"PK"), "weights.npz: not the weights that model.json beside it"),
        (lambda f: (f / "weights.npz").unlink(), "weights.npz: cannot be read"),
        (lambda f: (f / "model.json").write_text("{"), "model.json: not a JSON file"),
        (lambda f: rewrite(f, leads=["II", "I"]), "model.json: does not describe a network: leads is"),
        (lambda f: rewrite(f, thresholds=[2.0]), "thresholds has to be 24 numbers"),
        (lambda f: rewrite(f, card={"title": "x"}), "model.json: does not describe a network: card is"),
        (lambda f: rewrite(f, files={"weights.npz": "abc"}), "files is .* not a table of files"),
        (lambda f: rewrite(f, files=...), "describes no weights.npz; export the network again"),
        (lambda f: rewrite(f, files={"model.onnx": {"bytes": 1, "sha256": ""}}), r"name a file of it \(model.onnx\)"),
        (lambda f: rewrite(f, leads=["I", "II", "V2"]), r"weights.npz: params/conv1/kernel has shape \(15, 2, 16\)"),
        (lambda f: poison(f, **{KERNEL: np.full((138, 24), np.nan, np.float32)}), f"{KERNEL} is not finite float32"),
        (lambda f: poison(f, **{KERNEL: np.zeros((138, 24))}), f"{KERNEL} is not finite float32"),
        (lambda f: poison(f, **{KERNEL: np.array([print], object)}), "cannot be read .*allow_pickle"),
        (lambda f: poison(f, **{KERNEL: ...}), f"{KERNEL} has shape None"),
        (lambda f: poison(f, other=np.zeros(1, np.float32)), "other belongs to no layer"),
    ],
)
def test_what_was_altered_is_refused_by_name(copy, spoil, message):
    spoil(copy)
    with pytest.raises(CheckpointError, match=message) as error:
        lrhnet_jax.load(copy)
    assert str(copy) in str(error.value) and "\n" not in str(error.value)


def test_what_is_refused_for_numpy_is_refused_for_jax(copy):
    poison(copy, **{KERNEL: np.zeros((3, 24), np.float32)})
    with pytest.raises(CheckpointError, match=r"\['kernel'\] has shape \(3, 24\), where the network has \(138, 24\)"):
        jax_network.read(copy)


def test_weights_that_unpack_to_more_than_networks_have_are_not_unpacked(copy, monkeypatch):
    monkeypatch.setattr(weights, "MOST_BYTES", 100_000)
    with pytest.raises(CheckpointError, match=r"unpacks to 3..,... bytes, as no network does"):
        lrhnet_jax.load(copy)


def test_recordings_unlike_those_it_has_learned_from_are_said_to_be_so(copy):
    rewrite(copy, card={**fakes.CARD, "seen": {"rates": [500, 500], "seconds": [5, 10]}})
    model = lrhnet_jax.load(copy)
    twelve = signal(leads=12)
    assert not any("has seen" in note for note in model.predict(twelve, 500, LEADS).notes)
    notes = model.predict(twelve, 250, LEADS).notes
    assert "recorded at 250 Hz: the network has seen 500 Hz" in notes
    assert "14 s long: the network has seen 5 to 10 s" in notes
