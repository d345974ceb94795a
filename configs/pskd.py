"""PS-KD, progressive self-distillation: LRH-Net's targets are mixed with its own predictions of the epoch before.

    python -m lrhnet_jax.main --config=configs/pskd.py:leads=3

Kim et al. 2021: the predictions' weight grows linearly to .8 in the last epoch; there is no teacher. Data: Challenge
2020. LRH-Net's paper reports, on one fold, a Challenge metric (micro-F1) of .5781 (.6862) on 12, .5580 (.6805) on 3 and
.5558 (.6803) on 2 leads; in its code the weight compounds to nothing, which preset=reference does, too.
"""

from typing import Any

from configs import common


def get_config(arg: str | None = None):
    options = common.parse(arg)
    return common.experiment("pskd", options, {"student": common.network("lrhnet", options.leads, **recipe(options))})


def recipe(options: common.Options) -> dict[str, Any]:
    """Returns the student's training fields."""
    return {"method": common.method("pskd", compounding=options.preset == "reference")}
