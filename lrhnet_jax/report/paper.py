"""The LRH-Net paper's results, to print beside ours. In percent: Challenge metric and micro-F1.

The paper scores one of five folds of Challenge 2020 (43,101 recordings, 24 classes), without seeds or intervals, and
its reference code chooses thresholds and epoch on the fold that it scores.
"""

from collections.abc import Mapping

from lrhnet_jax.ecg.leads import LEAD_SETS, LEADS
from lrhnet_jax.report.schema import NetworkDescription

NOTE = (
    "Paper: LRH-Net, one fold of Challenge 2020 (43,101 recordings), no seeds or intervals, thresholds and epoch "
    "chosen on the scored fold."
)

INFERENCE = "Its inference times, of one pass at batch 64 on a P100: SE-ResNet 3.43 s, 1D-CNN .47 s, LRH-Net .84 s."

MVKT_TASK = "ptbxl"
MVKT_NOTE = (
    "MVKT-ECG with both transfers, a student on lead I, on the whole of PTB-XL (five superclasses): a macro AUROC of "
    "84.3. The figure is second-hand and unverified: a reminder, not a comparison."
)

LABELLED_RECORDS = 37_749  # of the 43,101, those that carry a scored class

# (method, lead set) -> (Challenge metric, micro-F1)
RESULTS: dict[tuple[str, str], tuple[float, float]] = {
    ("SE-ResNet", "12"): (67.43, 76.65),
    ("SE-ResNet", "3"): (65.37, 75.42),
    ("SE-ResNet", "2"): (63.34, 74.86),
    ("1D-CNN", "12"): (58.66, 69.50),
    ("1D-CNN", "3"): (56.92, 67.61),
    ("1D-CNN", "2"): (55.87, 67.16),
    ("LRH-Net", "12"): (60.46, 72.76),
    ("LRH-Net", "3"): (58.49, 71.33),
    ("LRH-Net", "2"): (56.66, 70.21),
    ("FitNet", "12"): (60.46, 72.22),
    ("FitNet", "3"): (58.88, 72.61),
    ("FitNet", "2"): (57.20, 70.22),
    ("PS-KD", "12"): (57.81, 68.62),
    ("PS-KD", "3"): (55.80, 68.05),
    ("PS-KD", "2"): (55.58, 68.03),
    ("Cross-layer", "12"): (60.17, 73.34),
    ("Cross-layer", "3"): (59.04, 73.28),
    ("Cross-layer", "2"): (57.13, 70.69),
    ("Vanilla KD", "12"): (60.67, 73.41),
    ("Vanilla KD", "3"): (59.49, 73.04),
    ("Vanilla KD", "2"): (57.27, 71.18),
    ("s-MLKD", "3"): (60.39, 73.44),
    ("s-MLKD", "2"): (58.36, 71.43),
    ("p-MLKD", "3"): (60.36, 72.51),
    ("p-MLKD", "2"): (58.43, 72.66),
}

_ALONE = {"seresnet": "SE-ResNet", "cnn1d": "1D-CNN", "lrhnet": "LRH-Net"}
_ONE_TEACHER = {"none": "Vanilla KD", "fitnet": "FitNet", "random_map": "FitNet", "semckd": "Cross-layer"}

TASK = "physionet2020"


def applies(task: str) -> bool:
    """Returns whether the paper has numbers of a task."""
    return task == TASK


def method(networks: Mapping[str, NetworkDescription], name: str) -> str | None:
    """Returns the paper's name for a network of a graph (results["networks"]), or None if the paper has no such one."""
    network = networks[name]
    special = network["method"]
    if not network["teachers"]:
        if special == "none":
            return _ALONE.get(network["model"])
        return "PS-KD" if special == "pskd" and network["model"] == "lrhnet" else None
    teachers = [networks[teacher] for teacher in network["teachers"]]
    others = [teacher for teacher in teachers if tuple(teacher["leads"]) != LEADS]
    large = all(teacher["model"] == "seresnet" for teacher in teachers)
    if network["model"] != "lrhnet" or not large or len(teachers) - len(others) != 1:
        return None
    if not others:
        return _ONE_TEACHER.get(special)
    if special == "none" and len(others) == 1 and others[0]["leads"] == network["leads"]:
        return "s-MLKD" if others[0]["teachers"] else "p-MLKD"
    return None


def result(networks: Mapping[str, NetworkDescription], name: str) -> tuple[float, float] | None:
    """Returns the paper's Challenge metric and micro-F1 (percent) of that method on the same leads, or None."""
    leads = tuple(networks[name]["leads"])
    size = next((size for size, of_size in LEAD_SETS.items() if of_size == leads), None)
    known = method(networks, name)
    return RESULTS.get((known, size)) if known and size else None
