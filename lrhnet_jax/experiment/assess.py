"""Scores trained networks on a split: probabilities -> thresholds on the validation part -> metrics on the scored fold.

All devices compute the probabilities; what follows is arithmetic of the first process alone.

Where the task's classes exclude each other there are no thresholds. A network's folder then holds predictions.npz,
thresholds.json if there are any, and evaluation.json (written last: a resumed run skips what has one).
"""

import functools
import logging
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lrhnet_jax import tasks
from lrhnet_jax.data.batch import LeadNetwork
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.data.splits import Split
from lrhnet_jax.data.store import Store, random_shifts
from lrhnet_jax.experiment import check, provenance
from lrhnet_jax.experiment.teachers import Trained
from lrhnet_jax.report import schema, seed_groups
from lrhnet_jax.runtime import environment, processes
from lrhnet_jax.runtime.devices import Parallel
from lrhnet_jax.runtime.files import read_json, write_json, write_whole
from lrhnet_jax.scoring import predict, thresholds
from lrhnet_jax.scoring.schema import Score
from lrhnet_jax.scoring.score import difference, epoch_score, headline, resample, score

logger = logging.getLogger(__name__)


def epoch_score_name(task: tasks.Task) -> str:
    """Returns what a training log calls the score by which the best epoch is chosen."""
    return f"validation_{task.epoch_metric}"


