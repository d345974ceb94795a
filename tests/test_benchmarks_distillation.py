import json

import pytest

from benchmarks import distillation
from configs import table


def test_seeds_are_averaged_and_gains_are_against_the_same_seed_alone(tmp_path):
    graph = table.get_config("seeds=2").networks.to_dict()
    networks = {name: {**fields, "leads": list(fields["leads"])} for name, fields in graph.items()}
    values = {"alone2_0": 0.30, "alone2_1": 0.40, "vanilla2_0": 0.36, "vanilla2_1": 0.42, "teacher12": 0.6}

    def scores(name):
        value = values.get(name, 0.5)
        headline = {
            metric: {"value": value, "low": value - 0.1, "high": value + 0.1} for metric in distillation.METRICS
        }
        return {"epochs": 3, "test": {"headline": headline, "headline_top1": {}}}

    results = {
        "config": {"evaluation": {"decision": "threshold"}, "window": 256},
        "dataset": {"synthetic": True, "name": "synthetic", "records": 9, "per_source": {}},
        "command": "",
        "device": "",
        "versions": {},
        "created": "",
        "networks": networks,
        "folds": {"0": {"records": {}, "networks": {name: scores(name) for name in networks}}},
    }
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    found = distillation.main([str(path), f"--output={tmp_path / 'out/table.json'}"])
    students = found["folds"]["0"]["students"]
    assert list(students) == [f"{method}{n}" for n in (2, 3) for method in ("alone", "vanilla", "smlkd", "pmlkd")]
    assert students["vanilla2"]["method"] == "Vanilla KD" and students["smlkd3"]["method"] == "s-MLKD"
    assert found["folds"]["0"]["intervals"]["alone2_0"]["micro_f1"] == pytest.approx([0.2, 0.4])
    assert students["alone2"]["micro_f1"]["mean"] == pytest.approx(0.35)
    gain = students["vanilla2"]["gain"]["micro_f1"]
    assert gain["values"] == pytest.approx([0.06, 0.02]) and gain["std"] == pytest.approx(0.04 / 2**0.5)
    text = (tmp_path / "out/table.md").read_text()
    assert "| 0 | Vanilla KD | 2 | 39.0 ± 4.2 |" in text and "| +4.0 ± 2.8 | 57.27 (71.18) |" in text
    assert "| 0 | teacher12 | 12 | 60.0 |" in text
    assert json.loads((tmp_path / "out/table.json").read_text()) == json.loads(json.dumps(found))
