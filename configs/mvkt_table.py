"""What each of MVKT-ECG's transfers gains: a one-lead student alone, with MKD, with CLT, with both, several seeds.

    python -m lrhnet_jax.main --config=configs/mvkt_table.py
    python -m lrhnet_jax.main --config=configs/mvkt_table.py:seeds=3,depth=18,width=32,epochs=30 \
        --config.evaluation.protocol=published --config.fold=4
    python -m benchmarks.distillation WORKDIR/results.json

One graph: the teacher of twelve leads, and for each transfer and seed a student. Students of one kind differ only in
their seed (their initialisation, order and windows). Data and recipe: configs/mvkt.py.
"""

from typing import Any

from configs import common, mvkt


def get_config(arg: str | None = None):
    options = common.parse(arg, leads="1", dataset=mvkt.DATASETS, depth=101, width=64, epochs=100, seeds=3)
    numbers, count = options.numbers, len(options.leads)
    transfers: dict[str, dict[str, Any]] = {
        "alone": {},
        "mkd": mvkt.MKD,
        "clt": {**mvkt.MKD, "kl_weight": 0.0, **mvkt.CLT},
        "both": {**mvkt.MKD, **mvkt.CLT},
    }
    networks = {"teacher12": mvkt.teacher(options)}
    for transfer, train in transfers.items():
        for seed in range(numbers["seeds"]):
            networks[f"{transfer}{count}_{seed}"] = mvkt.student(options, seed=seed, recipe=transfer, **train)
    return mvkt.experiment("mvkt_table", options, networks)
