import json

import pytest

from benchmarks import plot
from lrhnet_jax.runtime.files import write_json
from tests.helpers.results import make_pruning


def accelerator():
    rows = [
        {"network": "lrhnet", "batch": 64, "dtype": "bfloat16", "reference": {"ratio": 8.0}, "best": {"ratio": 3.0}},
        {"network": "pmlkd", "batch": 64, "dtype": "bfloat16", "reference": None, "best": {"ratio": 2.5}},
        {"network": "pmlkd_precomputed", "batch": 64, "dtype": "bfloat16", "reference": None, "best": None},
        {"network": "seresnet", "batch": 64, "dtype": "bfloat16", "error": "no memory"},
    ]
    return {"device": "1 x NVIDIA H200", "rows": rows}


def pruned(synthetic=False):
    score = {"value": 0.7, "low": 0.6, "high": 0.75}
    networks = {
        "dense": {"metrics": {"challenge_f1": score}},
        "ticket": {"metrics": {"challenge_f1": score}, **make_pruning()},
        "control": {"metrics": {"challenge_f1": score}, **make_pruning(ticket="ticket")},
    }
    return {"metric": "challenge_f1", "synthetic": synthetic, "networks": networks}


def test_every_ratio_is_a_bar(tmp_path):
    write_json(tmp_path / "accelerator-h200.json", accelerator())
    step = {"model": "lrhnet", "leads": 2, "train": {"ratio": 0.9}, "inference": {"ratio": 1.4}}
    write_json(tmp_path / "step-cpu.json", {"batch": 64, "networks": [step]})
    forms = {"jit": {"ratio": {"eager": 2.0, "fused": 1.6, "compiled": 1.2}}}
    rows = [{"model": "lrhnet", "leads": 2, "batch": batch, "forms": forms} for batch in (1, 64)]
    write_json(tmp_path / "latency-cpu.json", {"networks": rows})
    (axes,) = plot.speed(tmp_path).axes
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels == [
        "H200: lrhnet trains, batch 64, bfloat16",
        "H200: pmlkd trains, batch 64, bfloat16",
        "CPU: lrhnet, 2 leads, trains, batch 64",
        "CPU: lrhnet, 2 leads, infers, batch 64",
        "CPU: lrhnet, 2 leads, one window",
    ]
    ends = [1 + bar.get_width() for bar in axes.patches if bar.get_width()]
    assert ends == pytest.approx([8, 3, 2.5, 0.9, 1.4, 2, 1.2])


def test_files_are_written_for_what_was_measured(tmp_path):
    assert plot.main([f"--results={tmp_path}"]) == []
    (tmp_path / "pruning-a.json").write_text(json.dumps(pruned()))
    assert plot.main([f"--results={tmp_path}"]) == [tmp_path / "pruning.svg"]
    first = (tmp_path / "pruning.svg").read_text()
    plot.main([f"--results={tmp_path}"])
    assert (tmp_path / "pruning.svg").read_text() == first
    rounds, tests = plot.pruning(tmp_path).axes
    assert rounds.get_lines()[0].get_label() == "ticket" and len(tests.get_yticklabels()) == 3
    assert "SYNTHETIC" not in first
    (tmp_path / "pruning-b.json").write_text(json.dumps(pruned(synthetic=True)))
    assert plot.pruning(tmp_path).get_supxlabel() == "SYNTHETIC DATA"
