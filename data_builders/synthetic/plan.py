"""Who is recorded, with which diagnoses: drawn from counts of the public labels of the PhysioNet Challenge 2020.

label_counts.csv holds, for each source of the Challenge's training set, the most frequent combinations of scored
classes (equivalent codes merged), how many records carry each, and those records' mean age and share of women.
They are statistics of PhysioNet's published headers; no recording of theirs is in this package.
"""

import csv
import functools
from dataclasses import dataclass, replace
from importlib import resources

import numpy as np

from lrhnet_jax.tasks import physionet2020


@dataclass(frozen=True)
class Source:
    """One of the Challenge's collections and its habits."""

    letters: str
    digits: int
    rate: int
    seconds: tuple[float, float]
    share: float  # of a synthetic set; the two smallest collections get more than their real share
    mains: float
    sexes: tuple[str, str] = ("Female", "Male")


SOURCES: dict[str, Source] = {
    "ptb-xl": Source("HR", 5, 500, (10, 10), 0.55, 50),
    "georgia": Source("E", 5, 500, (10, 10), 0.24, 60),
    "cpsc_2018": Source("A", 4, 500, (9, 20), 0.12, 50),
    "cpsc_2018_extra": Source("Q", 4, 500, (9, 20), 0.05, 50),
    "ptb": Source("S", 4, 1000, (30, 38), 0.02, 50, ("female", "male")),
    "st_petersburg_incart": Source("I", 4, 257, (60, 60), 0.02, 50, ("F", "M")),
}
_SNOMED = {abbreviation: code for code, (abbreviation, _) in physionet2020.DIAGNOSES.items()}
# How sources write diagnoses that the Challenge scores as one: class -> (the other code, its share by source).
_ALIASES: dict[str, tuple[str, dict[str, float]]] = {
    "RBBB": ("59118001", {"cpsc_2018": 1.0, "cpsc_2018_extra": 0.8, "georgia": 0.9, "st_petersburg_incart": 1.0}),
    "PAC": ("63593006", {"ptb-xl": 0.3, "cpsc_2018_extra": 0.3, "georgia": 0.1}),
    "PVC": ("17338001", {"cpsc_2018_extra": 0.2, "georgia": 1.0}),
}
# Old infarction, left ventricular hypertrophy, ST interval abnormal, ST depression, myocardial ischaemia.
_UNSCORED = ("164865005", "164873001", "55930002", "429622005", "164861001")
BOOST_EVERY = 3  # one record in three is drawn for a class in turn
FOLLOW_UP = 0.18  # share of PTB-XL's records that come from a patient recorded before


@dataclass(frozen=True)
class Row:
    """One line of label_counts.csv."""

    source: str
    classes: tuple[str, ...]
    records: int
    mean_age: float
    female: float


@dataclass(frozen=True)
class PlannedRecord:
    """What is to be written: `number` counts from 1; `classes` are shown, `codes` are what the header says."""

    number: int
    source: str
    classes: tuple[str, ...]
    codes: tuple[str, ...]
    patient: int
    age: float
    sex: str
    seconds: float

    @property
    def name(self) -> str:
        source = SOURCES[self.source]
        return f"{source.letters}{self.number:0{source.digits}d}"

    @property
    def rate(self) -> int:
        return SOURCES[self.source].rate


@functools.cache
def label_counts() -> tuple[Row, ...]:
    """Returns the table of label combinations."""
    text = resources.files(__package__).joinpath("label_counts.csv").read_text(encoding="utf-8")
    return tuple(
        Row(
            line["source"],
            tuple(line["classes"].split("+")),
            int(line["records"]),
            float(line["mean_age"]),
            float(line["female"]),
        )
        for line in csv.DictReader(text.splitlines())
    )


@functools.cache
def _choices(source: str = "", abbreviation: str = "") -> tuple[list[Row], np.ndarray]:
    """Returns the rows of a source, or those that hold a class, and their cumulative share."""
    rows = [row for row in label_counts() if source in ("", row.source) and abbreviation in ("", *row.classes)]
    totals = np.cumsum([row.records for row in rows], dtype=float)
    return rows, totals / totals[-1]


