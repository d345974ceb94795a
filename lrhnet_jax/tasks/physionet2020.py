"""The 24 classes that PhysioNet/CinC Challenge 2020 scores."""

from collections.abc import Iterable

import numpy as np

# The 24 classes that Challenge 2020 scores, after its merges: SNOMED CT code -> (abbreviation, name).
DIAGNOSES: dict[str, tuple[str, str]] = {
    "10370003": ("PR", "pacing rhythm"),
    "111975006": ("LQT", "prolonged QT interval"),
    "164889003": ("AF", "atrial fibrillation"),
    "164890007": ("AFL", "atrial flutter"),
    "164909002": ("LBBB", "left bundle branch block"),
    "164917005": ("QAb", "abnormal Q wave"),
    "164934002": ("TAb", "abnormal T wave"),
    "164947007": ("LPR", "prolonged PR interval"),
    "251146004": ("LQRSV", "low QRS voltages"),
    "270492004": ("IAVB", "first-degree AV block"),
    "284470004": ("PAC", "premature atrial contraction"),
    "39732003": ("LAD", "left axis deviation"),
    "426177001": ("SB", "sinus bradycardia"),
    "426627000": ("Brady", "bradycardia"),
    "426783006": ("NSR", "sinus rhythm"),
    "427084000": ("STach", "sinus tachycardia"),
    "427172004": ("PVC", "premature ventricular contraction"),
    "427393009": ("SA", "sinus arrhythmia"),
    "445118002": ("LAnFB", "left anterior fascicular block"),
    "47665007": ("RAD", "right axis deviation"),
    "59931005": ("TInv", "T wave inversion"),
    "698252002": ("NSIVCB", "nonspecific intraventricular conduction disorder"),
    "713426002": ("IRBBB", "incomplete right bundle branch block"),
    "713427006": ("RBBB", "complete right bundle branch block"),
}
CLASSES: tuple[str, ...] = tuple(sorted(DIAGNOSES))  # ascending as strings: the order of every label matrix
ABBREVIATIONS: tuple[str, ...] = tuple(DIAGNOSES[code][0] for code in CLASSES)
NORMAL_CLASS = "426783006"

# Codes that the Challenge scores as one diagnosis: code -> the code that stands for both.
EQUIVALENT = {"59118001": "713427006", "63593006": "284470004", "17338001": "427172004"}


def encode_labels(codes: Iterable[str]) -> np.ndarray:
    """Returns the 24 labels of a record's diagnosis codes, shape (24,), bool. Unscored codes are ignored."""
    present = {EQUIVALENT.get(code, code) for code in codes}
    return np.array([code in present for code in CLASSES])
