"""FitNet: the student first learns to predict a middle layer of its teacher (hints), then from labels and logits.

    python -m lrhnet_jax.main --config=configs/fitnet.py:leads=3
    python -m lrhnet_jax.main --config=configs/fitnet.py --config.networks.student.train.method.hint_share=0.0  # joint
    python -m lrhnet_jax.main --config=configs/fitnet.py:preset=reference    # random maps in place of hints

Romero et al. 2015, with one 12-lead teacher. Data: Challenge 2020. LRH-Net's paper reports under this name, on one
fold, a Challenge metric (micro-F1) of .6046 (.7222) on 12, .5888 (.7261) on 3 and .5720 (.7022) on 2 leads; its code
trains on random, untrained maps instead of hints, which preset=reference does, too.
"""

from typing import Any

from configs import common
from lrhnet_jax.ecg.leads import LEADS


def get_config(arg: str | None = None):
    options = common.parse(arg)
    return common.experiment(
        "fitnet",
        options,
        {
            "teacher12": common.network("seresnet", LEADS),
            "student": common.network("lrhnet", options.leads, teachers={"teacher12": 1.0}, **recipe(options)),
        },
    )


def recipe(options: common.Options) -> dict[str, Any]:
    """Returns the student's training fields."""
    if options.preset == "reference":
        return {"method": common.method("random_map"), "kl_weight": 0.35}
    return {"method": common.method("fitnet")}
