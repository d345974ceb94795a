"""LTH-ECG: how small the 34-layer network gets before it loses more than 1 % of its score; with controls.

    python -m lrhnet_jax.main --config=configs/lth.py                        # one lead, 142 times smaller if it can be
    python -m lrhnet_jax.main --config=configs/lth.py:width=8,goal=20        # a narrower network, which is said so
    python -m lrhnet_jax.main --config=configs/lth.py:preset=demo            # minutes, on the synthetic set
    python -m lrhnet_jax.main --config=configs/lth.py --config.networks.ticket.prune.schedule=root \
        --config.networks.ticket.prune.rate=0.3 --config.networks.ticket.prune.max_rounds=400

Five networks: `dense`; `ticket`, whose weights are pruned in rounds and rewound; `random_mask` and `random_init`, the
same number of weights with a random mask, or with the ticket's mask from another initialisation; and `channels`, from
which whole channels are removed, which alone makes it faster. docs/lth.md has the algorithm.

Published (Challenge 2017, 8,528 recordings): 142 times fewer parameters at an F1 loss under 1 %.
"""

import functools

from configs import common


def get_config(arg: str | None = None):
    options = common.parse(arg, leads="1", dataset="physionet2017", width=32, goal=142.0)
    demo = options.preset == "demo"
    network = functools.partial(
        common.network,
        "resnet34",
        options.leads,
        options={"width": min(options.numbers["width"], 4) if demo else options.numbers["width"]},
    )
    rounds = {"max_rounds": 2, "rate": 0.5} if demo else {}
    control = functools.partial(common.pruning, ticket="ticket")
    config = common.experiment(
        "lth",
        options,
        {
            "dense": network(),
            "ticket": network(prune=common.pruning(goal=options.numbers["goal"], **rounds)),
            "random_mask": network(prune=control(control="random_mask")),
            "random_init": network(prune=control(control="random_init")),
            "channels": network(prune=common.pruning(unit="channel", **{"max_rounds": 20, **rounds})),
        },
    )
    if demo:
        for fields in config.networks.values():
            fields.train.epochs = 2
    return config
