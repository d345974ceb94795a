"""Vanilla knowledge distillation: a 12-lead teacher and the student.

    python -m lrhnet_jax.main --config=configs/vanilla_kd.py:leads=2

Data: Challenge 2020. The paper reports, on one fold, a Challenge metric (micro-F1) of .6067 (.7341) on 12,
.5949 (.7304) on 3 and .5727 (.7118) on 2 leads.
"""

from configs import common
from lrhnet_jax.ecg.leads import LEADS


def get_config(arg: str | None = None):
    options = common.parse(arg)
    return common.experiment(
        "vanilla_kd",
        options,
        {
            "teacher12": common.network("seresnet", LEADS),
            "student": common.network("lrhnet", options.leads, teachers={"teacher12": 1.0}),
        },
    )
