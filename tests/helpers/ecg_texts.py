"""Small ECG files of formats that are text: XML, JSON and the CSV of the Apple Watch, from their specifications."""

import base64
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from lrhnet_jax.ecg.leads import LEADS
from tests.helpers.ecg_files import AGE, BORN, RATE, RECORDED, STEP, counts, millivolts

DTD = '<!DOCTYPE RestingECG SYSTEM "restecg.dtd">'


def write_aecg(path: pathlib.Path, values: np.ndarray, leads: Sequence[str] = LEADS, increment: str = "0.002") -> None:
    """HL7 aECG; its lead I has an origin and another unit than the rest."""
    sequences = [
        '<component><sequence><code code="TIME_ABSOLUTE" /><value xsi:type="GLIST_TS">'
        f'<head value="20210517120000"/><increment value="{increment}" unit="s"/></value></sequence></component>'
    ]
    for i, lead in enumerate(leads):
        origin, scale, unit = (("-0.05", "0.005", "mV"), ("0", f"{STEP}", "uV"))[i > 0]
        digits = " ".join(map(str, values[:, i] + (10 if i == 0 else 0)))
        sequences.append(
            f'<component><sequence><code code="MDC_ECG_LEAD_{lead}" codeSystem="2.16.840.1.113883.6.24"/>'
            f'<value xsi:type="SLIST_PQ"><origin value="{origin}" unit="{unit}"/><scale value="{scale}" unit="{unit}"/>'
            f"<digits>{digits}</digits></value></sequence></component>"
        )
    person = f'<administrativeGenderCode code="F"/><birthTime value="{BORN:%Y%m%d}"/>'
    for tag in (
        "subjectDemographicPerson",
        "trialSubject",
        "subject",
        "subjectAssignment",
        "componentOf",
        "timepointEvent",
    ):
        person = f"<{tag}>{person}</{tag}>"
    rhythm = f"<sequenceSet>{''.join(sequences)}</sequenceSet>"
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<!-- an annotated ECG -->\n'
        '<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f'<effectiveTime><low value="{RECORDED:%Y%m%d}120000"/></effectiveTime><componentOf>{person}</componentOf>'
        f'<component><series><code code="RHYTHM"/><component>{rhythm}</component></series></component></AnnotatedECG>'
    )


def write_muse(
    path: pathlib.Path, values: np.ndarray, leads: Sequence[str] = LEADS, rate: int = RATE, dtd: str = DTD
) -> None:
    """GE MUSE XML, with a median beat before the rhythm."""
    text = f'<?xml version="1.0" encoding="ISO-8859-1"?>\n{dtd}\n<RestingECG>'
    text += f"<PatientDemographics><PatientAge>{AGE:.0f}</PatientAge><AgeUnits>YEARS</AgeUnits><Gender>FEMALE</Gender>"
    text += "</PatientDemographics>"
    for kind, part in (("Median", values[:100]), ("Rhythm", values)):
        text += f"<Waveform><WaveformType>{kind}</WaveformType>"
        text += f"<SampleBase>{rate}</SampleBase><SampleExponent>0</SampleExponent>"
        for i, lead in enumerate(leads):
            data = base64.b64encode(part[:, i].astype("<i2").tobytes()).decode()
            lines = "\n".join(data[at : at + 76] for at in range(0, len(data), 76))
            text += (
                f"<LeadData><LeadByteCountTotal>{2 * len(part)}</LeadByteCountTotal>"
                f"<LeadSampleCountTotal>{len(part)}</LeadSampleCountTotal><LeadSampleSize>2</LeadSampleSize>"
                f"<LeadAmplitudeUnitsPerBit>{STEP}</LeadAmplitudeUnitsPerBit>"
                f"<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits><LeadID>{lead}</LeadID>"
                f"<LeadOff>{'TRUE' if lead == 'V6' else 'FALSE'}</LeadOff>"
                f"<WaveFormData>\n{lines}</WaveFormData></LeadData>"
            )
        text += "</Waveform>"
    path.write_text(text + "</RestingECG>", encoding="latin-1")


