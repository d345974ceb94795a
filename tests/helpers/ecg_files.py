"""Small ECG files of binary formats: by other programs' writers, or written here from a format's specification."""

import binascii
import datetime
import pathlib
import struct
from collections.abc import Sequence

import numpy as np

from lrhnet_jax.ecg.leads import LEADS

RATE = 500
STEP = 5.0  # µV, of `counts`
AGE = 61.0
BORN, RECORDED = datetime.date(1960, 3, 1), datetime.date(2021, 5, 17)
SCP_CODES = dict(zip(LEADS, (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), strict=True))
ISHNE_CODES = dict(zip(LEADS, range(5, 17), strict=True))


def counts(leads: int = 12, seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    """Returns (time, leads) int16, steps of 5 µV: beats that differ from lead to lead, on a slow wave."""
    time = np.arange(round(seconds * rate)) / rate
    beats = np.exp(-((((time - 0.2) % 0.8) - 0.1) ** 2) / 0.0004)
    rows = [np.round(50 * (1 + lead) * beats + 20 * np.sin(2 * np.pi * (time + lead / 7))) for lead in range(12)]
    one, two = rows[:2]
    rows[2:6] = [two - one, -(one + two) // 2, (2 * one - two) // 2, (2 * two - one) // 2]
    return np.stack(rows[:leads], 1).astype(np.int16)


def millivolts(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) * np.float32(STEP * 1e-3)


def write_edf(
    path: pathlib.Path, values: np.ndarray, labels: Sequence[str] = LEADS, rate: int = RATE, bdf=False
) -> None:
    """By pyedflib: EDF+ or BDF+, in µV."""
    import pyedflib

    top, low, high = (2**23, -100_000, 100_000) if bdf else (2**15, -3276.8, 3276.7)  # 0.012 and 0.1 µV a count
    traits = {"dimension": "uV", "sample_frequency": rate, "transducer": "", "prefilter": ""}
    traits |= {"physical_max": high, "physical_min": low, "digital_max": top - 1, "digital_min": -top}
    with pyedflib.EdfWriter(
        str(path), len(labels), pyedflib.FILETYPE_BDFPLUS if bdf else pyedflib.FILETYPE_EDFPLUS
    ) as out:
        out.setSex(0)
        out.setBirthdate(BORN)
        out.setStartdatetime(datetime.datetime.combine(RECORDED, datetime.time(12)))
        for i, label in enumerate(labels):
            out.setSignalHeader(i, {"label": label, **traits})
        out.writeSamples([np.ascontiguousarray(column * STEP) for column in values.T])


def write_dicom(
    path: pathlib.Path, values: np.ndarray, leads: Sequence[str] = LEADS, rate: int = RATE, **changes
) -> None:
    """By pydicom: a 12-lead ECG with a derived median beat behind it. `changes` are attributes of the data set."""
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = changes.pop("transfer_syntax", pydicom.uid.ExplicitVRLittleEndian)
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = meta.MediaStorageSOPClassUID, "1.2.3", "ECG"
    data.PatientAge, data.PatientSex = f"{AGE:03.0f}Y", "F"
    data.WaveformSequence = [
        _waveform(values, leads, rate, "ORIGINAL"),
        _waveform(values[:300], leads, rate, "DERIVED"),
    ]
    for name, value in changes.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)


def _waveform(values: np.ndarray, leads: Sequence[str], rate: int, originality: str):
    from pydicom.dataset import Dataset

    def item(**attributes) -> Dataset:
        result = Dataset()
        for name, value in attributes.items():
            setattr(result, name, value)
        return result

    channels = [
        item(
            ChannelSourceSequence=[
                item(CodeValue=f"5.6.3-9-{SCP_CODES[lead]}", CodingSchemeDesignator="SCPECG", CodeMeaning="?")
                if lead in SCP_CODES
                else item(CodeValue="0", CodingSchemeDesignator="99", CodeMeaning=lead)
            ],
            ChannelSensitivity="1.25",
            ChannelSensitivityCorrectionFactor="4",
            ChannelBaseline="10",
            ChannelSensitivityUnitsSequence=[
                item(CodeValue="uV", CodingSchemeDesignator="UCUM", CodeMeaning="microvolt")
            ],
            WaveformBitsStored=16,
        )
        for lead in leads
    ]
    return item(
        WaveformOriginality=originality,
        NumberOfWaveformChannels=len(leads),
        NumberOfWaveformSamples=len(values),
        SamplingFrequency=str(rate),
        ChannelDefinitionSequence=channels,
        WaveformBitsAllocated=16,
        WaveformSampleInterpretation="SS",
        WaveformData=(values - 2).astype("<i2").tobytes(),  # the baseline is 2 steps
    )


def write_ishne(
    path: pathlib.Path, values: np.ndarray, leads: Sequence[str] = LEADS, rate: int = RATE, **fields
) -> None:
    """From Badilini 1998. `fields`: claimed (samples of a lead), text (bytes), resolution (nV)."""
    text = fields.get("text", b"")
    count = len(leads)
    block = struct.pack("<4ih", len(text), fields.get("claimed", len(values)), 522, 522 + len(text), 1)
    block += b"name".ljust(40, b"\0") * 2 + b"id".ljust(20, b"\0") + struct.pack("<2h", 2, 0)
    for date in (BORN, RECORDED, RECORDED):
        block += struct.pack("<3h", date.day, date.month, date.year)
    block += struct.pack("<3hh", 12, 0, 0, count)
    codes = [ISHNE_CODES.get(lead, 1) for lead in leads]
    for row in (codes, [1] * count, [fields.get("resolution", round(STEP * 1000))] * count):
        block += struct.pack("<12h", *row, *[-9] * (12 - count))
    block += struct.pack("<h", 0) + b"digital".ljust(40, b"\0") + struct.pack("<h", rate)
    block = block.ljust(512, b"\0") + text
    data = b"ISHNE1.0" + struct.pack("<H", binascii.crc_hqx(block, 0xFFFF)) + block + values.astype("<i2").tobytes()
    path.write_bytes(data)


def write_atc(path: pathlib.Path, values: np.ndarray, leads: Sequence[str] = LEADS, rate: int = RATE) -> None:
    """From AliveCor's "ATC File Format Specification 1.7"."""
    data = b"ALIVE\0\0\0" + struct.pack("<I", 5)
    blocks = [(b"info", b"2021-05-17T12:00:00.000+00:00".ljust(264, b"\0"))]
    blocks.append((b"fmt ", struct.pack("<BHHBH", 1, rate, round(STEP * 1000), 2, 0)))
    names = dict(zip(LEADS, " 23456789abc", strict=True))
    blocks += [(b"ecg" + names[lead].encode(), values[:, i].astype("<i2").tobytes()) for i, lead in enumerate(leads)]
    for name, body in blocks:
        whole = name + struct.pack("<I", len(body)) + body
        data += whole + struct.pack("<I", binascii.crc32(whole))
    path.write_bytes(data)


def write_scp(
    path: pathlib.Path,
    values: np.ndarray,
    leads: Sequence[str] = LEADS,
    rate: int = RATE,
    *,
    differences: int = 0,
    tables: str = "",
    beat: np.ndarray | None = None,
    centres: Sequence[int] = (),
    bimodal: int = 0,
) -> None:
    """From EN 1064.

    Args:
      differences: 0, 1 or 2.
      tables: "" (16-bit samples), "default" (the standard's Huffman table) or "own" (two tables, which take turns).
      beat: (length, leads), subtracted around each of `centres` (samples, counted from 1; the beat's middle).
      bimodal: the byte that says so.
    """
    rest = values.astype(np.int64)
    section4 = section5 = b""
    if beat is not None:
        middle = len(beat) // 2 + 1
        section4 = struct.pack("<3H", round(len(beat) * 1000 / rate), middle, len(centres))
        for centre in centres:
            start = centre - middle + 1
            section4 += struct.pack("<H3I", 0, start, centre, start + len(beat) - 1)
            rest[start - 1 : start - 1 + len(beat)] -= beat
        for centre in centres:
            section4 += struct.pack("<2I", centre - 5, centre + 5)
        section5 = _scp_signals(beat, rate, differences, tables, 0)
    section1 = b"".join(
        struct.pack("<BH", tag, len(body)) + body
        for tag, body in (
            (4, struct.pack("<HB", int(AGE), 1)),
            (5, struct.pack("<HBB", BORN.year, BORN.month, BORN.day)),
            (8, b"\2"),
            (25, struct.pack("<HBB", RECORDED.year, RECORDED.month, RECORDED.day)),
            (255, b""),
        )
    )
    section3 = struct.pack("<BB", len(leads), (beat is not None) | 4 | len(leads) << 3)
    section3 += b"".join(struct.pack("<IIB", 1, len(values), SCP_CODES[lead]) for lead in leads)
    bodies = {1: section1, 2: _scp_tables(tables), 3: section3, 4: section4, 5: section5}
    bodies |= {6: _scp_signals(rest, rate, differences, tables, bimodal)}
    numbers = range(12)
    start = 6 + 16 + 10 * len(numbers)
    pointers, parts = b"", b""
    for number in numbers[1:]:
        body = bodies.get(number, b"")
        body += b"\0" * (len(body) % 2)
        part = _scp_section(number, body) if body else b""
        pointers += struct.pack("<HII", number, len(part), start + len(parts) + 1 if part else 0)
        parts += part
    first = _scp_section(0, struct.pack("<HII", 0, start - 6, 7) + pointers, b"SCPECG")
    whole = struct.pack("<I", 6 + len(first) + len(parts)) + first + parts
    path.write_bytes(struct.pack("<H", binascii.crc_hqx(whole, 0xFFFF)) + whole)


def _scp_section(number: int, body: bytes, reserved: bytes = b"\0" * 6) -> bytes:
    head = struct.pack("<HIBB", number, 16 + len(body), 20, 20) + reserved
    return struct.pack("<H", binascii.crc_hqx(head + body, 0xFFFF)) + head + body


def _scp_signals(values: np.ndarray, rate: int, differences: int, tables: str, bimodal: int) -> bytes:
    rows = []
    for column in values.astype(np.int64).T:
        if differences:  # as many samples as the order of the differences stay
            column = np.concatenate((column[:differences], np.diff(column, differences)))
        rows.append(_scp_pack(column.tolist(), tables))
    head = struct.pack("<HHBB", round(STEP * 1000), round(1e6 / rate), differences, bimodal)
    return head + struct.pack(f"<{len(rows)}H", *map(len, rows)) + b"".join(rows)


_OWN = (  # prefix, bits behind it, value (of a switch: the next table); None: the value is what the bits say
    [("0", 8, 0, False), ("10", 16, 0, False), ("11", 0, 2, True)],
    [("1", 16, 0, False), ("00", 0, 0, False), ("01", 0, 1, True)],
)


def _scp_tables(tables: str) -> bytes:
    if tables != "own":
        return struct.pack("<H", 19999) if tables else b""
    result = struct.pack("<H", len(_OWN))
    for table in _OWN:
        result += struct.pack("<H", len(table))
        for prefix, extra, value, switch in table:
            code = int(prefix[::-1], 2)
            result += struct.pack("<BBBhI", len(prefix), len(prefix) + extra, not switch, value, code)
    return result


def _scp_pack(values: list[int], tables: str) -> bytes:
    if not tables:
        return np.array(values, "<i2").tobytes()
    bits, table = "", 0
    for i, value in enumerate(values):
        if tables == "default":
            size = abs(value)
            if size <= 8:
                bits += "1" * size + "0" + ("" if size == 0 else "01"[value < 0])
            else:
                extra = 8 if size < 128 else 16
                bits += "111111111" + "01"[extra == 16] + format(value & ((1 << extra) - 1), f"0{extra}b")
            continue
        if i % 5 == 4:  # the other table from here on
            bits += _OWN[table][2][0]
            table = 1 - table
        fits = [
            code for code in _OWN[table][:2] if -(1 << code[1]) <= 2 * value < 1 << code[1] or value == code[1] == 0
        ]
        prefix, extra, _, _ = fits[0]
        bits += prefix + (format(value & ((1 << extra) - 1), f"0{extra}b") if extra else "")
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")
