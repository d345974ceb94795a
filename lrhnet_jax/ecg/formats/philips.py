"""Philips XML (Sierra ECG 1.03 to 1.04.02): 16-bit samples in base64, plain or compressed by XLI.

XLI packs each lead by LZW with codes of ten bits: the high bytes, then the low bytes, of second differences; and limb
leads III to aVF as what Einthoven's law leaves of them. Source: C. Watford, sierra-ecg-tools
(github.com/sixlettervariables), whose notes describe it; Philips' schema says the rest.
"""

import base64
import pathlib
import struct
from collections.abc import Callable

import numpy as np

from lrhnet_jax.ecg.formats import xml_tree
from lrhnet_jax.ecg.formats.base import HEAD, Format, Given, check_claim, columns
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.ecg.recording import Recording, parse_age
from lrhnet_jax.errors import UserError

_CODE_BITS = 10
_LAST_CODE = (1 << _CODE_BITS) - 2
_LONGEST_STRING = _LAST_CODE - 254  # bytes that a code can stand for


def _matches(path: pathlib.Path, head: bytes) -> bool:
    return xml_tree.root_name(head) == "restingecgdata"


def _read(path: pathlib.Path, given: Given) -> Recording:
    root = xml_tree.parse_xml(path)
    waveforms, traits = root.find(".//parsedwaveforms"), root.find(".//signalcharacteristics")
    if waveforms is None or not (waveforms.text or "").strip():
        raise UserError("holds no waveforms (parsedwaveforms), only what was measured; export it with waveforms")

    def say(*names: str) -> str:
        """The first of the attributes of the waveforms, or elements of the signal's characteristics, that is there."""
        return next(filter(None, (waveforms.get(name) or xml_tree.text_of(traits, name) for name in names)), "")

    rate = xml_tree.number_of(say("samplespersecond", "samplingrate"))
    duration = xml_tree.number_of(say("durationperchannel"))  # ms
    resolution = xml_tree.number_of(say("resolution", "signalresolution"))  # µV
    if not rate or not duration or not resolution or min(rate, duration, resolution) <= 0:
        raise UserError("does not say its rate, duration and resolution")
    names = _names(say)
    count = round(rate * duration / 1000)
    coded = base64.b64decode("".join((waveforms.text or "").split()), validate=True)
    method = say("compression", "compressmethod")
    if method.lower() in ("", "none", "uncompressed") or say("compressflag").lower() == "false":
        check_claim(2 * count * len(names), len(coded), "its durationperchannel")
        samples = np.frombuffer(coded, "<i2", count * len(names)).reshape(len(names), count).astype(np.int32)
    elif method.upper() == "XLI":
        samples = _unpack(coded, len(names), count)
        if names[:6] == list(LEADS[:6]):
            _restore_limb_leads(samples)
    else:
        raise UserError(f"is compressed by {method!r}; XLI is read: export it without compression")
    zero = xml_tree.number_of(say("signaloffset")) or 0.0
    signal, leads = columns(list(zip(names, (samples - zero) * (resolution * 1e-3), strict=True)))
    person = root.find(".//generalpatientdata")
    return Recording(
        signal=signal,
        rate=rate,
        leads=leads,
        path=path,
        age=parse_age(xml_tree.text_of(person, "age/years")),
        sex=xml_tree.text_of(person, "sex") or None,
    )


def _names(say: Callable[..., str]) -> list[str]:
    names = say("leadlabels").split()
    if not names and say("acquisitiontype", "leadset") in ("STD-12", "10-WIRE"):
        names = list(LEADS)
    count = xml_tree.number_of(say("numberofleads", "numberchannelsvalid", "numberchannelsallocated")) or len(names)
    if not 1 <= count <= len(names):
        raise UserError(f"names {len(names)} of {count:.0f} leads")
    return names[: int(count)]


def _unpack(coded: bytes, leads: int, count: int) -> np.ndarray:
    """Returns (leads, count) int32 from XLI's chunks, one a lead: size, two bytes unused, a start value, the codes."""
    check_claim(2 * leads * count / _LONGEST_STRING, len(coded) * 8 / _CODE_BITS, "its durationperchannel")
    samples = np.empty((leads, count), np.int32)
    offset = 0
    for lead in range(leads):
        check_claim(offset + 8, len(coded), f"lead {lead + 1}")
        size, first = struct.unpack_from("<i2xh", coded, offset)
        offset += 8
        check_claim(offset + (size if size > 0 else float("inf")), len(coded), f"lead {lead + 1}")
        halves = _lzw(coded[offset : offset + size], 4 * count + HEAD)
        check_claim(2 * count, len(halves), f"lead {lead + 1}")
        words = (halves[: len(halves) // 2].astype(np.uint16) << 8) | halves[-(len(halves) // 2) :]
        samples[lead] = _from_differences(words.view(np.int16).astype(np.int64), first)[:count]
        offset += size
    return samples


def _lzw(chunk: bytes, limit: int) -> np.ndarray:
    """Returns the bytes, uint8, that LZW codes of ten bits stand for; an odd one is followed by 0."""
    bits = np.unpackbits(np.frombuffer(chunk, np.uint8))
    codes = bits[: len(bits) // _CODE_BITS * _CODE_BITS].reshape(-1, _CODE_BITS) @ (1 << np.arange(_CODE_BITS)[::-1])
    strings = [bytes([value]) for value in range(256)]
    result = bytearray()
    previous = b""
    for code in codes.tolist():
        if code > _LAST_CODE:  # the end
            break
        if code > len(strings) or (code == len(strings) and not previous) or len(result) > limit:
            raise UserError("broken XLI compression; export it again")
        string = strings[code] if code < len(strings) else previous + previous[:1]
        if previous and len(strings) <= _LAST_CODE:
            strings.append(previous + string[:1])
        result += string
        previous = string
    return np.frombuffer(result + b"\0" * (len(result) % 2), np.uint8)


def _from_differences(codes: np.ndarray, first: int) -> np.ndarray:
    """Returns samples from two of them and second differences, which are stored upside down, a place late, plus 64."""
    samples = codes.copy()
    bend = np.concatenate(([first], codes[2:-1] - 64))
    slope = codes[1] - codes[0] - np.cumsum(bend)
    samples[2:] = codes[1] + np.cumsum(slope)[: len(samples) - 2]
    return samples


def _restore_limb_leads(samples: np.ndarray) -> None:
    """Makes III, aVR, aVL and aVF, in place, of what is stored of them: how far they are from what I and II give."""
    one, two = samples[0], samples[1]
    three = samples[2] = two - one - samples[2]
    samples[3] = -samples[3] - (one + two) // 2
    samples[4] = (one - three) // 2 - samples[4]
    samples[5] = (two + three) // 2 - samples[5]


FORMAT = Format("Philips XML", (".xml",), _matches, _read)
