"""Does distillation pay? lrhnet_wide, or LRH-Net, alone and taught in four ways, on few leads and over seeds.

    python -m lrhnet_jax.main --config=configs/student_proof.py --config.data_dir=DATA --workdir=runs/proof
    python -m lrhnet_jax.main --config=configs/student_proof.py:models=lrhnet,methods=alone+taught,seeds=3 --workdir=...
    python -m benchmarks.gains runs/proof --data_dir=DATA           # gains with intervals over seeds and patients

Keys of its own: `models` (lrhnet_wide), `methods` (all of METHODS) and `sets` (2+1), joined by '+'; `seeds` (5);
`teacher_epochs` (20) and `student_epochs` (30), of every student, alone or taught.

One split, one optimiser, one budget for all: what differs is what a student learns from. The teachers are of
lrhnet_wide, one on 12 leads (`teacher0`) and for p-MLKD one on the student's own. Vanilla KD and p-MLKD are the paper's
(softmax, T = 7, alpha .3), SemCKD is its authors'; `taught` is the recipe of configs/student.py. Everyone draws fresh
windows, and is scored as the last epoch left it: no luck with an epoch. Data: Challenge 2020, preprocess=monitor.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common, semckd, student
from lrhnet_jax.ecg.leads import LEAD_SETS, LEADS

METHODS = ("alone", "vanilla", "pmlkd", "semckd", "taught")
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
    if set(methods) - {"alone"}:
        networks["teacher0"] = _teacher(options, LEADS)
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


def _teacher(options: common.Options, leads: tuple[str, ...]) -> ConfigDict:
    return common.network("lrhnet_wide", leads, **student.train_for(options, "teacher_epochs", 20))


def _student(options: common.Options, model: str, method: str, count: str, seed: int) -> ConfigDict:
    teachers: dict[str, float]
    fields: dict[str, Any]
    teachers, fields = {
        "alone": ({}, {}),
        "vanilla": ({"teacher0": 1.0}, {}),
        "pmlkd": ({"teacher0": 0.6, f"own{count}": 0.4}, {}),
        "semckd": ({"teacher0": 1.0}, semckd.recipe()),
        "taught": ({"teacher0": 1.0}, student.RECIPE),
    }[method]
    train = student.train_for(options, "student_epochs", 30)
    return common.network(model, LEAD_SETS[count], teachers, seed=seed, recipe=method, **fields, **train)
