"""What files call the twelve leads, and the limb leads that follow from leads I and II.

One table for every file format. An alias stands for a lead only where nothing else goes by that name: "DII" is lead II,
but "MLII" (a Holter's modified lead) and "ECG1" (the first channel) are not, unless the user says so (`rename`).
"""

import dataclasses
import functools
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

from lrhnet_jax.ecg.leads import LEADS, LeadError

# Lead -> its weights on leads I and II. Einthoven's law and Goldberger's definitions: exact for signals that were
# recorded against the same electrodes at the same time.
DERIVED: dict[str, tuple[float, float]] = {
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}

_BLANKS = str.maketrans("_-.", "   ")
_LONGEST_NAME = 100  # characters; no alias is longer
_PREFIXES = ("lead", "ecg", "ekg")  # "Lead I", "ECG I" (EDF+), "LeadI"
SUFFIXES = ("ref", "(einthoven)", "augmented voltage, right", "augmented voltage, left", "augmented voltage, foot")


def _aliases() -> dict[str, str]:
    """Returns every spelling, casefolded, with blanks for separators, of each lead."""
    table: dict[str, str] = {}
    for lead in LEADS:
        text = lead.casefold()
        spellings = {text, f"mdc ecg lead {text}"}  # ISO/IEEE 11073: HL7 aECG, DICOM
        if text.startswith("av"):
            spellings |= {f"av {text[2]}", f"a {text[1:]}"}
        elif text.startswith("v"):
            spellings.add(f"v {text[1]}")
        else:
            spellings |= {f"d{text}", f"d {text}", f"d{len(text)}"}  # Spanish, Portuguese, French: DII, D2
        spellings |= {f"{prefix}{gap}{name}" for name in set(spellings) for prefix in _PREFIXES for gap in ("", " ")}
        table |= dict.fromkeys(spellings, lead)
    return table


ALIASES = _aliases()


@functools.lru_cache(maxsize=4096)
def canonical_lead(name: str) -> str | None:
    """Returns which of `LEADS` a file's name for a signal means for certain, or None.

    Case, blanks, "_", "-" and "." between words, and "+" or "-REF" behind it do not matter: "lead_II", "ECG aVR",
    "I-REF", "MDC_ECG_LEAD_V1".
    """
    if len(name) > _LONGEST_NAME or name.lstrip().startswith("-"):  # "-aVR" is aVR upside down
        return None
    text = unicodedata.normalize("NFKC", name).casefold().translate(_BLANKS).strip().removesuffix("+")
    text = " ".join(text.split())
    for suffix in SUFFIXES:
        text = text.removesuffix(suffix).rstrip(" ,")
    return ALIASES.get(text)


@dataclasses.dataclass(frozen=True)
class LeadPlan:
    """How to make the wanted leads of the signals that are there.

    Attributes:
      columns: of the file, those that are needed.
      weights: (len(columns), wanted) float32, or None if the wanted leads are `columns` as they are.
      notes: what was derived or renamed, for the user.
    """

    columns: tuple[int, ...]
    weights: np.ndarray | None
    notes: tuple[str, ...]

    def apply(self, signal: np.ndarray) -> np.ndarray:
        """Returns (t, wanted) float32 from `signal`, (t, len(columns)) float32 in any unit."""
        if self.weights is None:
            return signal
        # Column by column: a missing sample spoils the leads that depend on it, and no others.
        result = np.zeros((len(signal), self.weights.shape[1]), np.float32)
        for row, weights in enumerate(self.weights):
            for column in np.flatnonzero(weights):
                result[:, column] += weights[column] * signal[:, row]
        return result


def plan_leads(
    names: Sequence[str], wanted: Sequence[str] = LEADS, rename: Mapping[str, str] | None = None
) -> LeadPlan:
    """Finds the wanted leads among a file's signals; III, aVR, aVL and aVF are derived where they are missing.

    Args:
      names: of the file's signals, in its order. Those that are not needed may be anything, and repeat.
      wanted: of `LEADS`, in the order of the result; or another name, which must then be there just so (case apart).
      rename: name in the file -> the lead that it counts as, where the user knows better than the table.

    Raises:
      LeadError: if a lead can neither be found nor derived, or two signals go by its name.
    """
    return _plan(tuple(names), tuple(wanted), tuple((rename or {}).items()))


