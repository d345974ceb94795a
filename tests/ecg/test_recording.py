import pickle

import pytest

from lrhnet_jax.ecg.leads import demographics_vector
from lrhnet_jax.ecg.recording import RecordError, parse_age
from lrhnet_jax.errors import UserError


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("61", 61),
        ("61.5", 61.5),
        (" 61 years ", 61),
        ("61\tyrs.", 61),
        ("061Y", 61),
        ("006M", 0.5),
        ("0", 0),
        ("89+", 90),
        (">89", 90),
        (">= 89", 90),
        ("over 89", 90),
        ("Above 89 years", 90),
        ("300", 300),
        ("304.7", 304.7),
        *(
            (text, None)
            for text in ("", "NaN", "inf", "-1", "200", "sixty", ">50", "1_0", "1e1", "12 3", "\u0666\u0661")
        ),
        pytest.param("9" * 100_000, None, id="long"),
        pytest.param(" " * 100_000 + "x", None, id="blanks"),
        (None, None),
    ],
)
def test_ages_as_people_write_them(text, years):
    assert parse_age(text) == years


@pytest.mark.parametrize("text", ["89+", ">89", "300", "311.2"])
def test_every_age_over_89_counts_as_90(text):
    assert demographics_vector(parse_age(text), None)[:2].tolist() == pytest.approx([0.9, 1])


def test_record_errors_are_the_users_and_cross_processes():
    error = pickle.loads(pickle.dumps(RecordError("x.hea", "is strange")))
    assert isinstance(error, UserError) and str(error) == "x.hea: is strange"
    assert (error.path, error.reason) == ("x.hea", "is strange")
