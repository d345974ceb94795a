"""GE CardioSoft XML, as in UK Biobank: a lead's samples as text, separated by commas."""

import pathlib
import re

import numpy as np

from lrhnet_jax.ecg.formats import xml_tree
from lrhnet_jax.ecg.formats.base import Format, Given, columns, in_millivolts
from lrhnet_jax.ecg.recording import Recording, parse_age
from lrhnet_jax.errors import UserError


def _matches(path: pathlib.Path, head: bytes) -> bool:
    return xml_tree.root_name(head) == "cardiologyxml"


def _read(path: pathlib.Path, given: Given) -> Recording:
    root = xml_tree.parse_xml(path)
    strip = root.find("StripData")  # not the median beats, nor the exercise's steps
    if strip is None or strip.find("WaveformData") is None:
        raise UserError("holds no rhythm (StripData), only what was measured on one; export it with waveforms")
    rate = xml_tree.number_of(xml_tree.text_of(strip, "SampleRate"))
    step = xml_tree.number_of(xml_tree.text_of(strip, "Resolution"))
    resolution = strip.find("Resolution")
    unit = in_millivolts((resolution.get("units", "") if resolution is not None else "").split("per")[0])
    if rate is None or step is None or unit is None:
        raise UserError("does not say its rate and resolution")
    signal, leads = columns(
        [
            (data.get("lead", ""), np.array(re.split(r"[\s,]+", (data.text or "").strip(" \n\r\t,")), np.float32))
            for data in strip.findall("WaveformData")
        ]
    )
    person = root.find("PatientInfo")
    age = person.find("Age") if person is not None else None
    return Recording(
        signal=signal * np.float32(step * unit),
        rate=rate,
        leads=leads,
        path=path,
        age=parse_age(f"{age.text} {age.get('units', '')}") if age is not None else None,
        sex=xml_tree.text_of(person, "Gender") or None,
    )


FORMAT = Format("GE CardioSoft XML", (".xml",), _matches, _read)
