"""Pruning inside a distillation graph: LRH-Nets taught by a 12-lead SE-ResNet, whole and pruned.

    python -m lrhnet_jax.main --config=configs/lth_lrhnet.py                 # 2 leads
    python -m lrhnet_jax.main --config=configs/lth_lrhnet.py:preset=demo     # minutes, on the synthetic set

Every round of a search is taught as the whole student is. `ticket` keeps as few weights, and `channels` as few inner
channels, as a loss of 1 % of validation score allows. No publication reports this.
"""

import functools

from configs import common
from lrhnet_jax.ecg.leads import LEADS


def get_config(arg: str | None = None):
    options = common.parse(arg)
    student = functools.partial(common.network, "lrhnet", options.leads, teachers={"teacher12": 1.0})
    rounds = {"max_rounds": 3, "rate": 0.5} if options.preset == "demo" else {}
    return common.experiment(
        "lth_lrhnet",
        options,
        {
            "teacher12": common.network("seresnet", LEADS),
            "student": student(),
            "ticket": student(prune=common.pruning(**rounds)),
            "channels": student(prune=common.pruning(unit="channel", **rounds)),
        },
    )
