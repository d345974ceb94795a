import copy
import json
import re

import pytest

from benchmarks import distillation
from tests.helpers.results import make_recipe_results


def write(path, results):
    path.write_text(json.dumps(results))
    return str(path)


def test_the_runs_of_two_folds_are_one_table(tmp_path, capsys):
    results = make_recipe_results()
    other = copy.deepcopy(results)
    other["folds"] = {"3": other["folds"]["0"]}
    other["config"] |= {"fold": "3", "data_dir": "elsewhere"}
    for path, run in (("runs/fold0", results), ("runs/fold3", other)):
        run["config"]["networks"] = {"teacher12": {"checkpoint": path}}
    headline = other["folds"]["3"]["networks"]["vanilla2_0"]["test"]["headline"]
    headline["micro_f1"] = {"value": 0.5, "low": 0.4, "high": 0.6}
    paths = [write(tmp_path / "0.json", results), write(tmp_path / "3.json", other)]
    found = distillation.main([*paths, f"--output={tmp_path / 'out/table.json'}"])
    vanilla = found["summary"]["vanilla2"]
    assert (vanilla["title"], vanilla["paper"]) == ("Vanilla KD", "57.27 (71.18)")
    assert vanilla["runs"] == ["fold 0, vanilla2_0", "fold 0, vanilla2_1", "fold 3, vanilla2_0", "fold 3, vanilla2_1"]
    assert vanilla["gains"]["micro_f1"]["values"] == pytest.approx([0.06, 0.02, 0.20, 0.02])
    assert found["folds"]["3"]["networks"]["vanilla2_0"]["micro_f1"]["low"] == pytest.approx(0.4)
    text = (tmp_path / "out/table.md").read_text()
    assert text in capsys.readouterr().out and "| Vanilla KD | 2 | 4 |" in text and "SYNTHETIC" not in text
    assert json.loads((tmp_path / "out/table.json").read_text()) == json.loads(json.dumps(found))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "has fold 0 again"),
        ({"window": 2048}, "differs from .*0.json in config.window"),
    ],
)
def test_only_folds_of_one_graph_are_merged(change, message, tmp_path, capsys):
    results = make_recipe_results()
    first = write(tmp_path / "0.json", results)
    results["config"] |= change
    with pytest.raises(SystemExit):
        distillation.main([first, write(tmp_path / "1.json", results)])
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(message, error)
    with pytest.raises(SystemExit):
        distillation.main([str(tmp_path / "none.json")])
    assert "none.json: cannot be read" in capsys.readouterr().err


def test_synthetic_data_is_said_first(tmp_path):
    results = make_recipe_results()
    results["dataset"] |= {"name": "synthetic", "synthetic": True}
    distillation.main([write(tmp_path / "0.json", results), f"--output={tmp_path / 'table.json'}"])
    assert (tmp_path / "table.md").read_text().startswith("SYNTHETIC DATA")
