"""Students for deployment: lrhnet_wide on 12, 3, 2 and 1 leads, taught by an ensemble of its wider sister on 12.

    python -m data_builders.build physionet2020 --raw_dir=RAW/training --data_dir=DATA --preprocess=monitor
    python -m lrhnet_jax.main --config=configs/student.py --config.data_dir=DATA --workdir=runs/student
    python -m lrhnet_jax.main --config=configs/student.py:sets=2+1,seeds=5 --config.data_dir=DATA --workdir=runs/proof

Keys of its own: `methods`, alone and taught; `sets`, the students' leads; `seeds` of every student (1); `teachers`, how
many are averaged (2); `teacher_epochs` and `student_epochs` (30 each).

Students see a fresh window of 8 s of a record at every draw, and learn labels and teachers half and half. What a
teacher says of a record comes from a copy of it that was trained without the record's patient (`train.cross_fit`): of
records it was trained on, a teacher says little more than the labels. Records of the source ptb-xl-filtered
(RAW/training/ptb-xl-filtered), which exist only band-passed, train in every fold and are never scored: their patients
are not known. How the network was found: benchmarks/student_search.py; what the recipe gains: configs/student_proof.py;
docs/student.md has both.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common
from lrhnet_jax.ecg.leads import LEAD_SETS, LEADS

METHODS = ("alone", "taught")
SETS = ("12", "3", "2", "1")
TRAIN_ONLY = ("ptb-xl-filtered",)
AUGMENT = {"gain": 0.2, "noise": 0.1, "lead_drop": 0.1}
# The target is the mean of label and teacher's probability: .5 BCE + .5 KL at T = 1 is that, up to a constant.
RECIPE: dict[str, Any] = {
    "alpha": 0.5,
    "kl_weight": 0.5,
    "temperature": 1.0,
    "logit_kl": "sigmoid",
    "mean_logits": True,
    "cross_fit": 4,
}


def get_config(arg: str | None = None):
    words = {"methods": METHODS, "sets": SETS}
    options = common.parse(arg, leads=None, words=words, seeds=1, teachers=2, teacher_epochs=int, student_epochs=int)
    networks = ensemble(options, LEADS, epochs=30) if "taught" in options.words["methods"] else {}
    teachers = list(networks)
    for count in options.words["sets"]:
        networks |= students(options, LEAD_SETS[count], teachers, RECIPE, epochs=30, suffix=count)
    config = common.experiment("student", options, networks)
    set_training(config, window=2048, **AUGMENT)
    config.evaluation.train_only = TRAIN_ONLY
    if options.preset == "paper":
        config.preprocess = "monitor"
    return config


def ensemble(options: common.Options, leads: tuple[str, ...], epochs: int) -> dict[str, ConfigDict]:
    """Returns the teachers: lrhnet_wide of twice the width, from several seeds."""
    return {
        f"teacher{seed}": common.network(
            "lrhnet_wide", leads, options={"width": 2}, seed=seed, **train_for(options, "teacher_epochs", epochs)
        )
        for seed in range(options.numbers["teachers"])
    }


def students(
    options: common.Options,
    leads: tuple[str, ...],
    teachers: list[str],
    recipe: dict[str, Any],
    epochs: int,
    suffix: str = "",
) -> dict[str, ConfigDict]:
    """Returns the students of a lead set, METHOD SUFFIX _ SEED, each trained as long alone as when taught."""
    return {
        f"{method}{suffix}_{seed}": common.network(
            "lrhnet_wide",
            leads,
            {name: 1 / len(teachers) for name in teachers} if method == "taught" else {},
            seed=seed,
            recipe=method,
            **(recipe if method == "taught" else {}),
            **train_for(options, "student_epochs", epochs),
        )
        for seed in range(options.numbers["seeds"])
        for method in options.words["methods"]
    }


def set_training(config: ConfigDict, window: int, **augment: float) -> None:
    """Sets what lrhnet_wide was found to train best with; the demo keeps its own window and rate.

    The last epoch is kept: a validation part as small as here chooses an epoch by luck.

    Args:
      augment: of `config.train.augment`.
    """
    config.windows_per_record = 0
    config.teacher_logits = "record"
    config.train.keep = "last"
    config.train.augment.update(augment)
    if config.preset != "demo":
        config.window = window
        config.train.learning_rate = 3e-3
        config.train.schedule.name = "cosine"


def train_for(options: common.Options, key: str, default: int) -> dict[str, Any]:
    """Returns the field `epochs` as the key has it, or the default; the demo has its own default."""
    given = options.numbers[key] or (None if options.preset == "demo" else default)
    return {"epochs": given} if given else {}
