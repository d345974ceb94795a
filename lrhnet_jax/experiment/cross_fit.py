"""Cross-fitted teachers: what is said of a training record comes from a teacher that has not seen its patient.

A network's logits on the records it was trained on are nearly their labels, and say little that is not in them. So the
training patients are dealt out into parts, a copy of the teacher is trained without each, and answers for it (Dao et
al. 2021, arXiv:2104.09732). A copy is trained as the teacher is, and its best epoch is chosen on the same validation
part.
"""

import dataclasses
import typing
from collections.abc import Iterator

import numpy as np

from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.ecg import stratify
from lrhnet_jax.experiment import teachers as teaching
from lrhnet_jax.experiment.network import Network

if typing.TYPE_CHECKING:
    from lrhnet_jax.experiment.fold import Fold


def deal(records: Dataset, rows: np.ndarray, parts: int) -> np.ndarray:
    """Returns the part of each of the records `rows`, (n,) int32; stratified by label, a patient in one part alone."""
    return stratify.assign_folds(records.labels[rows], records.sources[rows], records.patients[rows], parts)


def copies(fold: "Fold", network: Network, parts: int) -> Iterator[tuple["Fold", Network, np.ndarray]]:
    """Yields, for each part, the fold without its records, the copy to train there, and the part's training records.

    Copies are networks of FOLDER/cross_fit. They train as many steps an epoch each, and share compiled steps.
    """
    train = fold.split.train
    part = deal(fold.records, train, parts)
    sizes = [int((part != number).sum()) for number in range(parts)]
    for number in range(parts):
        copy = dataclasses.replace(network, name=f"{network.name}_{number + 1}of{parts}")
        split = dataclasses.replace(fold.split, train=train[part != number])
        folder = fold.folder / "cross_fit"
        without = dataclasses.replace(fold, networks=[copy], split=split, sizes=sizes, folder=folder)
        yield without, copy, np.flatnonzero(part == number)


def logits(fold: "Fold", network: Network, parts: int) -> np.ndarray:
    """Returns a teacher's logits for whole training records, (n, classes): the mean over the windows that cover each.

    Args:
      parts: how many copies answer, each for the records it was not trained on; 0: the teacher answers for all.
    """
    train = fold.split.train
    if not parts:
        return _answer(fold, fold.trained[network.name], train, network.name)
    answers = np.zeros((len(train), len(fold.records.classes)), np.float32)
    for without, copy, held_out in copies(fold, network, parts):
        without.obtain(copy)
        answers[held_out] = _answer(fold, without.trained[copy.name], train[held_out], copy.name)
    return answers


def _answer(fold: "Fold", trained: teaching.Trained, rows: np.ndarray, name: str) -> np.ndarray:
    predictor = fold.assessor.predictor(trained.lead_network, trained.variables)
    return predictor.record_logits(fold.store, rows, fold.records.lengths[rows], progress=f"{name} teaches")
