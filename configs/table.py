"""LRH-Net alone, vanilla KD, s-MLKD and p-MLKD on 2 and 3 leads, several students each, over shared teachers.

    python -m lrhnet_jax.main --config=configs/table.py
    python -m lrhnet_jax.main --config=configs/table.py:seeds=5,teacher_epochs=90,student_epochs=90,fold=all
    python -m lrhnet_jax.main --config=configs/table.py:student_rate=3e-3    # learning rate of the students

One graph: five teachers, and for each method, lead set and seed a student. Students of one method differ only in their
seed (their initialisation, dropout, order and windows).
"""

from configs import common
from lrhnet_jax import ecg

LEADS = ("2", "3")


def get_config(arg: str | None = None):
    options = common.parse(arg, seeds=3, teacher_epochs=90, student_epochs=90, student_rate=None)
    seeds, epochs = options.numbers["seeds"], options.numbers["teacher_epochs"]
    student = {"epochs": options.numbers["student_epochs"]}
    if options.numbers["student_rate"]:
        student["learning_rate"] = options.numbers["student_rate"]
    networks = {"teacher12": common.network("seresnet", ecg.LEADS, epochs=epochs)}
    for count in LEADS:
        leads = ecg.LEAD_SETS[count]
        alone, taught = f"teacher{count}", f"teacher{count}_taught"
        networks[alone] = common.network("seresnet", leads, epochs=epochs)
        networks[taught] = common.network("seresnet", leads, teachers={"teacher12": 1.0}, epochs=epochs)
        methods = {
            "alone": {},
            "vanilla": {"teacher12": 1.0},
            "smlkd": {"teacher12": 0.6, taught: 0.4},
            "pmlkd": {"teacher12": 0.6, alone: 0.4},
        }
        for method, teachers in methods.items():
            for seed in range(seeds):
                networks[f"{method}{count}_{seed}"] = common.network("lrhnet", leads, teachers=teachers, **student)
    return common.experiment("table", options, networks)
