"""The nine classes of the China Physiological Signal Challenge 2018; a record may carry several.

Challenge 2020 publishes the same recordings with SNOMED CT codes.
"""

from collections.abc import Iterable

import numpy as np

NAMES = {
    "SNR": "sinus rhythm",
    "AF": "atrial fibrillation",
    "IAVB": "first-degree AV block",
    "LBBB": "left bundle branch block",
    "RBBB": "right bundle branch block",
    "PAC": "premature atrial contraction",
    "PVC": "premature ventricular contraction",
    "STD": "ST-segment depression",
    "STE": "ST-segment elevation",
}
CLASSES = tuple(NAMES)  # the order of every label matrix

CODES = {
    "426783006": "SNR",
    "164889003": "AF",
    "270492004": "IAVB",
    "164909002": "LBBB",
    "59118001": "RBBB",
    "284470004": "PAC",
    "164884008": "PVC",
    "429622005": "STD",
    "164931005": "STE",
}


def encode_labels(codes: Iterable[str]) -> np.ndarray:
    """Returns the labels of a record's SNOMED CT codes, shape (9,), bool. Other codes are ignored."""
    present = {CODES.get(code) for code in codes}
    return np.array([name in present for name in CLASSES])
