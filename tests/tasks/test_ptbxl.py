import collections

import numpy as np
import pytest

from lrhnet_jax.tasks import ptbxl


def test_the_44_diagnoses_and_their_superclasses():
    assert ptbxl.CLASSES == ("NORM", "MI", "STTC", "CD", "HYP")
    counts = collections.Counter(ptbxl.SUPERCLASS.values())
    assert counts == {"NORM": 1, "MI": 14, "STTC": 13, "CD": 11, "HYP": 5}
    assert len(ptbxl.SUPERCLASS) == 44


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (("NORM", "SR"), {"NORM"}),
        (("IMI", "AMI", "LVH", "1AVB"), {"MI", "HYP", "CD"}),
        (("SR", "AFIB", "PVC"), set()),
        ((), set()),
    ],
)
def test_labels(statements, expected):
    labels = ptbxl.encode_labels(statements)
    assert labels.dtype == bool and labels.shape == (5,)
    assert {ptbxl.CLASSES[i] for i in np.flatnonzero(labels)} == expected


def test_another_release_may_have_other_superclasses():
    np.testing.assert_array_equal(ptbxl.encode_labels(["NEW", "NORM"], {"NEW": "HYP"}), np.arange(5) == 4)
