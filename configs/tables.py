"""The tables of the LRH-Net paper: every network and method on 12, 3 and 2 leads, over seeds and folds, in one graph.

    python -m lrhnet_jax.main --config=configs/tables.py                     # one fold, three seeds: 71 networks
    python -m lrhnet_jax.main --config=configs/tables.py:seeds=5,fold=all
    python -m lrhnet_jax.main --config=configs/tables.py:methods=alone+vanilla+pmlkd,sets=3+2,student_epochs=30
    python -m lrhnet_jax.main --config=configs/tables.py:preset=demo,methods=alone+vanilla,sets=2,seeds=1  # minutes
    python -m benchmarks.distillation WORKDIR/results.json ...               # the tables of several runs, a fold each

Keys of its own: `methods` and `sets`, joined by '+' (all of METHODS and SETS); `seeds` (3); `teacher_epochs`,
`student_epochs`, and `student_rate`, the students' learning rate (the preset's).

The SE-ResNets are trained once and shared: they are the paper's SE-ResNet rows, and teach. Everything else is trained
once a seed, as METHOD, leads, _SEED: `vanilla2_0` is the first student of vanilla KD on 2 leads, and its gain is that
over `alone2_0`. Networks that are there are not trained again: the same command goes on where it was stopped.
Data: Challenge 2020. The report prints the paper's figure beside each of ours; docs/lrhnet.md says what it all costs.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common, fitnet, pskd, semckd
from lrhnet_jax.ecg.leads import LEAD_SETS, LEADS
from lrhnet_jax.errors import ConfigError

METHODS = ("seresnet", "cnn1d", "alone", "vanilla", "fitnet", "semckd", "pskd", "smlkd", "pmlkd")
SETS = ("12", "3", "2")


def get_config(arg: str | None = None):
    words = {"methods": METHODS, "sets": SETS}
    options = common.parse(
        arg, leads=None, words=words, seeds=3, teacher_epochs=int, student_epochs=int, student_rate=float
    )
    methods, sets = options.words["methods"], options.words["sets"]
    runs = {
        f"{method}{count}_{seed}": _run(options, method, count, seed)
        for count in sets
        for method in methods
        # On 12 leads the two levels of s- and p-MLKD would be the same network.
        if method != "seresnet" and not (count == "12" and method in ("smlkd", "pmlkd"))
        for seed in range(options.numbers["seeds"])
    }
    used = {teacher for run in runs.values() for teacher in run.teachers}
    if "seresnet" in methods:
        used |= {f"teacher{count}" for count in sets}
    networks = {name: network for name, network in _once(options).items() if name in used} | runs
    if not networks:
        raise ConfigError("config string: sets=12 leaves s- and p-MLKD no second level; choose other methods or sets")
    return common.experiment("tables", options, networks)


def _once(options: common.Options) -> dict[str, ConfigDict]:
    """Returns the SE-ResNets on 12 leads and on every chosen set, and those that the 12-lead one teaches."""
    train = _given(epochs=options.numbers["teacher_epochs"])
    networks = {"teacher12": common.network("seresnet", LEADS, **train)}
    for count in options.words["sets"]:
        if count != "12":
            leads = LEAD_SETS[count]
            networks[f"teacher{count}"] = common.network("seresnet", leads, **train)
            networks[f"teacher{count}_taught"] = common.network("seresnet", leads, {"teacher12": 1.0}, **train)
    return networks


def _run(options: common.Options, method: str, count: str, seed: int) -> ConfigDict:
    """Returns one network of a method on a lead set."""
    train = _given(epochs=options.numbers["student_epochs"], learning_rate=options.numbers["student_rate"])
    teachers, fields = {
        "cnn1d": ({}, {}),
        "alone": ({}, {}),
        "vanilla": ({"teacher12": 1.0}, {}),
        "fitnet": ({"teacher12": 1.0}, fitnet.recipe(options)),
        "semckd": ({"teacher12": 1.0}, semckd.recipe()),
        "pskd": ({}, pskd.recipe(options)),
        "smlkd": ({"teacher12": 0.6, f"teacher{count}_taught": 0.4}, {}),
        "pmlkd": ({"teacher12": 0.6, f"teacher{count}": 0.4}, {}),
    }[method]
    model = "cnn1d" if method == "cnn1d" else "lrhnet"
    return common.network(model, LEAD_SETS[count], teachers, seed=seed, recipe=method, **fields, **train)


def _given(**fields: Any) -> dict[str, Any]:
    return {field: value for field, value in fields.items() if value is not None}