def write_philips(
    path: pathlib.Path, values: np.ndarray, leads: Sequence[str] = LEADS, rate: int = RATE, xli: bool = True
) -> None:
    """Philips XML 1.04; `leads` begin with the six limb leads where it is packed."""
    data = pack_xli(values) if xli else np.ascontiguousarray(values.T).astype("<i2").tobytes()
    packed = 'compressflag="True" compressmethod="XLI"' if xli else 'compressflag="False"'
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<restingecgdata xmlns="http://www3.medical.philips.com">'
        "<documentinfo><documenttype>PhilipsECG</documenttype><documentversion>1.04</documentversion></documentinfo>"
        "<patient><generalpatientdata><age><dateofbirth>1960-03-01</dateofbirth>"
        f"<years>{AGE:.0f}</years></age><sex>Female</sex></generalpatientdata></patient>"
        '<dataacquisition date="2021-05-17" time="12:00:00"><signalcharacteristics>'
        f"<samplingrate>{rate}</samplingrate><signalresolution>{STEP:g}</signalresolution>"
        "<signaloffset>0</signaloffset><signalsigned>True</signalsigned>"
        f"<numberchannelsallocated>{len(leads)}</numberchannelsallocated>"
        f"<numberchannelsvalid>{len(leads)}</numberchannelsvalid><acquisitiontype>STD-12</acquisitiontype>"
        "</signalcharacteristics></dataacquisition><waveforms>"
        f'<parsedwaveforms durationperchannel="{1000 * len(values) // rate}" dataencoding="Base64" {packed}'
        f' numberofleads="{len(leads)}" leadlabels="{" ".join(leads)}">{base64.b64encode(data).decode()}'
        "</parsedwaveforms></waveforms></restingecgdata>"
    )


def pack_xli(values: np.ndarray) -> bytes:
    """Packs (time, leads) as Philips does; the inverse of what sierra-ecg-tools describe."""
    rows = values.astype(np.int64).T.copy()
    one, two, three = rows[0].copy(), rows[1].copy(), rows[2].copy()
    rows[2] = two - one - three
    rows[3] = -rows[3] - (one + two) // 2
    rows[4] = (one - three) // 2 - rows[4]
    rows[5] = (two + three) // 2 - rows[5]
    result = b""
    for row in rows:
        bend = -np.diff(row, 2)  # of samples 2 and later
        codes = np.concatenate((row[:2], bend[1:] + 64, [64])).astype(">i2")
        raw = codes.view(np.uint8).reshape(-1, 2)
        chunk = _lzw(raw[:, 0].tobytes() + raw[:, 1].tobytes())
        result += len(chunk).to_bytes(4, "little") + b"\0\0" + int(bend[0]).to_bytes(2, "little", signed=True) + chunk
    return result


def _lzw(data: bytes) -> bytes:
    table = {bytes([value]): value for value in range(256)}
    bits, string = "", b""
    for value in data:
        longer = string + bytes([value])
        if longer in table:
            string = longer
            continue
        bits += format(table[string], "010b")
        if len(table) <= 1022:
            table[longer] = len(table)
        string = longer[-1:]
    bits += format(table[string], "010b") + format(1023, "010b")
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def write_kardia_json(
    path: pathlib.Path, values: np.ndarray, leads: Sequence[str] = LEADS[:6], rate: int = RATE
) -> None:
    """What the Kardia API returns for a recording."""
    names = dict(zip(LEADS, ("leadI", "leadII", "leadIII", "AVR", "AVL", "AVF"), strict=False))
    samples = {names[lead]: values[:, i].tolist() for i, lead in enumerate(leads)}
    raw = {
        "frequency": rate,
        "mainsFrequency": 50,
        "amplitudeResolution": STEP * 1000,
        "numLeads": len(leads),
        "samples": samples,
    }
    document = {
        "id": "1",
        "recordedAt": "2021-05-17T12:00:00Z",
        "algorithmDetermination": "normal",
        "data": {"raw": raw},
    }
    path.write_text(json.dumps(document))


def write_apple(path: pathlib.Path, values: np.ndarray, language: str = "en", rate: str = "512") -> None:
    """The CSV of an Apple Watch: lead I in µV; "de" with a decimal comma and German words."""
    english, comma = language == "en", language != "en"
    rate = rate.replace(".", ",") if comma else rate
    lines = [
        ("Name", "Anna I"),
        ("Date of Birth", '"Mar 1, 1960"') if english else ("Geburtsdatum", '"01.03.1960"'),
        ("Recorded Date" if english else "Aufzeichnungsdatum", "2021-05-17 12:00:00 +0200"),
        ("Classification" if english else "Klassifizierung", "Sinus Rhythm" if english else "Sinusrhythmus"),
        ("Software Version", "1.90"),
        ("Device", '"Watch6,7"'),
        ("Sample Rate" if english else "Messrate", f"{rate} hertz" if english else f"{rate} Hertz"),
        ("", ""),
        ("Lead", "Lead I") if english else ("Ableitung", "Ableitung I"),
        ("Unit" if english else "Einheit", "µV"),
        ("", ""),
    ]
    text = "".join(f"{key},{value}\n" if key else "\n" for key, value in lines)
    for value in values[:, 0] * STEP:
        text += f"{value:.3f}\n".replace(".", "," if comma else ".")
    path.write_text(text, encoding="utf-8")


