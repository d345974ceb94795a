import numpy as np
import pytest

from lrhnet_jax.ecg import stratify


def _set(n=3000, seed=0):
    """Records of two sources with rare and common classes; every third record shares its patient with others."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n, 24)) < np.geomspace(0.003, 0.5, 24)
    sources = np.where(rng.random(n) < 0.7, "ptb-xl", "georgia")
    patients = np.array([f"{s}/{rng.integers(n // 6)}" if i % 3 == 0 else "" for i, s in enumerate(sources)])
    return labels, sources, patients


def test_folds_are_balanced_within_each_source():
    labels, sources, patients = _set()
    fold = stratify.assign_folds(labels, sources, patients)
    assert fold.dtype == np.int32
    for source in np.unique(sources):
        of_source = labels[sources == source].astype(int)
        for k in range(5):
            inside = of_source[fold[sources == source] == k]
            assert np.abs(inside.sum(0) - of_source.sum(0) / 5).max() <= 5
            assert len(inside) == pytest.approx(len(of_source) / 5, rel=0.06)


def test_no_patient_is_in_two_folds():
    labels, sources, patients = _set()
    fold = stratify.assign_folds(labels, sources, patients)
    known = np.unique(patients[patients != ""])
    assert max(np.sum(patients == p) for p in known) > 2
    assert all(len(set(fold[patients == p])) == 1 for p in known)


def test_patient_in_two_sources_stays_in_one_fold():
    labels, sources, _ = _set(60)
    patients = np.array([str(i % 20) for i in range(60)])
    fold = stratify.assign_folds(labels, sources, patients)
    assert all(len(set(fold[patients == p])) == 1 for p in set(patients))


def test_folds_depend_on_seed_alone():
    labels, sources, patients = _set()
    fold = stratify.assign_folds(labels, sources, patients)
    np.testing.assert_array_equal(fold, stratify.assign_folds(labels, sources, patients))
    assert (fold != stratify.assign_folds(labels, sources, patients, seed=1)).any()


def test_rare_class_reaches_every_fold():
    labels = np.zeros((500, 3), bool)
    labels[:, 2] = True
    labels[::100, 0] = True  # five records
    fold = stratify.assign_folds(labels, np.full(500, "a"), np.full(500, ""))
    assert sorted(fold[::100]) == [0, 1, 2, 3, 4]


def test_records_without_labels_are_spread():
    fold = stratify.assign_folds(np.zeros((10, 24), bool), np.full(10, "a"), np.full(10, ""))
    assert np.bincount(fold).tolist() == [2, 2, 2, 2, 2]


def test_nothing_to_assign():
    assert stratify.assign_folds(np.zeros((0, 24), bool), np.array([], str), np.array([], str)).shape == (0,)


def test_validation_is_a_tenth_and_keeps_patients_together():
    labels, sources, patients = _set()
    validation = stratify.split_validation(labels, sources, patients)
    assert validation.dtype == bool
    assert validation.mean() == pytest.approx(0.1, abs=0.01)
    assert not set(patients[validation]) & set(patients[~validation]) - {""}
    np.testing.assert_allclose(labels[validation].sum(0), labels.sum(0) / 10, atol=5)
