"""Runs of one recipe: their names, their means over seeds and folds, and their gains."""

import math
import re

import pytest

from lrhnet_jax.report import seed_groups


def described(run, model="lrhnet"):
    """What a config says of a run that is called RECIPE, number of leads, _SEED; of another name, of no run."""
    parts = re.fullmatch(r"(.*\D)(\d+)_(\d+)", run)
    recipe, leads, seed = parts.groups() if parts else ("", 12, 0)
    return {"model": model, "leads": ["I"] * int(leads), "recipe": recipe, "seed": int(seed)}


def results_of(folds):
    """Results whose networks have the given micro-F1 (the first column), and no macro AUROC where it is None."""
    networks = {name: described(name) for name in next(iter(folds.values()))}
    return {
        "config": {"evaluation": {"decision": "threshold"}},
        "networks": networks | {"teacher12": described("teacher12", "seresnet")},
        "folds": {
            fold: {"networks": {name: {"test": {"headline": headline(*row)}} for name, row in rows.items()}}
            for fold, rows in folds.items()
        },
    }


def headline(micro_f1, macro_auroc=None):
    return {"micro_f1": {"value": micro_f1}, "macro_auroc": {"value": macro_auroc}}


def test_runs_are_told_by_their_fields():
    networks = {
        "a": described("vanilla2_0"),
        "b": described("vanilla2_11"),
        "c": described("cnn1d2_3", model="cnn1d"),
        "d": described("alone2_3"),
        "student_1": described("student_1"),
        "wide": described("vanilla2_3", model="lrhnet_wide"),
        "wide alone": described("alone2_3", model="lrhnet_wide"),
    }
    of = {name: seed_groups.undistilled(networks, name) for name in networks}
    assert of["c"] == "d" and of["wide"] == "wide alone"  # of its own model, where there is one
    assert {of[name] for name in ("a", "b", "d", "student_1", "wide alone")} == {None}
    groups = seed_groups.groups(networks)
    assert groups["vanilla2_lrhnet"] == ["a", "b"] and groups["vanilla2_lrhnet_wide"] == ["wide"]
    assert groups["cnn1d2"] == ["c"] and groups["student_1"] == ["student_1"]


def test_gains_are_over_the_same_seed_and_fold():
    summary = seed_groups.summarize(
        results_of(
            {
                "0": {
                    "vanilla2_0": (0.36, 0.9),
                    "vanilla2_1": (0.42,),
                    "alone2_0": (0.30, 0.7),
                    "alone2_1": (0.40, 0.8),
                }
                | {"teacher12": (0.6,)},
                "3": {"vanilla2_0": (0.35,), "vanilla2_1": (0.49,), "alone2_0": (0.34,), "alone2_1": (0.46,)}
                | {"teacher12": (0.7,)},
            }
        )
    )
    assert list(summary) == ["teacher12", "vanilla2", "alone2"]  # most leads first
    assert summary["teacher12"]["metrics"]["micro_f1"]["mean"] == pytest.approx(0.65)
    assert summary["teacher12"]["gains"] == summary["alone2"]["gains"] == {}
    vanilla = summary["vanilla2"]
    assert vanilla["networks"] == ["vanilla2_0", "vanilla2_1"]
    assert vanilla["runs"] == ["fold 0, vanilla2_0", "fold 0, vanilla2_1", "fold 3, vanilla2_0", "fold 3, vanilla2_1"]
    gain = vanilla["gains"]["micro_f1"]
    assert gain["values"] == pytest.approx([0.06, 0.02, 0.01, 0.03]) and gain["n"] == 4
    # Mean .03, deviation sqrt(.0014 / 3): t with 3 degrees of freedom, whose distribution function has a closed form.
    t = 0.03 / math.sqrt(0.0014 / 3 / 4)
    x = t / math.sqrt(3)
    assert gain["p"] == pytest.approx(1 - 2 / math.pi * (x / (1 + x * x) + math.atan(x)))
    ranking = vanilla["gains"]["macro_auroc"]
    assert ranking["values"] == [pytest.approx(0.2), None, None, None] and (ranking["n"], ranking["p"]) == (1, None)
    assert vanilla["metrics"]["macro_auroc"]["mean"] == 0.9 and vanilla["metrics"]["macro_auroc"]["std"] is None


def test_equal_gains_have_no_p():
    rows = {"mkd1_0": (0.5,), "mkd1_1": (0.5,), "alone1_0": (0.5,), "alone1_1": (0.5,), "teacher12": (0.5,)}
    assert seed_groups.summarize(results_of({"0": rows}))["mkd1"]["gains"]["micro_f1"]["p"] is None
