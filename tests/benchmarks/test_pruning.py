import json

import jax
import pytest

from benchmarks import pruning
from lrhnet_jax import models, tasks
from lrhnet_jax.runtime.files import read_json, write_json
from lrhnet_jax.training import checkpoint
from lrhnet_jax.training.state import init_variables
from tests.helpers.results import make_pruning

WINDOW = 256


def save(folder, name, **options):
    classes = tasks.PHYSIONET2017.classes
    model = models.create("lrhnet", ("I",), num_classes=len(classes), **options)
    variables = init_variables(model, jax.random.key(0), 1, WINDOW)
    meta = {
        "name": name,
        "model": "lrhnet",
        "options": options,
        "leads": ["I"],
        "classes": list(classes),
        "window": WINDOW,
        "preprocess": "300hz",
    }
    checkpoint.save_model(folder / "networks" / name, variables, meta)


def scored(value, **extra):
    headline = {"challenge_f1": {"value": value, "low": value - 0.02, "high": value + 0.02}}
    return {"epochs": 2, "test": {"headline": headline, "headline_top1": {}}, **extra}


@pytest.fixture
def workdir(tmp_path):
    difference = {"challenge_f1": {"difference": 0.01, "low": -0.01, "high": 0.04, "p": 0.4}}
    results = {
        "dataset": {"name": "synthetic_physionet2017", "synthetic": True, "records": 9, "per_source": {}},
        "config": {"window": WINDOW, "evaluation": {"decision": "threshold"}},
        "command": "",
        "device": "",
        "networks": {name: {"parameters": 50, "macs": 3_000_000} for name in ("channels", "dense", "ticket")},
        "folds": {
            "0": {
                "records": {},
                "networks": {
                    "channels": scored(0.82, pruning=make_pruning(unit="channel", sparse_bytes=None)),
                    "dense": scored(0.81),
                    "ticket": scored(0.8, pruning=make_pruning()),
                },
                "comparisons": [
                    {"a": "channels", "b": "dense", "differences": difference},
                    {"a": "dense", "b": "ticket", "differences": difference},
                ],
            }
        },
    }
    write_json(tmp_path / "results.json", results)
    return tmp_path


@pytest.mark.slow
def test_networks_are_scored_weighed_and_timed_beside_the_dense_one(workdir, capsys):
    for name in ("dense", "ticket"):
        save(workdir, name)
    save(workdir, "channels", inner=(1, 1, 1))
    output = workdir / "out/pruning.json"
    found = pruning.main([str(workdir), "--smoke", "--batch=4", f"--output={output}"])
    assert json.loads(output.read_text()) == json.loads(json.dumps(found))
    assert found["networks"]["channels"]["lost"] == {"difference": -0.01, "low": -0.04, "high": 0.01, "p": 0.4}
    assert all(found["timed"][size]["dense"]["times_dense"] == 1 for size in ("one", "many"))
    text = output.with_suffix(".md").read_text()
    assert text.strip() in capsys.readouterr().out
    assert "| dense | all |  | 81.0 [79.0, 83.0] |  | 200 | 3.0 |" in text
    assert "| ticket | 500 | 2.0 | 80.0 [78.0, 82.0] | 1.0 [-1.0, 4.0] | 2,525 | 2.5 |" in text
    assert "| channels | 500 | 2.0 | 82.0 [80.0, 84.0] | -1.0 [-4.0, 1.0] | 4,000 | 2.5 |" in text


def test_what_is_missing_is_named(workdir, capsys):
    with pytest.raises(SystemExit):
        pruning.main([str(workdir / "nothing")])
    assert "holds no results.json; run configs/lth.py" in capsys.readouterr().err
    results = read_json(workdir / "results.json")
    del results["folds"]["0"]["networks"]["dense"]
    write_json(workdir / "results.json", results)
    with pytest.raises(SystemExit):
        pruning.main([str(workdir)])
    assert "no network 'dense' to compare with" in capsys.readouterr().err
