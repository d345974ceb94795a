"""Does distillation pay? lrhnet_wide, or LRH-Net, alone and taught in five ways, on few leads and over seeds.

    python -m lrhnet_jax.main --config=configs/student_proof.py --config.data_dir=DATA --workdir=runs/proof
    python -m lrhnet_jax.main --config=configs/student_proof.py:models=lrhnet,methods=alone+start,seeds=3 --workdir=...
    python -m benchmarks.gains runs/proof --data_dir=DATA           # gains with intervals over seeds and patients

Keys of its own: `models` (lrhnet_wide), `methods` (all of METHODS) and `sets` (2+1), joined by '+'; `seeds` (5);
`teacher_epochs` (20) and `student_epochs` (30), of every student, alone or taught.

One split, one optimiser, one budget for all: what differs is what a student learns from. The teachers are of
lrhnet_wide, one on 12 leads (`teacher0`) and for p-MLKD one on the student's own. Vanilla KD and p-MLKD are the paper's
(softmax, T = 7, alpha .3), SemCKD is its authors'; `cross_fit` is the recipe of configs/student.py with one teacher;
`start` learns from labels alone, but starts from the variables of a 12-lead network of its own model. Everyone draws
fresh windows, and is scored as the last epoch left it: no luck with an epoch. Data: Challenge 2020, preprocess=monitor.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common, semckd, student
from lrhnet_jax.ecg.leads import LEAD_SETS, LEADS

METHODS = ("alone", "vanilla", "pmlkd", "semckd", "cross_fit", "start")
MODELS = ("lrhnet_wide", "lrhnet")
SETS = ("3", "2", "1")
DEFAULTS = {"models": "lrhnet_wide", "sets": "2+1"}  # of keys whose every word would be too much


def get_config(arg: str | None = None):
    words = {"models": MODELS, "methods": METHODS, "sets": SETS}
    given = [arg] if arg else []
    given += [f"{key}={value}" for key, value in DEFAULTS.items() if f"{key}=" not in (arg or "")]
    options = common.parse(",".join(given), leads=None, words=words, seeds=5, teacher_epochs=int, student_epochs=int)
    methods, sets, seeds = options.words["methods"], options.words["sets"], range(options.numbers["seeds"])
    networks = {}
    if set(methods) - {"alone", "start"} or ("start" in methods and "lrhnet_wide" in options.words["models"]):
        networks["teacher0"] = _teacher(options, LEADS)
    if "start" in methods:  # one starts from a network of its own model
        others = (model for model in options.words["models"] if model != "lrhnet_wide")
        networks |= {f"teacher0_{model}": _teacher(options, LEADS, model) for model in others}
    if "pmlkd" in methods:
        networks |= {f"own{count}": _teacher(options, LEAD_SETS[count]) for count in sets}
    for seed in seeds:  # named so that they train a seed after the other: what is there early can be compared
        for count in sets:
            for model in options.words["models"]:
                for method in methods:
                    networks[f"seed{seed}_{method}{count}_{model}"] = _student(options, model, method, count, seed)
    config = common.experiment("student_proof", options, networks)
    student.set_training(config, window=2048, **student.AUGMENT)
    config.evaluation.train_only = student.TRAIN_ONLY
    if options.preset == "paper":
        config.preprocess = "monitor"
    return config


def _teacher(options: common.Options, leads: tuple[str, ...], model: str = "lrhnet_wide") -> ConfigDict:
    return common.network(model, leads, **student.train_for(options, "teacher_epochs", 20))


def _student(options: common.Options, model: str, method: str, count: str, seed: int) -> ConfigDict:
    teachers: dict[str, float]
    fields: dict[str, Any]
    teachers, fields = {
        "alone": ({}, {}),
        "vanilla": ({"teacher0": 1.0}, {}),
        "pmlkd": ({"teacher0": 0.6, f"own{count}": 0.4}, {}),
        "semckd": ({"teacher0": 1.0}, semckd.recipe()),
        "cross_fit": ({"teacher0": 1.0}, student.RECIPE),
        "start": ({}, {}),
    }[method]
    train = student.train_for(options, "student_epochs", 30)
    start = ("teacher0" if model == "lrhnet_wide" else f"teacher0_{model}") if method == "start" else ""
    return common.network(model, LEAD_SETS[count], teachers, seed=seed, recipe=method, start=start, **fields, **train)
