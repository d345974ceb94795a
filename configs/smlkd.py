"""s-MLKD, sequential multi-level knowledge distillation (LRH-Net).

    python -m lrhnet_jax.main --config=configs/smlkd.py:leads=3

As configs/pmlkd.py, but the teacher on the student's leads was itself taught by the 12-lead teacher.
Data: Challenge 2020. The paper reports, on one fold, a Challenge metric (micro-F1) of .6039 (.7344) on 3 leads and
.5836 (.7143) on 2 leads.
"""

from configs import common
from lrhnet_jax.ecg.leads import LEADS


def get_config(arg: str | None = None):
    options = common.parse(arg)
    own = common.own_teacher(options)
    return common.experiment(
        "smlkd",
        options,
        {
            "teacher12": common.network("seresnet", LEADS),
            own: common.network("seresnet", options.leads, teachers={"teacher12": 1.0}),
            "student": common.network("lrhnet", options.leads, teachers={"teacher12": 0.6, own: 0.4}),
        },
    )
