"""LRH-Net on its own, learning from labels alone.

    python -m lrhnet_jax.main --config=configs/lrhnet.py:leads=2

Data: Challenge 2020. The paper reports, on one fold, a Challenge metric (micro-F1) of .6046 (.7276) on 12,
.5849 (.7133) on 3 and .5666 (.7021) on 2 leads.
"""

from configs import common


def get_config(arg: str | None = None):
    options = common.parse(arg, leads="2")
    return common.experiment("lrhnet", options, {"lrhnet": common.network("lrhnet", options.leads)})
