"""MVKT-ECG: a multi-lead teacher and a single-lead student, by multi-label distillation and contrastive transfer.

    python -m lrhnet_jax.main --config=configs/mvkt.py              # PTB-XL's superclasses; the student reads lead I
    python -m lrhnet_jax.main --config=configs/mvkt.py:data=cpsc2018,leads=V1,depth=18
    python -m lrhnet_jax.main --config=configs/mvkt.py:preset=demo  # minutes, on the synthetic set

The student's loss is BCE + alpha * MKD + beta * CLT: the KL of every class on its own (MKD, alpha 1, T 1), and
contrastive representation distillation whose negatives share no diagnosis with the anchor (CLT, beta .8, K 1024). Both
networks are xresnet1d of `depth` layers and `width` channels in the first stage. Data: PTB-XL's five superclasses (or
CPSC 2018's nine classes) at 100 Hz. A second-hand figure for lead I on the whole of PTB-XL is a macro AUROC of .843.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from configs import common
from lrhnet_jax.ecg.leads import LEADS

DATASETS = ("ptbxl", "cpsc2018")
MKD = {"alpha": 1.0, "kl_weight": 1.0, "logit_kl": "sigmoid", "temperature": 1.0, "t_squared": True}
CLT = {"method": common.method("clt")}


def get_config(arg: str | None = None):
    options = common.parse(arg, leads="1", dataset=DATASETS, depth=101, width=64, epochs=100)
    return experiment("mvkt", options, {"teacher12": teacher(options), "student": student(options, **MKD, **CLT)})


def teacher(options: common.Options) -> ConfigDict:
    """Returns the node of the teacher, which reads twelve leads."""
    return common.network("xresnet1d", LEADS, options=_size(options))


def student(options: common.Options, **train: Any) -> ConfigDict:
    """Returns the node of a student; without `train` it learns from labels alone."""
    teachers = {"teacher12": 1.0} if train else {}
    return common.network("xresnet1d", options.leads, teachers=teachers, options=_size(options), **train)


def _size(options: common.Options) -> dict[str, Any]:
    if options.preset == "demo":
        return {"depth": 18, "width": 16}
    return {"depth": options.numbers["depth"], "width": options.numbers["width"]}


def experiment(name: str, options: common.Options, networks: Mapping[str, ConfigDict]) -> ConfigDict:
    """Returns the config of such networks on ten seconds at 100 Hz, with the published recipe.

    Its warm-up and its two drops of the learning rate come at the same shares of other numbers of epochs, too.
    """
    config = common.experiment(name, options, networks)
    config.preprocess = "100hz"
    config.window = 1000
    if options.preset == "demo":
        for fields in config.networks.values():
            fields.train.epochs = 8
    else:
        epochs = options.numbers["epochs"]
        config.train.update(epochs=epochs, batch_size=32, weight_decay=1e-4)
        warmup, *milestones = (round(share * epochs) for share in (0.15, 0.4, 0.7))
        config.train.schedule.update(name="multistep", milestones=tuple(milestones), warmup_epochs=warmup)
    return config
