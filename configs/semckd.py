"""Cross-layer distillation (SemCKD): every layer of the student learns from all layers of its teacher, by attention.

    python -m lrhnet_jax.main --config=configs/semckd.py:leads=3

Chen et al. 2021: BCE + KL at T = 4 times T^2 + 40 times the attended error of the maps, with one 12-lead teacher. Data:
Challenge 2020. LRH-Net's paper reports as "cross-layer", on one fold, a Challenge metric (micro-F1) of .6017 (.7334) on
12, .5904 (.7328) on 3 and .5713 (.7069) on 2 leads.
"""

from typing import Any

from configs import common
from lrhnet_jax.ecg.leads import LEADS


def get_config(arg: str | None = None):
    options = common.parse(arg)
    return common.experiment(
        "semckd",
        options,
        {
            "teacher12": common.network("seresnet", LEADS),
            "student": common.network("lrhnet", options.leads, teachers={"teacher12": 1.0}, **recipe()),
        },
    )


def recipe() -> dict[str, Any]:
    """Returns the student's training fields."""
    return {
        "method": common.method("semckd"),
        "alpha": 1.0,
        "kl_weight": 1.0,
        "temperature": 4.0,
        "t_squared": True,
    }
