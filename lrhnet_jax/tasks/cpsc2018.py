"""The nine classes of the China Physiological Signal Challenge 2018 (Liu et al. 2018); a record may carry several.

Challenge 2020 publishes the 6,877 recordings of its training set as cpsc_2018, with SNOMED CT codes for the classes. It
writes PVC as "ventricular ectopics", which Challenge 2020 itself does not score.

Pure NumPy: the data builders import it, and they know no JAX.
"""

from collections.abc import Iterable

import numpy as np

NAMES = {
    "NSR": "sinus rhythm",
    "AF": "atrial fibrillation",
    "IAVB": "first-degree AV block",
    "LBBB": "left bundle branch block",
    "RBBB": "right bundle branch block",
    "PAC": "premature atrial contraction",
    "PVC": "premature ventricular contraction",
    "STD": "ST segment depression",
    "STE": "ST segment elevation",
}
CLASSES = tuple(NAMES)  # the order of every label matrix

# SNOMED CT code -> class; where there are several, the first is the one that cpsc_2018 has.
CODES = {
    "426783006": "NSR",
    "164889003": "AF",
    "270492004": "IAVB",
    "164909002": "LBBB",
    "59118001": "RBBB",
    "713427006": "RBBB",  # complete
    "284470004": "PAC",
    "63593006": "PAC",  # supraventricular
    "164884008": "PVC",  # ventricular ectopics
    "427172004": "PVC",
    "17338001": "PVC",
    "429622005": "STD",
    "164931005": "STE",
}


def encode_labels(codes: Iterable[str]) -> np.ndarray:
    """Returns the labels of a record's diagnosis codes, shape (9,), bool. Other codes are ignored."""
    present = {CODES.get(code) for code in codes}
    return np.array([name in present for name in CLASSES])
