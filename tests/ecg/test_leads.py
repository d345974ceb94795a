import numpy as np
import pytest

from lrhnet_jax.ecg.leads import demographics_vector
from lrhnet_jax.tasks import physionet2020


def test_classes_ascend_as_strings_and_equivalent_codes_count_as_one():
    assert len(physionet2020.CLASSES) == 24 and list(physionet2020.CLASSES) == sorted(physionet2020.CLASSES)
    for code, stands_for in physionet2020.EQUIVALENT.items():
        np.testing.assert_array_equal(physionet2020.encode_labels([code]), physionet2020.encode_labels([stands_for]))
        assert physionet2020.encode_labels([code, stands_for]).sum() == 1
    assert not physionet2020.encode_labels(["55827005", ""]).any()  # an unscored diagnosis


@pytest.mark.parametrize(
    ("age", "sex", "expected"),
    [
        (50, "Female", [0.5, 1, 1, 0, 1]),
        (50.0, "m", [0.5, 1, 0, 1, 1]),
        (float("nan"), "F", [0, 0, 1, 0, 1]),
        (None, None, [0, 0, 0, 0, 0]),
        (300, "Unknown", [0.9, 1, 0, 0, 0]),
        (-1, "Male", [0, 0, 0, 1, 1]),
        (121, "male ", [0, 0, 0, 1, 1]),
    ],
)
def test_demographics_tell_known_from_unknown(age, sex, expected):
    vector = demographics_vector(age, sex)
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, expected, rtol=1e-6)
