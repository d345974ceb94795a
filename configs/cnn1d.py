"""The 1D-CNN baseline on its own.

    python -m lrhnet_jax.main --config=configs/cnn1d.py:leads=2

Data: Challenge 2020. The paper reports, on one fold, a Challenge metric (micro-F1) of .5866 (.6950) on 12,
.5692 (.6761) on 3 and .5587 (.6716) on 2 leads.
"""

from configs import common


def get_config(arg: str | None = None):
    options = common.parse(arg, leads="2")
    return common.experiment("cnn1d", options, {"cnn1d": common.network("cnn1d", options.leads)})
