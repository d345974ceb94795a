"""HL7 annotated ECG (aECG): XML with a lead's samples as text.

Source: ANSI/HL7 V3 ECG R1-2004 (PORT_MT020001) and "HL7 aECG Implementation Guide" (2005).
"""

import pathlib
import xml.etree.ElementTree as ET

import numpy as np

from lrhnet_jax.ecg.formats import xml_tree
from lrhnet_jax.ecg.formats.base import Format, Given, columns, in_millivolts, years_between
from lrhnet_jax.ecg.recording import Recording, parse_age
from lrhnet_jax.errors import UserError

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_REPORTED_AGE = "21612-7"  # LOINC


def _matches(path: pathlib.Path, head: bytes) -> bool:
    return xml_tree.root_name(head) == "annotatedecg"


def _read(path: pathlib.Path, given: Given) -> Recording:
    root = xml_tree.parse_xml(path)
    # What a device derived from the rhythm (representative beats) is a series of its own, or lies below derivation/.
    sets = [
        group
        for series in root.findall("component/series")
        if _code(series) != "REPRESENTATIVE_BEAT"
        for group in series.findall("component/sequenceSet")
    ]
    read = [_read_set(group) for group in sets]
    read = [part for part in read if part[0]]
    if not read:
        raise UserError("holds no ECG leads (no rhythm series with a sequence set)")
    signals, rate = max(read, key=lambda part: len(part[0]))
    notes = [f"{len(read) - 1} more sequence sets are not read"] if len(read) > 1 else []
    signal, leads = columns(signals)
    person = root.find(".//subjectDemographicPerson")
    begin = root.find("effectiveTime/low")
    birth = person.find("birthTime") if person is not None else None
    sex = person.find("administrativeGenderCode") if person is not None else None
    age = next((_age(item) for item in root.iter("relatedObservation") if _code(item) == _REPORTED_AGE), None)
    if age is None and birth is not None and begin is not None:
        age = years_between(birth.get("value", ""), begin.get("value", ""))
    return Recording(
        signal=signal,
        rate=rate,
        leads=leads,
        path=path,
        age=age,
        sex=sex.get("code") if sex is not None else None,
        notes=tuple(notes),
    )


def _read_set(group: ET.Element) -> tuple[list[tuple[str, np.ndarray]], float]:
    """Returns the leads of a sequence set, in millivolts, and their rate."""
    signals: list[tuple[str, np.ndarray]] = []
    rate = 0.0
    for sequence in group.findall("component/sequence"):
        code, value = _code(sequence), sequence.find("value")
        if value is None:
            continue
        if code.startswith("TIME_"):
            step = value.find("increment")
            seconds = _SECONDS.get(step.get("unit", "").replace("µ", "u")) if step is not None else None
            size = xml_tree.number_of(step.get("value")) if step is not None else None
            if not seconds or not size or size <= 0:
                raise UserError("has a time sequence without an increment in seconds")
            rate = round(1 / (size * seconds), 6)
        elif value.find("digits") is not None:
            signals.append((code, _samples(code, value)))
    if signals and not rate:
        raise UserError("does not say its sampling rate (a sequence set without a time sequence)")
    return signals, rate


def _samples(code: str, value: ET.Element) -> np.ndarray:
    digits = np.array(xml_tree.text_of(value, "digits").split(), np.float64)
    result = digits
    for tag, default, combine in (("scale", 1.0, np.multiply), ("origin", 0.0, np.add)):
        element = value.find(tag)
        if element is None:
            continue
        unit = in_millivolts(element.get("unit", ""))
        number = xml_tree.number_of(element.get("value", str(default)))
        if unit is None or number is None:
            raise UserError(f"{tag} of lead {code} is not a voltage: {dict(element.attrib)}")
        result = combine(result, number * unit)
    if value.find("scale") is None:
        raise UserError(f"lead {code} has no scale")
    return result.astype(np.float32)


def _age(observation: ET.Element) -> float | None:
    value = observation.find("value")
    return parse_age(f"{value.get('value', '')} {value.get('unit', '')}") if value is not None else None


def _code(element: ET.Element) -> str:
    code = element.find("code")
    return code.get("code", "") if code is not None else ""


FORMAT = Format("HL7 aECG", (".xml", ".aecg"), _matches, _read)
