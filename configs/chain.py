"""A deeper chain: 12 -> 6 -> 3 -> 2 -> 1 leads, every network taught by all that read more leads than it does.

    python -m lrhnet_jax.main --config=configs/chain.py

An example of a graph that no paper names. The levels are SE-ResNets; the last one, on lead I, is LRH-Net (`leads`
changes what it reads).
"""

from configs import common
from lrhnet_jax.ecg.leads import LEAD_SETS

LEVELS = ("12", "6", "3", "2")


def get_config(arg: str | None = None):
    options = common.parse(arg, leads="1")
    networks = {}
    above: list[str] = []
    for level in LEVELS:
        networks[f"teacher{level}"] = common.network("seresnet", LEAD_SETS[level], teachers=_evenly(above))
        above.append(f"teacher{level}")
    networks["student"] = common.network("lrhnet", options.leads, teachers=_evenly(above))
    return common.experiment("chain", options, networks)


def _evenly(teachers: list[str]) -> dict[str, float]:
    return {teacher: 1 / len(teachers) for teacher in teachers}
