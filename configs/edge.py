"""One student in sizes for a microcontroller: whole, with a half and a quarter of its inner channels, and a sparse one.

    python -m data_builders.build physionet2017 --raw_dir=RAW --data_dir=DATA
    python -m lrhnet_jax.main --config=configs/edge.py --config.data_dir=DATA --workdir=runs/edge
    python -m benchmarks.mcu runs/edge/networks/{whole,half,quarter} --data_dir=DATA

lrhnet_wide on one lead and the four rhythms of the Challenge 2017. `half` and `quarter` lose channels, whatever that
costs, and so are smaller and faster in C as well; `ticket` keeps a quarter of the weights and is only stored smaller.
Key of its own: `student_epochs` (40), of each training. Who loses channels is trained before and after, so `whole`
trains twice as long as the key says.
"""

from typing import Any

from configs import common, student


def get_config(arg: str | None = None):
    options = common.parse(arg, leads="1", dataset="physionet2017", student_epochs=int)
    epochs = options.numbers["student_epochs"] or (None if options.preset == "demo" else 40)
    at_any_cost: dict[str, Any] = {"max_rounds": 1, "tolerance": 0.9}
    prunes: dict[str, dict[str, Any] | None] = {
        "whole": None,
        "half": common.pruning(unit="channel", rate=0.5, goal=2.0, **at_any_cost),
        "quarter": common.pruning(unit="channel", rate=0.75, goal=4.0, **at_any_cost),
        "ticket": common.pruning(rate=0.75, goal=4.0, **at_any_cost),
    }
    networks = {}
    for name, prune in prunes.items():
        train: dict[str, Any] = {"epochs": epochs if prune else 2 * epochs} if epochs else {}
        networks[name] = common.network("lrhnet_wide", options.leads, prune=prune, **train)
    config = common.experiment("edge", options, networks)
    student.set_training(config, window=4096)
    return config