def write_cardiosoft(path: pathlib.Path, values: np.ndarray, leads: Sequence[str] = LEADS, rate: int = RATE) -> None:
    """GE CardioSoft XML, as UK Biobank publishes it: median beats before the strip."""
    parts = ""
    for tag, part in (("MedianSamples", values[:100]), ("StripData", values)):
        rows = "".join(
            f'<WaveformData lead="{lead}">{",".join(map(str, part[:, i]))}</WaveformData>'
            for i, lead in enumerate(leads)
        )
        parts += f'<{tag}><SampleRate units="Hz">{rate}</SampleRate><Resolution units="uVperLsb">{STEP:g}</Resolution>'
        parts += f"{rows}</{tag}>"
    person = f'<PatientInfo><Age units="YEARS">{AGE:.0f}</Age><Gender>FEMALE</Gender></PatientInfo>'
    path.write_text(f'<?xml version="1.0" encoding="ISO-8859-1" ?><CardiologyXML>{person}{parts}</CardiologyXML>')


TWO_LEADS = millivolts(counts())[:, :2]


def write_table(path, head, row, values=None, encoding="utf-8", newline="\n"):
    """A table of two leads; `head` and `row` as in `TABLES`."""
    values = TWO_LEADS.tolist() if values is None else values
    text = "".join(f"{line}\n" for line in head) + "".join(f"{row(i, *pair)}\n" for i, pair in enumerate(values))
    path.write_bytes(text.replace("\n", newline).encode(encoding))
    return path


def _comma(value):
    return f"{value:.4f}".replace(".", ",")


# What a dialect is called -> lines above the table, and a row of (number, I, II).
TABLES = {
    "comma, seconds": (["time,I,II"], lambda i, a, b: f"{i / 500:.3f},{a:.4f},{b:.4f}"),
    "units in names, milliseconds": (["time (ms),I (uV),II [mV]"], lambda i, a, b: f"{i * 2},{a * 1000:.1f},{b:.4f}"),
    "tab, lower case": (["time_s\tlead i\tecg_ii"], lambda i, a, b: f"{i / 500}\t{a:.4f}\t{b:.4f}"),
    "semicolon, decimal comma": (["Time [s];I;II"], lambda i, a, b: f"{_comma(i / 500)};{_comma(a)};{_comma(b)}"),
    "tab, decimal comma": (["t\tI\tII"], lambda i, a, b: f"{_comma(i / 500)}\t{_comma(a)}\t{_comma(b)}"),
    "quoted decimal comma": (['"t","I","II"'], lambda i, a, b: f'"{_comma(i / 500)}","{_comma(a)}","{_comma(b)}"'),
    "blanks, decimal comma": (["t I II"], lambda i, a, b: f"{_comma(i / 500)}  {_comma(a)}  {_comma(b)}"),
    "blanks": (["# time I II", "#"], lambda i, a, b: f"{i / 500:.3f}   {a:.4f}   {b:.4f}"),
    "PhysioNet's rdsamp": (
        ["'Elapsed time','I','II'", "'hh:mm:ss.mmm','mV','mV'"],
        lambda i, a, b: f"'{i // 30000}:{i / 500 % 60:06.3f}',{a:.4f},{b:.4f}",
    ),
    "dates": (["timestamp,I,II"], lambda i, a, b: f"2024-05-01 10:00:{i / 500:06.3f},{a:.4f},{b:.4f}"),
    "rate above, counter": (["fs: 500", "unit: mV", "", "sample,I,II"], lambda i, a, b: f"{i},{a:.4f},{b:.4f}"),
    "rate in a comment": (["# Sampling rate = 500 Hz", "I,II"], lambda i, a, b: f"{a:.4f},{b:.4f}"),
    "microvolts above": (["Frequency;500 Hz", "Unit;µV", "", "I;II"], lambda i, a, b: f"{a * 1000:.1f};{b * 1000:.1f}"),
    "trailing separator": (["time,I,II,"], lambda i, a, b: f"{i / 500:.3f},{a:.4f},{b:.4f},"),
    "a filter above": (["high-pass: 0.5 Hz", "sampling frequency: 500 Hz", "I,II"], lambda i, a, b: f"{a:.4f},{b:.4f}"),
    "pandas": ([",time,I,II"], lambda i, a, b: f"{i},{i / 500},{a:.4f},{b:.4f}"),
}  # fmt: skip
