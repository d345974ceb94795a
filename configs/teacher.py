"""The SE-ResNet teacher on its own.

    python -m lrhnet_jax.main --config=configs/teacher.py:leads=12

Data: Challenge 2020. The paper reports, on one fold, a Challenge metric (micro-F1) of .6743 (.7665) on 12,
.6537 (.7542) on 3 and .6334 (.7486) on 2 leads.
"""

from configs import common


def get_config(arg: str | None = None):
    options = common.parse(arg, leads="12")
    return common.experiment("teacher", options, {"teacher": common.network("seresnet", options.leads)})