@functools.lru_cache(maxsize=256)  # the records of an archive name their signals alike
def _plan(names: tuple[str, ...], wanted: tuple[str, ...], renames: tuple[tuple[str, str], ...]) -> LeadPlan:
    rename = dict(renames)
    known = [_meaning(name, rename) for name in names]
    derivable = DERIVED if {"i", "ii"} <= set(known) else {}
    missing = [lead for lead in wanted if lead.casefold() not in known and lead not in derivable]
    if missing:
        unnamed = [name for name in names if not canonical_lead(name)]
        advice = (
            f"; if one of these is to count as {missing[0]}, evaluate and predict take "
            f"--rename_leads={_listed(unnamed[:1])}={missing[0]}"
        )
        raise LeadError(f"lacks lead {', '.join(missing)} (it has {_listed(names)}){advice if unnamed else ''}")
    notes = [f"{name} read as lead {rename[name]}" for name in names if name in rename]
    columns: list[int] = []
    parts: list[dict[int, float]] = []  # of each wanted lead: column of the file -> weight
    for lead in wanted:
        terms = {lead: 1.0}
        if lead.casefold() not in known:
            terms = dict(zip(("I", "II"), derivable[lead], strict=True))
            notes.append(f"lead {lead} derived from leads I and II")
        part = {_column(term, names, known): weight for term, weight in terms.items()}
        parts.append(part)
        columns += [column for column in part if column not in columns]
    if [list(part) for part in parts] == [[column] for column in columns]:
        return LeadPlan(tuple(columns), None, tuple(notes))
    weights = np.zeros((len(columns), len(parts)), np.float32)
    for i, part in enumerate(parts):
        for column, weight in part.items():
            weights[columns.index(column), i] = weight
    weights.flags.writeable = False
    return LeadPlan(tuple(columns), weights, tuple(notes))


def select_leads(
    signal: np.ndarray, names: Sequence[str], wanted: Sequence[str] = LEADS, rename: Mapping[str, str] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the wanted leads of `signal` (t, len(names)) as (t, len(wanted)) float32, and notes for the user.

    Arguments and errors are those of `plan_leads`.
    """
    plan = plan_leads(names, wanted, rename)
    return plan.apply(np.asarray(signal[:, list(plan.columns)], np.float32)), plan.notes


def available_leads(names: Sequence[str], rename: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Returns those of `LEADS` that `plan_leads` can give, in that order."""
    known = [_meaning(name, rename or {}) for name in names]
    once = {lead for lead in LEADS if known.count(lead.casefold()) == 1}
    absent = {lead for lead in DERIVED if lead.casefold() not in known} if {"I", "II"} <= once else set()
    return tuple(lead for lead in LEADS if lead in once | absent)


def parse_renames(text: str) -> dict[str, str]:
    """Returns {name in the file: lead} from "MLII=II,ECG1=I", as command lines take it; "" is none.

    Raises:
      LeadError: if a part is something else, or a lead is unknown.
    """
    renames: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, lead = (field.strip() for field in part.rpartition("="))
        if not equals or not name or lead not in LEADS:
            raise LeadError(f"{part!r} renames no lead; write NAME=LEAD, as in MLII=II; leads are {', '.join(LEADS)}")
        renames[name] = lead
    return renames


def _meaning(name: str, rename: Mapping[str, str]) -> str:
    """The lead, or else the name itself, casefolded: what `wanted` is compared with."""
    return (rename.get(name) or canonical_lead(name) or name.strip()).casefold()


def _column(lead: str, names: Sequence[str], known: Sequence[str]) -> int:
    columns = [i for i, name in enumerate(known) if name == lead.casefold()]
    if len(columns) > 1:
        raise LeadError(f"names a lead twice ({_listed([names[i] for i in columns])})")
    return columns[0]


def _listed(names: Sequence[str], most: int = 20, longest: int = 40) -> str:
    """Names for a message: a file may have any number of them, of any length, of characters that terminals obey."""
    shown = [name if name.isprintable() else ascii(name) for name in (name[:longest] for name in names[:most])]
    return ", ".join(shown + [f"and {len(names) - most} more"] * (len(names) > most)) or "none"