class Assessor:
    """Scores networks by the config's protocol; one for each fold. `store` is on all devices of `parallel`.

    Raises:
      DataError: if the validation part lacks classes without which no epoch can be chosen.
    """

    def __init__(
        self,
        config: ConfigDict,
        records: Dataset,
        store: Store,
        split: Split,
        parallel: Parallel,
    ):
        self.config, self.records, self.store, self.split, self.parallel = config, records, store, split, parallel
        self.task = records.task
        check.validation(records, split)

    def predictor(self, lead_network: LeadNetwork, variables: Any) -> predict.Predictor:
        """Returns what answers for records of the store."""
        window, size = provenance.answer_window(self.config), self.config.evaluation.batch_size
        return predict.Predictor(lead_network, variables, window, size, self.task.exclusive, self.parallel)

    def probabilities(
        self, lead_network: LeadNetwork, variables: Any, rows: np.ndarray, progress: str = ""
    ) -> np.ndarray:
        """Returns class probabilities of the records `rows`, (n, classes), on the windows that the config names."""
        predictor, lengths = self.predictor(lead_network, variables), self.records.lengths[rows]
        if self.config.evaluation.windows == "cover":
            return predictor.probabilities(self.store, rows, lengths, progress)
        key = jax.random.fold_in(jax.random.key(self.config.seed), len(rows))
        starts = np.asarray(random_shifts(key, jnp.asarray(lengths), predictor.window, 1)[:, 0])
        logits = predictor.logits(self.store, np.asarray(rows, np.int32), starts, progress)
        return predict.to_probabilities(logits, self.task.exclusive)

    def epoch_score(self, lead_network: LeadNetwork, variables: Any) -> float:
        """Returns the task's `epoch_metric` on the validation part, by which the best epoch is chosen."""
        rows = self.split.validation
        probabilities = self.probabilities(lead_network, variables, rows)
        # One process' number for all: the best epoch must be the same, whatever their processors make of a sum.
        return processes.from_first(lambda: epoch_score(self.task, self.records.labels[rows], probabilities))

    def network(self, name: str, trained: Trained, folder: pathlib.Path) -> schema.NetworkResult:
        """Scores a network, or returns what an earlier call wrote; adds its training log."""
        path = folder / "evaluation.json"
        if not processes.from_first(path.exists):
            logger.info("%s: scoring", name)
            parts = {"validation": self.split.validation, "test": self.split.test}
            read = functools.partial(self.probabilities, trained.lead_network, trained.variables)
            read(parts["validation"][: self.config.evaluation.batch_size])  # fills a batch: compiles what is timed
            started = time.perf_counter()
            probabilities = {"validation": read(parts["validation"], f"{name} validation")}
            seconds = time.perf_counter() - started
            probabilities["test"] = read(parts["test"], f"{name} test")
            processes.from_first(lambda: self._write_scores(folder, parts, probabilities, seconds))
        evaluation: schema.Evaluation = processes.from_first(lambda: read_json(path))
        return {**trained.log, **evaluation}

    def _write_scores(
        self, folder: pathlib.Path, parts: dict[str, np.ndarray], probabilities: dict[str, np.ndarray], seconds: float
    ) -> None:
        self._save_predictions(folder, parts, probabilities)
        chosen = self._fit(parts["validation"], probabilities["validation"], self.config.evaluation.threshold_shrinkage)
        if chosen is not None:
            protocol = self.config.evaluation.protocol
            write_json(
                folder / "thresholds.json",
                {"thresholds": chosen.tolist(), "protocol": protocol, "fitted_on": "validation"},
            )
        evaluation = self._evaluation(parts, probabilities, chosen)
        evaluation["inference"] = {
            "seconds": seconds,
            "records": len(parts["validation"]),
            "batch_size": predict.windows_a_call(self.config.evaluation.batch_size, self.parallel.devices),
            "device": environment.device(),
        }
        write_json(folder / "evaluation.json", evaluation)

    def _save_predictions(
        self, folder: pathlib.Path, parts: dict[str, np.ndarray], probabilities: dict[str, np.ndarray]
    ) -> None:
        """Writes predictions.npz: for each part NAME and NAME_records, the probabilities and whose they are."""
        arrays: dict[str, Any] = {f"{part}_records": self.records.record_ids[rows] for part, rows in parts.items()}
        arrays |= probabilities
        write_whole(folder / "predictions.npz", lambda scratch: np.savez(scratch, allow_pickle=False, **arrays))

    def _evaluation(
        self, parts: dict[str, np.ndarray], probabilities: dict[str, np.ndarray], chosen: np.ndarray | None
    ) -> schema.Evaluation:
        evaluation: schema.Evaluation = {
            "thresholds": None if chosen is None else chosen.tolist(),
            "validation": self._score(parts["validation"], probabilities["validation"], chosen),
            "test": self._score(parts["test"], probabilities["test"], chosen),
        }
        if self.config.evaluation.also_reference and chosen is not None:
            leaky = self._fit(parts["test"], probabilities["test"], shrinkage=0)
            evaluation["test_reference"] = self._score(parts["test"], probabilities["test"], leaky)
        return evaluation

    def _fit(self, rows: np.ndarray, probabilities: np.ndarray, shrinkage: float) -> np.ndarray | None:
        if self.task.exclusive:
            return None
        return thresholds.fit(
            self.records.labels[rows],
            probabilities,
            metric=self.task.threshold_metric,
            seed=self.config.seed,
            shrinkage=shrinkage,
        )

    def _score(self, rows: np.ndarray, probabilities: np.ndarray, chosen: np.ndarray | None) -> Score:
        return score(
            self.records.labels[rows],
            probabilities,
            chosen,
            self.records.patients[rows],
            task=self.task,
            resamples=self.config.evaluation.resamples,
            seed=self.config.seed,
        )

    def comparisons(self, pairs: list[tuple[str, str]], networks: pathlib.Path) -> list[schema.Comparison]:
        """Compares pairs of scored networks on the same records of the scored fold, by paired bootstrap."""
        rows = self.split.test
        resampled = {
            name: resample(
                self.records.labels[rows],
                *self._scored(networks / name),
                self.records.patients[rows],
                task=self.task,
                resamples=self.config.evaluation.resamples,
                seed=self.config.seed,
            )
            for name in dict.fromkeys(name for pair in pairs for name in pair)
        }
        return [{"a": a, "b": b, "differences": difference(resampled[a], resampled[b])} for a, b in pairs]

    def _scored(self, folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns a scored network's probabilities on the scored fold, and its thresholds, if the task has any."""
        with np.load(folder / "predictions.npz") as predictions:
            probabilities = predictions["test"]
        if self.task.exclusive:
            return probabilities, None
        return probabilities, np.array(read_json(folder / "thresholds.json")["thresholds"])


def summarize(folds: dict[str, schema.FoldResult], decision: str) -> dict[str, dict[str, schema.Spread]]:
    """Returns, for each network and metric, the mean and standard deviation over the folds, and the folds' values."""
    first = next(iter(folds.values()))["networks"]
    summary: dict[str, dict[str, schema.Spread]] = {}
    for name, row in first.items():
        summary[name] = {}
        for metric in row["test"]["headline"]:
            tests = [fold["networks"][name]["test"] for fold in folds.values()]
            values = [headline(test, decision)[metric]["value"] for test in tests]
            summary[name][metric] = seed_groups.spread(values)
    return summary
