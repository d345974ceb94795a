"""Folds that are stratified by label within each source, with every patient in one fold only.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011) over patients instead of records: the rarest label
that is left is dealt out first, each patient to the fold that lacks most of it.
"""

import collections

import numpy as np


def assign_folds(
    labels: np.ndarray, sources: np.ndarray, patients: np.ndarray, num_folds: int = 5, seed: int = 2020
) -> np.ndarray:
    """Deals records out to folds; the result depends on the records' order and the seed alone.

    Args:
      labels: (n, classes) bool.
      sources: (n,) str; every source is stratified on its own.
      patients: (n,) str; "" means that the record is the only one of its patient. A patient who appears in two sources
        stays in one fold, and counts for the source that comes first.
      num_folds: how many.
      seed: of the order in which patients with the same labels are dealt out.

    Returns:
      (n,) int32, 0 to num_folds - 1.
    """
    labels = np.asarray(labels, bool)
    sources, patients = np.asarray(sources, str), np.asarray(patients, str)
    # Group numbers in order of first appearance; a record without a patient is a group of its own.
    keys: dict[object, int] = {}
    names = patients.tolist()
    group = np.array([keys.setdefault(name or i, len(keys)) for i, name in enumerate(names)], np.int64)
    first = np.unique(group, return_index=True)[1]
    counts = np.zeros((len(first), labels.shape[1]), np.int64)
    np.add.at(counts, group, labels)
    sizes = np.bincount(group, minlength=len(first))
    group_source = sources[first]

    fold = np.zeros(len(first), np.int32)
    rng = np.random.default_rng(seed)
    for source in np.unique(group_source):
        members = np.flatnonzero(group_source == source)
        members = members[rng.permutation(len(members))]
        fold[members] = _stratify(counts[members], sizes[members], num_folds)
    return fold[group]


def split_validation(
    labels: np.ndarray, sources: np.ndarray, patients: np.ndarray, parts: int = 10, seed: int = 2020
) -> np.ndarray:
    """Returns (n,) bool: True for the one part in `parts` that validates, stratified as `assign_folds` does."""
    return assign_folds(labels, sources, patients, parts, seed) == 0


def _stratify(counts: np.ndarray, sizes: np.ndarray, num_folds: int) -> np.ndarray:
    """Deals groups out: counts (groups, classes), sizes (groups,) -> fold of each group, in the order given on ties."""
    # What a fold still lacks: of each class, and, in the last column, of records.
    needs = np.concatenate([counts, sizes[:, None]], axis=1)
    lacks = np.tile(needs.sum(0) / num_folds, (num_folds, 1))
    left = counts.sum(0)
    open_ = np.ones(len(counts), bool)
    fold = np.zeros(len(counts), np.int32)
    carries = [collections.deque(np.flatnonzero(column)) for column in counts.T]
    while True:
        remaining = np.where(left > 0, left, np.iinfo(np.int64).max)
        rarest = int(remaining.argmin())
        if left[rarest] <= 0:
            break
        # Patients with most records of the class first: the single ones even out what they leave.
        for i in sorted((i for i in carries[rarest] if open_[i]), key=lambda i: -counts[i, rarest]):
            best = _neediest(lacks, rarest)
            fold[i] = best
            lacks[best] -= needs[i]
            left -= counts[i]
            open_[i] = False
    for i in sorted(np.flatnonzero(open_), key=lambda i: -sizes[i]):  # without any label
        fold[i] = best = _neediest(lacks, -1)
        lacks[best] -= needs[i]
    return fold


def _neediest(lacks: np.ndarray, column: int) -> int:
    """The fold that lacks most of a class; among equals, the one that lacks most records, then the first."""
    most = np.flatnonzero(lacks[:, column] >= lacks[:, column].max() - 1e-9)
    return int(most[lacks[most, -1].argmax()])
