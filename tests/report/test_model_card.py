"""Cards say what a run has measured, and nothing that it has not."""

import json
import shutil

import pytest

from benchmarks import ship
from lrhnet_jax import list_models, tasks
from lrhnet_jax.deploy import shipped
from lrhnet_jax.deploy.model import NOT_A_DEVICE
from lrhnet_jax.errors import CheckpointError, UserError
from lrhnet_jax.report import model_card
from lrhnet_jax.training import card
from tests.helpers import fakes


def score(task, records=50):
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
    row = {"abbreviation": "x", "f1": 0.5, "auroc": 0.75, "average_precision": 0.25, "threshold": 0.5}
    rows = {code: {**row, "positives": i} for i, code in enumerate(task.classes)}
    return {
        "records": records,
        "patients": records - 1,
        "resamples": 9,
        "headline": dict.fromkeys(task.metrics, estimate),
        "headline_top1": {},
        "per_class": rows,
        "classes_without_positives": [task.classes[0]],
    }


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network of a run that was measured; the figures are made up."""
    work = tmp_path_factory.mktemp("run")
    folder = fakes.network(work / "networks/student", "physionet2020", ("I", "II"), 512, "lrhnet_wide")
    task = tasks.PHYSIONET2020
    results = {
        "command": "python -m x --config=student:seeds=2 --config.data_dir=/a/b --config.devices=2 --workdir=/d",
        "dataset": {"task": task.name, "per_source": {"ptb-xl": 383, "ptb-xl-filtered": 70}},
        "config": {
            "fold": "0",
            "train": {"keep": "best"},
            "networks": {"student": {"train": {}}},
            "evaluation": {"train_only": ["ptb-xl-filtered"], "protocol": "leak_free"},
        },
    }
    (work / "results.json").write_text(json.dumps(results))
    (folder / "evaluation.json").write_text(json.dumps({"test": score(task), "validation": score(task, 33)}))
    return folder


def test_a_card_is_made_of_what_was_measured(network):
    made = model_card.make(network, {"leads": ["I", "II"]})
    assert card.is_card(json.loads(json.dumps(made)))
    assert made["seen"] == {"rates": [500, 500], "seconds": [10, 10]}
    first, second = made["measured"]
    assert (first["records"], first["patients"], second["records"]) == (50, 49, 33)
    assert "PTB-XL, band-passed: trains only" in first["on"] and "too favourable" in second["on"]
    assert first["metrics"]["macro_auroc"] == {"value": 0.5, "low": 0.4, "high": 0.6}
    assert made["command"] == "python -m x --config=student:seeds=2 --config.data_dir=DATA --workdir=WORKDIR"
    assert len(made["attribution"]) == 2 and "Wagner" in made["attribution"][0]
    rare = made["not_for"][-1]
    task = tasks.PHYSIONET2020
    assert all((task.description(code) in rare) == (i < 10) for i, code in enumerate(task.classes))


def test_what_thresholds_were_chosen_on_is_said(network, tmp_path):
    work = shutil.copytree(network.parents[1], tmp_path / "work")
    results = json.loads((work / "results.json").read_text())
    results["config"]["evaluation"]["protocol"] = "reference"
    results["config"]["networks"]["student"]["train"]["keep"] = "last"
    (work / "results.json").write_text(json.dumps(results))
    (part,) = model_card.make(work / "networks/student", {"leads": ["I", "II"]})["measured"]
    assert "its thresholds were chosen on these records: figures of decisions are too favourable" in part["on"]


def test_without_figures_or_of_unknown_data_there_is_none(network, tmp_path):
    with pytest.raises(CheckpointError, match=r"evaluation\.json: cannot be read"):
        model_card.make(tmp_path / "networks/other", {})
    (tmp_path / "networks/own").mkdir(parents=True)
    (tmp_path / "networks/own/evaluation.json").write_text("{}")
    (tmp_path / "results.json").write_text(json.dumps({"dataset": {"per_source": {"my hospital": 3}}}))
    with pytest.raises(CheckpointError, match="learned from my hospital, whose licence is not known here"):
        model_card.make(tmp_path / "networks/own", {})


@pytest.mark.parametrize(
    "change",
    [
        {"title": 1},
        {"extra": "x"},
        {"not_for": []},
        {"attribution": "text"},
        {"seen": {"rates": [500, 100], "seconds": [1, 2]}},
        {"seen": {"rates": [500, 500]}},
        {"measured": [{"on": "x"}]},
        {"trained_on": [{"source": "a", "records": -1, "licence": ""}]},
    ],
)
def test_what_is_not_a_card_is_known(network, change):
    assert not card.is_card({**model_card.make(network, {"leads": ["I"]}), **change})


def test_networks_are_packed_listed_and_their_cards_printed(network, tmp_path, monkeypatch, capsys):
    (tmp_path / "LIST").write_text(f"# the best so far\ndx24-2 {network}\n")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "shipped")
    shipped.models.cache_clear()
    for _ in range(2):  # a better one takes its place
        assert ship.main([str(tmp_path / "LIST"), f"--folder={tmp_path / 'shipped'}"]) == 0
    assert sorted(path.name for path in (tmp_path / "shipped/dx24-2").iterdir()) == ["model.json", "weights.npz"]
    assert list_models.main([]) == 0
    listed = capsys.readouterr().out
    assert "macro AUROC 50.0 [40.0, 60.0]" in listed and "82,100" in listed and NOT_A_DEVICE in listed
    assert list_models.main(["dx24-2"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("dx24-2: 24 classes of Challenge 2020 on leads I, II") and NOT_A_DEVICE in told
    assert "PTB-XL: 383 records (CC BY 4.0)" in told and "Challenge metric   50.0 [40.0, 60.0]" in told
    assert list_models.main(["dx24-9"]) == 1
    assert "dx24-9: no such file or folder, and not the name of a shipped model; these are dx24-2" in (
        capsys.readouterr().err
    )
    shipped.models.cache_clear()


def test_a_network_without_figures_is_not_shipped(network, tmp_path):
    plain = fakes.network(tmp_path / "networks/plain", "physionet2020", ("I",), 512)
    with pytest.raises(CheckpointError, match=r"evaluation\.json: cannot be read"):
        ship.ship([f"dx24-1 {plain}"], tmp_path / "shipped")
    assert not (tmp_path / "shipped").exists()
    with pytest.raises(UserError, match="a name and a network are expected"):
        ship.ship(["dx24-1"], tmp_path / "shipped")
