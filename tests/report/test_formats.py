import pytest

from lrhnet_jax.ecg.leads import parse_leads
from lrhnet_jax.report import formats


def test_numbers():
    assert formats.percent(0.58432) == "58.4"
    assert formats.percent(0.02, "+") == "+2.0"
    assert formats.percent(-0.02, "+") == "-2.0"
    assert formats.percent(None) == "-"
    assert formats.interval(0.5, 0.4, 0.6) == "50.0 [40.0, 60.0]"
    assert formats.interval(None, None, None) == "-"
    assert formats.interval(0.5, None, None) == "50.0"
    assert formats.mean([None, 0.1, 0.3]) == pytest.approx(0.2)
    assert formats.mean([None]) is None
    assert formats.mean_and_deviation([0.1, None, 0.3]) == "20.0 ± 14.1"
    assert formats.mean_and_deviation([0.1, None]) == "10.0"


def test_leads_are_named_as_in_a_config_string():
    for text in ("12", "6", "3", "2", "1", "I+V5"):
        assert formats.leads(list(parse_leads(text))) == text


def test_tables():
    assert formats.markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert formats.columns([["a", "b"], ["ccc", "1"], ["d", "22"]], left=1) == [
        "a     b",
        "-------",
        "ccc   1",
        "d    22",
    ]
    assert formats.wrap(["one two"], 4) == ["one", "two", ""]
