import numpy as np
import pytest

from lrhnet_jax import ecg


def test_classes_ascend_as_strings_and_equivalent_codes_count_as_one():
    assert len(ecg.CLASSES) == 24 and list(ecg.CLASSES) == sorted(ecg.CLASSES)
    for code, stands_for in ecg.EQUIVALENT.items():
        np.testing.assert_array_equal(ecg.encode_labels([code]), ecg.encode_labels([stands_for]))
        assert ecg.encode_labels([code, stands_for]).sum() == 1
    assert not ecg.encode_labels(["55827005", ""]).any()  # an unscored diagnosis


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
    vector = ecg.demographics_vector(age, sex)
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, expected, rtol=1e-6)
