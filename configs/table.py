"""LRH-Net alone, vanilla KD, s-MLKD and p-MLKD on 2 and 3 leads, several students each, over shared teachers.

    python -m lrhnet_jax.main --config=configs/table.py
    python -m lrhnet_jax.main --config=configs/table.py:seeds=5,teacher_epochs=90,student_epochs=90,fold=all

One graph: five teachers, and for each method, lead set and seed a student. Students of one method differ only in their
seed (their initialisation, dropout, order and windows).
"""

from configs import common
from lrhnet_jax import ecg

LEADS = ("2", "3")


def get_config(arg: str | None = None):
    options = common.parse(arg, seeds=3, teacher_epochs=90, student_epochs=90)
    seeds, epochs = options.counts["seeds"], options.counts["teacher_epochs"]
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
                networks[f"{method}{count}_{seed}"] = common.network(
                    "lrhnet", leads, teachers=teachers, epochs=options.counts["student_epochs"]
                )
    return common.experiment("table", options, networks)
