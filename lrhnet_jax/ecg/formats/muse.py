"""GE MUSE XML (RestingECG): 16-bit samples in base64, a lead an element.

Source: GE Healthcare, "MUSE XML Interface Specification" (restecg.dtd). The limb leads III, aVR, aVL and aVF are not
stored: they follow from I and II.
"""

import base64
import pathlib
import xml.etree.ElementTree as ET

import numpy as np

from lrhnet_jax.ecg.formats import xml_tree
from lrhnet_jax.ecg.formats.base import Format, Given, columns, scale_of
from lrhnet_jax.ecg.recording import Recording, parse_age
from lrhnet_jax.errors import UserError

_TRUE = ("true", "1", "yes")
_FLAGS = {
    "LeadOff": "was off",
    "BaselineSway": "sways",
    "ExcessiveACNoise": "has mains noise",
    "MuscleNoise": "is noisy",
}


def _matches(path: pathlib.Path, head: bytes) -> bool:
    return xml_tree.root_name(head) == "restingecg"


def _read(path: pathlib.Path, given: Given) -> Recording:
    root = xml_tree.parse_xml(path)
    waveforms = [
        item for item in root.findall("Waveform") if xml_tree.text_of(item, "WaveformType").lower() != "median"
    ]
    if not waveforms:
        raise UserError("holds no rhythm waveform, only what was measured on one; export it with waveforms")
    waveform = waveforms[0]
    base = xml_tree.number_of(xml_tree.text_of(waveform, "SampleBase"))
    exponent = xml_tree.number_of(xml_tree.text_of(waveform, "SampleExponent") or "0")
    if base is None or exponent is None or abs(exponent) > 9:
        raise UserError("does not say its sampling rate (SampleBase)")
    notes: list[str] = []
    signal, leads = columns([_lead(lead, given, notes) for lead in waveform.findall("LeadData")])
    person = root.find("PatientDemographics")
    return Recording(
        signal=signal,
        rate=base * 10.0**exponent,
        leads=leads,
        path=path,
        age=parse_age(f"{xml_tree.text_of(person, 'PatientAge')} {xml_tree.text_of(person, 'AgeUnits')}"),
        sex=xml_tree.text_of(person, "Gender") or None,
        notes=tuple(dict.fromkeys(notes)),
    )


def _lead(lead: ET.Element, given: Given, notes: list[str]) -> tuple[str, np.ndarray]:
    name = xml_tree.text_of(lead, "LeadID")
    data = base64.b64decode("".join(xml_tree.text_of(lead, "WaveFormData").split()), validate=True)
    size = xml_tree.number_of(xml_tree.text_of(lead, "LeadSampleSize") or "2")
    if size not in (2, 4):
        raise UserError(f"lead {name} has samples of {size} bytes; 2 or 4 are read")
    samples = np.frombuffer(data, f"<i{size:.0f}", len(data) // int(size))
    count = xml_tree.number_of(xml_tree.text_of(lead, "LeadSampleCountTotal"))
    if count is not None and count > len(samples):
        raise UserError(f"truncated: {len(samples)} of {count:.0f} samples of lead {name}; export it again")
    scale = xml_tree.number_of(xml_tree.text_of(lead, "LeadAmplitudeUnitsPerBit"))
    if scale is None:
        raise UserError(f"does not say how large a step of lead {name} is (LeadAmplitudeUnitsPerBit)")
    unit = scale_of(xml_tree.text_of(lead, "LeadAmplitudeUnits"), given, notes, "MICROVOLTS")
    notes += [
        f"the device says that lead {name} {what}"
        for tag, what in _FLAGS.items()
        if xml_tree.text_of(lead, tag).lower() in _TRUE
    ]
    return name, samples * np.float32(scale * unit)


FORMAT = Format("GE MUSE XML", (".xml",), _matches, _read)
