"""Which records train, which choose the epoch and the thresholds, which are scored."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.ecg import stratify
from lrhnet_jax.errors import DataError

NUM_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Split:
    """Rows of the records, each (n,) int64 ascending. Under the reference protocol, validation and test are one."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def sizes(self) -> dict[str, int]:
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}


def scored(records: Dataset, fold: int, protocol: str, train_only: Sequence[str] = ()) -> np.ndarray:
    """Returns the records that are scored, (n,) bool; arguments and errors as of `make`."""
    extra = np.isin(records.sources, list(train_only))
    if protocol == "published":
        if records.published_folds is None:
            raise DataError(f"{records.name} has no published folds: choose a protocol other than 'published'")
        return (records.published_folds == 2 * fold + 2) & ~extra
    return (records.folds == fold) & ~extra


def make(records: Dataset, fold: int, protocol: str, validation_parts: int, train_only: Sequence[str] = ()) -> Split:
    """Splits a data set for one fold of the cross-validation.

    Args:
      fold: 0 to 4.
      protocol: "leak_free" holds out one part in `validation_parts` of the training folds, by patient, stratified by
        label; "reference" validates on the scored fold, as the reference code does; "published" takes the ten folds
        that the set's authors publish: 2 fold + 1 validates, 2 fold + 2 is scored. PTB-XL's own split is fold 4:
        1 to 8 train, 9 validates, 10 is scored.
      train_only: sources whose records all train, in every fold, and neither validate nor are scored: whoever does not
        know their patients cannot score on them. Where a patient is known to be among the others, these are left out.

    Raises:
      DataError: if a part would be empty, or the set has no published folds.
    """
    extra = np.isin(records.sources, list(train_only))
    test = validation = scored(records, fold, protocol, train_only)
    if protocol == "published":
        validation = (records.published_folds == 2 * fold + 1) & ~extra
    train = ~(validation | test | extra)
    if protocol == "leak_free" and train.any():
        held_out = stratify.split_validation(
            records.labels[train], records.sources[train], records.patients[train], parts=validation_parts
        )
        rows = np.flatnonzero(train)
        validation = np.zeros(len(records), bool)
        validation[rows[held_out]] = True
        train = train & ~validation
    unseen = np.unique(records.patients[validation | test])
    train = train | (extra & ~np.isin(records.patients, unseen))
    split = Split(np.flatnonzero(train), np.flatnonzero(validation), np.flatnonzero(test))
    empty = [name for name, size in split.sizes().items() if not size]
    if empty:
        raise DataError(
            f"{records.name}: fold {fold} leaves no record for {', '.join(empty)} ({len(records)} records in all); "
            "build a larger data set"
        )
    return split
