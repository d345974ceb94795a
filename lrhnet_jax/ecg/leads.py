"""The leads of an ECG, and the age/sex vector that the networks read beside it."""

import math
from collections.abc import Sequence

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

RATES = (20.0, 20_000.0)  # Hz; a number outside of them is not the rate of an ECG
SAMPLE_RATE = 257  # Hz, of the 12-lead sets as the LRH-Net paper prepares them; every built set says its own

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


def demographics_vector(age: float | None, sex: str | None) -> np.ndarray:
    """Returns the age/sex vector of the reference networks, shape (5,), float32, in the order of `DEMOGRAPHICS`.

    Args:
      age: years; 300 to 330, as PTB-XL and MIMIC store an age over 89, counts as 90; None, NaN, negative or any other
        above 120 counts as unknown.
      sex: "female" or "male", or their first letter, in any case; anything else counts as unknown.
    """
    if age is not None and 300 <= age <= 330:
        age = 90.0
    known = age is not None and math.isfinite(age) and 0 <= age <= 120
    letter = (sex or "").strip().lower()
    female, male = letter in ("female", "f"), letter in ("male", "m")
    years = age if age is not None and known else 0.0
    return np.array([years / 100, known, female, male, female or male], np.float32)
