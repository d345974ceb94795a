"""HL7 aECG, GE MUSE, GE CardioSoft, Philips and Kardia's JSON; and XML that means harm."""

import numpy as np
import pytest

from lrhnet_jax.ecg import readers
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.ecg.recording import RecordError
from tests.helpers import ecg_texts
from tests.helpers.ecg_files import AGE, counts, millivolts

VALUES = counts()
EXPECTED = millivolts(VALUES)


def _replaced(path, *pairs):
    text = path.read_text(encoding="latin-1")
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="latin-1")
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_aecg_in_any_encoding(tmp_path, encoding):
    path = tmp_path / "a.xml"
    ecg_texts.write_aecg(path, VALUES)
    path.write_text(path.read_text().replace("UTF-8", encoding), encoding=encoding)
    recording = readers.read(path)
    np.testing.assert_allclose(recording.signal, EXPECTED, atol=1e-6)
    assert (recording.rate, recording.leads, recording.age, recording.sex) == (500, LEADS, AGE, "F")


def test_aecg_of_a_rate_that_is_not_whole(tmp_path):
    ecg_texts.write_aecg(tmp_path / "a.xml", VALUES, increment="0.0039")
    assert readers.read(tmp_path / "a.xml").rate == pytest.approx(256.410256, abs=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('unit="uV"', 'unit="mmHg"', "lead MDC_ECG_LEAD_II is not a voltage"),
        ('increment value="0.002"', 'increment value="0"', "time sequence without an increment"),
        ("<code code=\"RHYTHM\"/>", "<code code=\"REPRESENTATIVE_BEAT\"/>", "holds no ECG leads"),
        ("</AnnotatedECG>", "", "broken XML .*; it may be truncated: export it again"),
    ],
)  # fmt: skip
def test_aecg_that_is_not_read(tmp_path, old, new, message):
    ecg_texts.write_aecg(tmp_path / "a.xml", VALUES)
    with pytest.raises(RecordError, match=message):
        readers.read(_replaced(tmp_path / "a.xml", (old, new)))


def test_muse_reads_the_rhythm_and_derives_nothing(tmp_path):
    eight = [0, 1, *range(6, 12)]
    ecg_texts.write_muse(tmp_path / "a.xml", VALUES[:, eight], [LEADS[i] for i in eight])
    recording = readers.read(tmp_path / "a.xml")
    np.testing.assert_allclose(recording.signal, EXPECTED[:, eight], atol=1e-6)
    assert (recording.rate, recording.age, recording.sex) == (500, AGE, "FEMALE")
    assert recording.notes == ("the device says that lead V6 was off",)
    np.testing.assert_allclose(readers.select(recording, LEADS).signal, EXPECTED, atol=0.006)  # III was rounded


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("SampleCountTotal>1000<", "SampleCountTotal>9000<")], "truncated: 1000 of 9000 samples of lead I"),
        ([("MICROVOLTS", "BANANAS")], "unit 'BANANAS' is not a voltage"),
        ([("<WaveformType>Rhythm<", "<WaveformType>Median<")], "holds no rhythm waveform, only what was measured"),
        ([("<SampleBase>500<", "<SampleBase>x<")], "does not say its sampling rate"),
    ],
)  # fmt: skip
def test_muse_that_is_not_read(tmp_path, pairs, message):
    ecg_texts.write_muse(tmp_path / "a.xml", VALUES)
    with pytest.raises(RecordError, match=message):
        readers.read(_replaced(tmp_path / "a.xml", *pairs))


def test_muse_whose_unit_is_missing_is_taken_as_microvolts_and_says_so(tmp_path):
    ecg_texts.write_muse(tmp_path / "a.xml", VALUES)
    _replaced(tmp_path / "a.xml", ("<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits>", ""))
    recording = readers.read(tmp_path / "a.xml")
    np.testing.assert_allclose(recording.signal, EXPECTED, atol=1e-6)
    assert "the file names no unit; its samples are taken as MICROVOLTS" in recording.notes


@pytest.mark.parametrize("xli", [True, False])
def test_philips_packed_and_plain(tmp_path, xli):
    ecg_texts.write_philips(tmp_path / "a.xml", VALUES, xli=xli)
    recording = readers.read(tmp_path / "a.xml")
    np.testing.assert_allclose(recording.signal, EXPECTED, atol=1e-6)
    assert (recording.rate, recording.leads, recording.age, recording.sex) == (500, LEADS, AGE, "Female")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([('perchannel="2000"', 'perchannel="4000000000"')], "truncated: its durationperchannel claims"),
        ([('compressmethod="XLI"', 'compressmethod="ZIP"')], "compressed by 'ZIP'; XLI is read"),
        ([("<signalresolution>5<", "<signalresolution>0<")], "does not say its rate, duration and resolution"),
    ],
)  # fmt: skip
def test_philips_that_is_not_read(tmp_path, pairs, message):
    ecg_texts.write_philips(tmp_path / "a.xml", VALUES)
    with pytest.raises(RecordError, match=message):
        readers.read(_replaced(tmp_path / "a.xml", *pairs))


def test_cardiosoft_reads_the_strip(tmp_path):
    ecg_texts.write_cardiosoft(tmp_path / "a.xml", VALUES)
    recording = readers.read(tmp_path / "a.xml")
    np.testing.assert_allclose(recording.signal, EXPECTED, atol=1e-6)
    assert (recording.rate, recording.leads, recording.age, recording.sex) == (500, LEADS, AGE, "FEMALE")


def test_kardia_json(tmp_path):
    ecg_texts.write_kardia_json(tmp_path / "a.json", VALUES)
    recording = readers.read(tmp_path / "a.json")
    np.testing.assert_allclose(recording.signal, EXPECTED[:, :6], atol=1e-6)
    assert (recording.rate, recording.leads) == (500, LEADS[:6])
    (tmp_path / "b.json").write_text('{"data": [1, 2]}')
    with pytest.raises(RecordError, match="is not a Kardia recording"):
        readers.read(tmp_path / "b.json")


BOMB = '<!DOCTYPE RestingECG [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
LEAK = '<!DOCTYPE RestingECG [<!ENTITY leak SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize("dtd", [BOMB, LEAK])
def test_entities_are_refused(tmp_path, dtd):
    ecg_texts.write_muse(tmp_path / "a.xml", VALUES, dtd=dtd)
    with pytest.raises(RecordError, match=r"a\.xml: declares XML entities, which are not expanded"):
        readers.read(tmp_path / "a.xml")


def test_a_document_type_that_lies_elsewhere_is_not_fetched(tmp_path):
    dtd = '<!DOCTYPE RestingECG SYSTEM "http://192.0.2.1/restecg.dtd">'
    ecg_texts.write_muse(tmp_path / "a.xml", VALUES, dtd=dtd)
    np.testing.assert_allclose(readers.read(tmp_path / "a.xml").signal, EXPECTED, atol=1e-6)


def test_nesting_has_an_end(tmp_path):
    (tmp_path / "a.xml").write_text("<RestingECG>" + "<a>" * 100_000)
    with pytest.raises(RecordError, match="more than 200 elements in each other"):
        readers.read(tmp_path / "a.xml")
