"""The models that come with the package: small, described, attributed, and found by name and by leads."""

import json
import pathlib

import numpy as np
import pytest

import lrhnet_jax
from lrhnet_jax import predict
from lrhnet_jax.deploy import model_folder, shipped
from lrhnet_jax.deploy.model import NOT_A_DEVICE
from lrhnet_jax.ecg.leads import LEADS, LeadError

ROOT = pathlib.Path(__file__).parents[2]
NAMES = tuple(shipped.models())


def test_there_are_models_for_twelve_three_two_and_one_leads():
    assert {"dx24-12", "dx24-3", "dx24-2", "dx24-1"} <= set(NAMES)
    sizes = {name: len(meta["leads"]) for name, meta in shipped.models().items()}
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_whole_small_and_says_what_it_is(name):
    folder = shipped.FOLDER / name
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "weights.npz"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 500_000
    meta, arrays = model_folder.read(folder)
    assert meta["name"] == name and not meta["synthetic"] and sum(a.size for a in arrays.values()) > 50_000
    card = meta["card"]
    measured = card["measured"][0]
    assert measured["records"] > 100 and measured["metrics"]["macro_auroc"]["low"] > 0.7
    notice = " ".join((ROOT / "NOTICE").read_text().split())
    for text in card["attribution"]:  # authors and title, up to the publisher
        assert text.split(". PhysioNet")[0].split(". Physiological")[0].split(". Recordings")[0] in notice
    assert {source["licence"] for source in card["trained_on"]} <= {"CC BY 4.0", "ODC-By 1.0"}
    assert "/" not in json.dumps(meta["versions"])  # no path of a machine


@pytest.mark.parametrize(
    ("leads", "name"),
    [
        (LEADS, "dx24-12"),
        (("I", "II", *LEADS[6:]), "dx24-12"),  # the other limb leads are derived
        (("V2", "Lead II", "i"), "dx24-3"),
        (("I", "II"), "dx24-2"),
        (("I", "III", "V1"), "dx24-1"),
    ],
)
def test_the_model_that_reads_most_of_the_leads_is_taken(leads, name):
    assert shipped.fitting(leads) == name


def test_a_recording_of_one_lead_gets_the_model_of_such_recordings(monkeypatch):
    descriptions = {
        "dx24-1": {"leads": ["I"], "task": "physionet2020"},
        "af-1": {"leads": ["I"], "task": "physionet2017"},
    }
    monkeypatch.setattr(shipped, "models", lambda: descriptions)
    assert shipped.fitting(["I"]) == "af-1" and shipped.fitting(["I", "V1"]) == "dx24-1"


def test_leads_that_no_model_reads_are_told_with_the_remedy():
    with pytest.raises(LeadError, match=r"has the leads MLII, V5, and no shipped model .*--rename_leads=MLII=I"):
        shipped.fitting(["MLII", "V5"])


def test_they_load_by_name_and_tell_what_the_examples_are(tmp_path):
    model = lrhnet_jax.load("dx24-2")
    assert model.name == "dx24-2" and model.leads == ("I", "II")
    found = {
        name: model.predict_file(ROOT / "examples" / name) for name in ("HR00001.hea", "HR09289.edf", "HR10862.dcm")
    }
    afib = {name: answer.probabilities[answer.classes.index("164889003")] for name, answer in found.items()}
    assert max(afib, key=lambda name: afib[name]) == "HR09289.edf"
    assert all(NOT_A_DEVICE in answer.notes for answer in found.values())
    results = predict.predict([ROOT / "examples/HR10862.dcm"], None, tmp_path, pages=False)
    assert [result.model.name for result in results] == ["dx24-12"]
    assert "left bundle branch block" in str(results[0].answer)
    told = json.loads((tmp_path / "HR10862.json").read_text())
    assert told["network"]["name"] == "dx24-12"
    np.testing.assert_allclose([one["probability"] for one in told["classes"]], results[0].answer.probabilities)
