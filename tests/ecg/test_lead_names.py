import numpy as np
import pytest

from lrhnet_jax.ecg.lead_names import available_leads, canonical_lead, parse_renames, select_leads
from lrhnet_jax.ecg.leads import LEADS, LeadError

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


@pytest.mark.parametrize("lead", LEADS)
def test_a_lead_under_every_usual_name(lead):
    spellings = [lead, lead.lower(), lead.upper(), f" {lead} ", f"Lead {lead}", f"lead_{lead}", f"ECG {lead}"]
    spellings += [
        f"EKG {lead}",
        f"ECG-{lead}",
        f"Lead{lead}",
        f"MDC_ECG_LEAD_{lead.upper()}",
        f"{lead}-REF",
        f"{lead}+",
    ]
    assert {canonical_lead(name) for name in spellings} == {lead}


@pytest.mark.parametrize(
    ("name", "lead"),
    [
        ("DI", "I"),
        ("DII", "II"),
        ("dIII", "III"),
        ("D2", "II"),
        ("AVR", "aVR"),
        ("aV L", "aVL"),
        ("V 1", "V1"),
        ("\N{ROMAN NUMERAL TWO}", "II"),
        ("Lead I (Einthoven)", "I"),
        ("aVF, augmented voltage, foot", "aVF"),
    ],
)
def test_names_of_other_countries_and_standards(name, lead):
    assert canonical_lead(name) == lead


@pytest.mark.parametrize(
    "name",
    [
        *("", "ECG", "ECG1", "Lead 1", "1", "MLI", "MLII", "-aVR", "I-II", "I II", "V1-V2", "V7", "V10", "C3", "VR"),
        *("D", "Lead", "V", "aV", "\N{ARABIC-INDIC DIGIT ONE}", "V\N{ARABIC-INDIC DIGIT ONE}"),
        pytest.param(" " * 100_000, id="blanks"),
        pytest.param("I" * 100_000, id="long"),
    ],
)
def test_what_is_not_for_certain_a_lead_stays_unknown(name):
    assert canonical_lead(name) is None


def test_limb_leads_follow_from_i_and_ii():
    rng = np.random.default_rng(0)
    left, right, foot = rng.normal(size=(3, 50))  # potentials of the electrodes
    limbs = {"I": left - right, "II": foot - right, "III": foot - left}
    for name, one, others in (("aVR", right, (left, foot)), ("aVL", left, (right, foot)), ("aVF", foot, (left, right))):
        limbs[name] = one - sum(others) / 2
    signal = np.stack([limbs["I"], limbs["II"], *rng.normal(size=(6, 50))], axis=1)
    result, notes = select_leads(signal, EIGHT)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[:, :6], np.stack([limbs[name] for name in LEADS[:6]], 1), atol=1e-6)
    np.testing.assert_array_equal(result[:, 6:], signal[:, 2:].astype(np.float32))
    assert notes == tuple(f"lead {name} derived from leads I and II" for name in ("III", "aVR", "aVL", "aVF"))


def test_leads_that_are_there_are_not_derived():
    signal = np.arange(6.0).reshape(2, 3)
    result, notes = select_leads(signal, ("aVF", "II", "I"), ("II", "aVF"))
    np.testing.assert_array_equal(result, signal[:, [1, 0]])
    assert notes == ()


def test_a_missing_sample_spoils_only_what_depends_on_it():
    signal = np.ones((2, 8))
    signal[0, 2] = np.nan  # V1
    result, _ = select_leads(signal, EIGHT)
    assert np.argwhere(np.isnan(result)).tolist() == [[0, LEADS.index("V1")]]


def test_other_signals_may_have_any_names():
    signal = np.arange(8.0).reshape(2, 4)
    result, _ = select_leads(signal, ("Status", "I", "Status", ""), ("I",))
    np.testing.assert_array_equal(result, signal[:, [1]])


@pytest.mark.parametrize("names", [("I", "i"), ("Lead I", "DI", "II")])
def test_a_wanted_lead_twice(names):
    with pytest.raises(LeadError, match="names a lead twice"):
        select_leads(np.zeros((2, len(names))), names, ("I",))


def test_the_user_says_what_counts_as_a_lead():
    names = ("MLII", "ECG1")
    with pytest.raises(LeadError, match=r"lacks lead I, II \(it has MLII, ECG1\).*--rename_leads=MLII=I"):
        select_leads(np.zeros((2, 2)), names, ("I", "II"))
    signal = np.arange(4.0).reshape(2, 2)
    result, notes = select_leads(signal, names, ("I", "II"), parse_renames("MLII=II, ECG1=I"))
    np.testing.assert_array_equal(result, signal[:, ::-1])
    assert notes == ("MLII read as lead II", "ECG1 read as lead I")


def test_a_message_stays_short_whatever_the_file_names():
    names = [f"\x1b[2J{'x' * 10_000}{i}" for i in range(10_000)]
    with pytest.raises(LeadError, match=r"lacks lead I .*and 9980 more") as error:
        select_leads(np.zeros((2, len(names))), names, ("I",))
    assert len(str(error.value)) < 2000 and str(error.value).isprintable()


@pytest.mark.parametrize("text", ["MLII", "MLII=X", "=II", "MLII=II=", "MLII=ii"])
def test_renames_that_make_no_sense(text):
    with pytest.raises(LeadError, match="renames no lead"):
        parse_renames(text)


@pytest.mark.parametrize(
    ("names", "leads"),
    [
        (EIGHT, LEADS),
        (("II", "V1"), ("II", "V1")),
        (("I", "II", "II"), ("I",)),
        (("DI", "DII", "RESP"), LEADS[:6]),
        ((), ()),
    ],
)
def test_leads_that_can_be_had(names, leads):
    assert available_leads(names) == leads