def _draw(rng: np.random.Generator, source: str = "", abbreviation: str = "") -> Row:
    rows, shares = _choices(source, abbreviation)
    return rows[int(np.searchsorted(shares, rng.random(), side="right"))]


def records(
    count: int, seed: int, *, source: str = "", boost: bool = True, incart_seconds: float = 60.0
) -> list[PlannedRecord]:
    """Plans a set: the first records are the same whatever the count.

    Args:
      count: number of records.
      seed: of the set.
      source: only this collection, which does not have every class; "" takes all.
      boost: draw one record in three for a class in turn, so that a small set shows each of the 24 classes several
        times; otherwise labels follow the table alone, where some classes are very rare.
      incart_seconds: length of the St Petersburg records, really 1800.
    """
    names = [name for name in physionet2020.ABBREVIATIONS if any(name in row.classes for row in _choices(source)[0])]
    planned: list[PlannedRecord] = []
    seen: list[PlannedRecord] = []  # patients who may come again
    for number in range(1, count + 1):
        rng = np.random.default_rng([seed, number, 0])
        turn, rest = divmod(number, BOOST_EVERY)
        if boost and rest == 0:
            row = _draw(rng, source, names[turn % len(names)])
            record = _first_visit(rng, number, row, incart_seconds)
        else:
            shares = np.cumsum([source.share for source in SOURCES.values()])
            drawn = list(SOURCES)[min(int(np.searchsorted(shares, rng.random())), len(SOURCES) - 1)]
            source_name = source or drawn
            record = _first_visit(rng, number, _draw(rng, source_name), incart_seconds)
            if source_name == "ptb-xl" and seen and rng.random() < FOLLOW_UP:
                record = _next_visit(rng, record, seen[int(rng.integers(len(seen)))])
            record = _without_scored_class(rng, record)
        if record.source == "ptb-xl":
            seen.append(record)
        planned.append(record)
    return planned


def _first_visit(rng: np.random.Generator, number: int, row: Row, incart_seconds: float) -> PlannedRecord:
    source = SOURCES[row.source]
    sex = "female" if rng.random() < row.female else "male"
    age = float(np.clip(round(rng.normal(row.mean_age + (1.5 if sex == "female" else -1.5), 14)), 14, 95))
    low, high = (incart_seconds,) * 2 if row.source == "st_petersburg_incart" else source.seconds
    seconds = round(float(min(low + rng.gamma(1.0, 3.0), high)) if high > low else low, 1)
    return PlannedRecord(
        number, row.source, row.classes, _codes(rng, row.source, row.classes), number, age, sex, seconds
    )


def _next_visit(rng: np.random.Generator, drawn: PlannedRecord, earlier: PlannedRecord) -> PlannedRecord:
    """The same patient some years later, mostly with the same diagnoses."""
    classes = earlier.classes if rng.random() < 0.7 else drawn.classes
    return replace(
        drawn,
        classes=classes,
        codes=_codes(rng, drawn.source, classes),
        patient=earlier.patient,
        sex=earlier.sex,
        age=min(earlier.age + float(rng.integers(0, 5)), 95.0),
    )


def _without_scored_class(rng: np.random.Generator, record: PlannedRecord) -> PlannedRecord:
    """Leaves the scored codes out of a few headers, as many of PTB's have none."""
    if rng.random() >= (0.2 if record.source == "ptb" else 0.01):
        return record
    codes = () if rng.random() < 0.6 else (str(rng.choice(_UNSCORED)),)
    return replace(record, codes=codes)


def _codes(rng: np.random.Generator, source: str, classes: tuple[str, ...]) -> tuple[str, ...]:
    codes = []
    for name in classes:
        other, shares = _ALIASES.get(name, ("", {}))
        codes.append(other if rng.random() < shares.get(source, 0.0) else _SNOMED[name])
    if rng.random() < 0.15:
        codes.insert(int(rng.integers(len(codes) + 1)), str(rng.choice(_UNSCORED)))
    return tuple(codes)
