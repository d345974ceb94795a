"""p-MLKD, parallel multi-level knowledge distillation (LRH-Net): the main job.

    python -m lrhnet_jax.main --config=configs/pmlkd.py                      # 2 leads, fold 0
    python -m lrhnet_jax.main --config=configs/pmlkd.py:leads=3,fold=all
    python -m lrhnet_jax.main --config=configs/pmlkd.py:preset=demo          # minutes, on the synthetic set

The student learns from a 12-lead teacher and from a teacher on its own leads, each trained on its own (in parallel).
Data: Challenge 2020. The paper reports, on one fold, a Challenge metric (micro-F1) of .6036 (.7251) on 3 leads and
.5843 (.7266) on 2 leads.
"""

from configs import common
from lrhnet_jax.ecg.leads import LEADS


def get_config(arg: str | None = None):
    options = common.parse(arg)
    own = common.own_teacher(options)
    return common.experiment(
        "pmlkd",
        options,
        {
            "teacher12": common.network("seresnet", LEADS),
            own: common.network("seresnet", options.leads),
            "student": common.network("lrhnet", options.leads, teachers={"teacher12": 0.6, own: 0.4}),
        },
    )
