import numpy as np
import pytest

from lrhnet_jax.tasks import cpsc2018, physionet2020


@pytest.mark.parametrize(("code", "name"), cpsc2018.CODES.items())
def test_every_code_is_one_class(code, name):
    np.testing.assert_array_equal(cpsc2018.encode_labels([code, "55827005"]), np.array(cpsc2018.CLASSES) == name)


def test_codes_mean_what_they_mean_in_challenge_2020():
    for code, name in cpsc2018.CODES.items():
        scored = physionet2020.EQUIVALENT.get(code, code)
        if scored in physionet2020.DIAGNOSES:
            assert physionet2020.DIAGNOSES[scored][0] == name
    others = {
        code for code in cpsc2018.CODES if physionet2020.EQUIVALENT.get(code, code) not in physionet2020.DIAGNOSES
    }
    assert others == {"164884008", "429622005", "164931005"}  # ventricular ectopics, ST depression, ST elevation
    for code, stands_for in physionet2020.EQUIVALENT.items():
        assert cpsc2018.CODES[code] == cpsc2018.CODES[stands_for]


def test_a_record_may_carry_several_or_none():
    labels = cpsc2018.encode_labels(["164889003", "59118001", "713427006"])
    assert [cpsc2018.CLASSES[i] for i in np.flatnonzero(labels)] == ["AF", "RBBB"]
    assert not cpsc2018.encode_labels(["427084000", ""]).any()
