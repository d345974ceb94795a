"""What the data is about: leads, scored diagnoses, and the age/sex vector.

Pure Python and NumPy: the data builders import it, and they know no JAX.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from lrhnet_jax.errors import UserError

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

# The lead sets that the LRH-Net paper names by their size, and lead I alone (MVKT-ECG).
LEAD_SETS: dict[str, tuple[str, ...]] = {
    "12": LEADS,
    "6": LEADS[:6],
    "3": ("I", "II", "V2"),
    "2": ("I", "II"),
    "1": ("I",),
}

SAMPLE_RATE = 257  # Hz, of the 12-lead sets as the LRH-Net paper prepares them; every built set says its own

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

DEMOGRAPHICS = ("age / 100", "age known", "female", "male", "sex known")


class LeadError(UserError):
    """A lead that is unknown, repeated, or missing from the data."""


def parse_leads(text: str | int) -> tuple[str, ...]:
    """Returns the leads of a count that the paper names ("2") or of names joined by '+' ("I+V5"), in ecg order.

    Raises:
      LeadError: for a count without a lead set, or an unknown or repeated name.
    """
    text = str(text)
    if text in LEAD_SETS:
        return LEAD_SETS[text]
    if text.isdigit():
        raise LeadError(f"no lead set of {text} leads; choose {', '.join(LEAD_SETS)}, or names joined by '+'")
    return check_leads(text.split("+"))


def check_leads(names: Sequence[str]) -> tuple[str, ...]:
    """Returns `names` in the order of `LEADS`; raises LeadError if one is unknown or repeated, or none is given."""
    names = tuple(names)
    unknown = [name for name in names if name not in LEADS]
    if unknown or not names:
        raise LeadError(
            f"unknown lead {', '.join(map(repr, unknown)) or '(none given)'}; the leads are {', '.join(LEADS)}"
        )
    if len(set(names)) != len(names):
        raise LeadError(f"a lead is named twice in {'+'.join(names)}")
    return tuple(sorted(names, key=LEADS.index))


def lead_indices(leads: Sequence[str]) -> np.ndarray:
    """Returns the columns of a 12-lead signal that hold `leads`, shape (len(leads),), int32."""
    return np.array([LEADS.index(name) for name in check_leads(leads)], np.int32)


def encode_labels(codes: Iterable[str]) -> np.ndarray:
    """Returns the 24 labels of a record's diagnosis codes, shape (24,), bool. Unscored codes are ignored."""
    present = {EQUIVALENT.get(code, code) for code in codes}
    return np.array([code in present for code in CLASSES])


def demographics_vector(age: float | None, sex: str | None) -> np.ndarray:
    """Returns the age/sex vector of the reference networks, shape (5,), float32, in the order of `DEMOGRAPHICS`.

    Args:
      age: years; 300, which PTB-XL stores for every age over 89, counts as 90; None, NaN, negative or above 120 counts
        as unknown.
      sex: "female" or "male", or their first letter, in any case; anything else counts as unknown.
    """
    if age == 300:
        age = 90.0
    known = age is not None and math.isfinite(age) and 0 <= age <= 120
    letter = (sex or "").strip().lower()
    female, male = letter in ("female", "f"), letter in ("male", "m")
    years = age if age is not None and known else 0.0
    return np.array([years / 100, known, female, male, female or male], np.float32)
