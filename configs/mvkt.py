"""MVKT-ECG: a multi-lead teacher and a single-lead student, by multi-label distillation and contrastive transfer.

    python -m lrhnet_jax.main --config=configs/mvkt.py              # PTB-XL's superclasses; the student reads lead I
    python -m lrhnet_jax.main --config=configs/mvkt.py:data=cpsc2018,leads=V1,depth=18
    python -m lrhnet_jax.main --config=configs/mvkt.py:preset=demo  # minutes, on the synthetic set

The student's loss is BCE + alpha * MKD + beta * CLT: the KL of every class on its own (MKD, alpha 1, T 1), and
contrastive representation distillation whose negatives share no diagnosis with the anchor (CLT, beta .8, K 1024). Both
networks are xresnet1d of `depth` layers. Data: PTB-XL's five superclasses (or CPSC 2018's nine classes) at 100 Hz.
A second-hand figure for lead I on the whole of PTB-XL is a macro AUROC of .843.
"""

from typing import Any

from configs import common
from lrhnet_jax import ecg


def get_config(arg: str | None = None):
    options = common.parse(arg, leads="1", dataset=("ptbxl", "cpsc2018"), depth=101)
    demo = options.preset == "demo"
    network: dict[str, Any] = {"depth": 18, "width": 16} if demo else {"depth": options.numbers["depth"]}
    student = common.network(
        "xresnet1d",
        options.leads,
        teachers={"teacher12": 1.0},
        options=network,
        method=common.method("clt"),
        alpha=1.0,
        kl_weight=1.0,
        logit_kl="sigmoid",
        temperature=1.0,
        t_squared=True,
    )
    networks = {"teacher12": common.network("xresnet1d", ecg.LEADS, options=network), "student": student}
    config = common.experiment("mvkt", options, networks)
    config.preprocess = "100hz"
    config.window = 1000  # ten seconds
    if demo:
        for fields in config.networks.values():
            fields.train.epochs = 8
    else:
        config.train.update(epochs=100, batch_size=32, weight_decay=1e-4)
        config.train.schedule.update(name="multistep", milestones=(40, 70), warmup_epochs=15)
    return config
