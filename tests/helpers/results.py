"""results.json of runs that never took place, with scores of random networks."""

import numpy as np

from lrhnet_jax import tasks
from lrhnet_jax.ecg.leads import LEADS, parse_leads
from lrhnet_jax.scoring import score as scoring
from lrhnet_jax.scoring.score import paired_difference

RECIPE_SCORES = {"alone2_0": 0.30, "alone2_1": 0.40, "vanilla2_0": 0.36, "vanilla2_1": 0.42}


def make_results(
    folds=("0",), synthetic=False, experiment="pmlkd", leads="2", seed=0, task=tasks.PHYSIONET2020, dataset=None
):
    """Results of a run as experiment.py writes them, with scores of random networks."""
    rng = np.random.default_rng(seed)
    count = len(task.classes)
    if task.exclusive:
        labels = np.eye(count, dtype=bool)[rng.integers(count, size=120)]
    else:
        labels = rng.random((120, count)) < np.geomspace(0.4, 0.01, count)
    if task is tasks.PHYSIONET2020:
        labels[:, 7] = False
    limits = None if task.exclusive else np.full(count, 0.5)
    epoch_score = f"validation_{task.epoch_metric}"
    sources = np.array(["ptb-xl", "georgia"])[rng.integers(2, size=120)]
    by_source = {
        s: dict(zip(task.classes, labels[sources == s].sum(0).tolist(), strict=True)) for s in ("ptb-xl", "georgia")
    }
    networks = {
        "teacher12": {
            "model": "seresnet",
            "recipe": "",
            "seed": 0,
            "leads": list(LEADS),
            "parameters": 8837060,
            "bytes": 35_400_000,
            "macs": 1_609_000_000,
            "teachers": {},
            "method": "none",
        },
        "student": {
            "model": "lrhnet",
            "recipe": "",
            "seed": 0,
            "leads": list(parse_leads(leads)),
            "parameters": 83236,
            "bytes": 335_872,
            "macs": 95_700_000,
            "teachers": {"teacher12": 1.0},
            "method": "none",
        },
    }
    entries = {}
    for fold in folds:
        probabilities = {
            name: 1 / (1 + np.exp(-(rng.normal(size=labels.shape) + skill * labels - 1)))
            for name, skill in (("teacher12", 3.0), ("student", 2.0))
        }
        runs = {}
        if task.exclusive:
            probabilities = {name: p / p.sum(axis=1, keepdims=True) for name, p in probabilities.items()}
        for name, p in probabilities.items():
            score = scoring.score(labels, p, limits, task=task, resamples=10)
            history = [
                {"epoch": e, "loss": 1 / e + rng.random() / 10, epoch_score: 0.5 - 1 / (e + 2)} for e in range(1, 13)
            ]
            runs[name] = {"epochs": 12, "best_epoch": 9, "samples_per_second": 812.3, "history": history}
            listed = None if limits is None else limits.tolist()
            runs[name] |= {"thresholds": listed, "validation": score, "test": score}
            runs[name]["inference"] = {"seconds": 1.234, "records": 44, "batch_size": 64, "device": "1 x cpu"}
        differences = paired_difference(
            labels, probabilities["teacher12"], limits, probabilities["student"], limits, task=task, resamples=10
        )
        entries[fold] = {
            "records": {"train": 400, "validation": 44, "test": 120},
            "networks": runs,
            "comparisons": [{"a": "teacher12", "b": "student", "differences": differences}],
        }
    return {
        "schema": 1,
        "experiment": experiment,
        "preset": "paper",
        "created": "2026-01-02T03:04:05+00:00",
        "versions": {"python": "3.11.14", "jax": "0.10.2"},
        "device": "1 x cpu",
        "dataset": {
            "name": dataset or ("synthetic" if synthetic else "physionet2020"),
            "task": task.name,
            "rate": task.rate,
            "synthetic": synthetic,
            "notice": "SYNTHETIC DATA: every number below was measured on generated ECGs." if synthetic else "",
            "path": "data/physionet2020/paper/1.0.0",
            "records": 120,
            "per_source": {s: int((sources == s).sum()) for s in by_source},
            "per_class": dict(zip(task.classes, labels.sum(0).tolist(), strict=True)),
            "per_source_class": by_source,
            "co_occurrence": (labels.T.astype(int) @ labels.astype(int)).tolist(),
            "build_report": {"left_out_no_scored_class": 31, "rejected": [{"path": "g1/A1.hea", "reason": "short"}]},
        },
        "command": "python -m lrhnet_jax.main --config=configs/pmlkd.py --config.seed=4",
        "config": {
            "seed": 4,
            "fold": "all" if len(folds) > 1 else folds[0],
            "window": 4096,
            "evaluation": {"protocol": "leak_free", "windows": "cover", "decision": "threshold"},
        },
        "networks": networks,
        "folds": entries,
        "summary": {},
    }


def section(text, title):
    return text.split(f"## {title}")[1].split("\n## ")[0]


def make_recipe_results():
    """Two seeds of the student, alone and taught, and a teacher, with the scores above."""
    results = make_results()
    student, teacher = results["networks"]["student"], results["networks"]["teacher12"]
    results["networks"] = {"teacher12": teacher} | {
        f"{recipe}2_{seed}": {
            **student,
            "teachers": {} if recipe == "alone" else {"teacher12": 1.0},
            "recipe": recipe,
            "seed": seed,
        }
        for recipe in ("alone", "vanilla")
        for seed in range(2)
    }
    entry = results["folds"]["0"]
    rows, entry["comparisons"] = entry["networks"], []
    entry["networks"] = {"teacher12": rows["teacher12"]} | {
        name: scored(rows["student"], RECIPE_SCORES[name]) for name in RECIPE_SCORES
    }
    return results


def scored(row, value):
    cell = {"value": value, "low": value - 0.1, "high": value + 0.1}
    headline = {metric: cell for metric in row["test"]["headline"]}
    return {**row, "test": {**row["test"], "headline": headline}}


def make_pruning(**changes):
    rounds = [
        {"index": 0, "parent": None, "rate": 0.0, "kept": 1000, "score": 0.8, "decision": "dense"},
        {"index": 1, "parent": 0, "rate": 0.5, "kept": 500, "score": 0.81, "decision": "good"},
        {"index": 2, "parent": 1, "rate": 0.5, "kept": 250, "score": None, "decision": "step back"},
    ]
    return {
        "unit": "weight",
        "control": "none",
        "ticket": "",
        "rewind": 0.0,
        "tolerance": 0.01,
        "units": 1000,
        "ending": "the rate has fallen below 0.01",
        "round": 1,
        "weights": 1000,
        "kept": 500,
        "compression": 2.0,
        "parameters": 1100,
        "parameters_kept": 600,
        "parameter_compression": 1.83,
        "dense_bytes": 4400,
        "sparse_bytes": 2525,
        "sparse_code": "bitmap",
        "structured_bytes": 4000,
        "macs": 3_000_000,
        "macs_structured": 2_500_000,
        "inner": [],
        "rounds": rounds,
    } | changes
