"""MVKT-ECG: a multi-lead teacher and a single-lead student, by multi-label distillation and contrastive transfer.

    python -m lrhnet_jax.main --config=configs/mvkt.py              # the student reads lead I
    python -m lrhnet_jax.main --config=configs/mvkt.py:leads=V1

The student's loss is BCE + alpha * MKD + beta * CLT: the KL of every class on its own (MKD, alpha 1, T 1), and
contrastive representation distillation whose negatives share no diagnosis with the anchor (CLT, beta .8, K 1024).
"""

from configs import common
from lrhnet_jax import ecg


def get_config(arg: str | None = None):
    options = common.parse(arg, leads="1")
    student = common.network(
        "seresnet",
        options.leads,
        teachers={"teacher12": 1.0},
        method=common.method("clt"),
        alpha=1.0,
        kl_weight=1.0,
        logit_kl="sigmoid",
        temperature=1.0,
        t_squared=True,
    )
    return common.experiment("mvkt", options, {"teacher12": common.network("seresnet", ecg.LEADS), "student": student})
