"""Do these networks learn what the reference code learns from the same records in the same number of epochs?

    python -m benchmarks.yardstick --raw_dir=RAW/training --ptbxl_database=ptbxl_database.csv

Trains on PTB-XL's strat_folds 1 to 7 and scores strat_fold 8 after every epoch: macro average precision over the
classes present, best epoch. That choice of epoch flatters both sides alike; it is a yardstick, not a result. The
reference's figures are those of its PyTorch code on the 2,010 PTB-XL records that this benchmark was first run on,
trained with the same budget: Adam, L2 5e-4, batch 64; LRH-Net 30 epochs at 3e-3 with a cosine, SE-ResNet 12 epochs
at 1e-3.

A run that was killed goes on where it was; --only picks networks.
"""

import argparse
import csv
import dataclasses
import pathlib
import zlib
from collections.abc import Sequence

import jax
import numpy as np

from benchmarks import measure, recipe
from data_builders import build
from lrhnet_jax import models
from lrhnet_jax.data import dataset
from lrhnet_jax.data.batch import LeadNetwork, plain_inputs
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.data.store import make_store
from lrhnet_jax.ecg.leads import parse_leads
from lrhnet_jax.runtime import environment, host, interrupt, log
from lrhnet_jax.runtime.files import write_json
from lrhnet_jax.scoring import metrics, predict
from lrhnet_jax.training import loop, optim
from lrhnet_jax.training.run import Run, median_speed
from lrhnet_jax.training.state import init_variables
from lrhnet_jax.training.steps import StepSpec

TRAIN_FOLDS, TEST_FOLD = tuple(range(1, 8)), 8
BATCH = 64


@dataclasses.dataclass(frozen=True)
class Entry:
    """A network, its budget, and what the reference code reached with it."""

    model: str
    leads: str
    epochs: int
    learning_rate: float
    reference: float


ENTRIES = {
    "lrhnet2": Entry("lrhnet", "2", 30, 3e-3, 0.30),
    "lrhnet12": Entry("lrhnet", "12", 30, 3e-3, 0.30),
    "seresnet12": Entry("seresnet", "12", 12, 1e-3, 0.50),
    "seresnet2": Entry("seresnet", "2", 12, 1e-3, 0.49),
}


def strat_folds(database: str) -> dict[str, int]:
    """Returns PTB-XL's strat_fold of each record, by the Challenge's record name."""
    with open(database, newline="") as file:
        return {f"HR{int(row['ecg_id']):05d}": int(row["strat_fold"]) for row in csv.DictReader(file)}


def run(entry: Entry, records: Dataset, folds: np.ndarray, folder: pathlib.Path, window: int, seed: int) -> dict:
    """Trains one entry, or goes on with it; returns its scores."""
    leads = parse_leads(entry.leads)
    lead_network = LeadNetwork(models.create(entry.model, leads), records.columns(leads))
    store = make_store(records, window)
    rows = np.flatnonzero(np.isin(folds, TRAIN_FOLDS))
    test = np.flatnonzero(folds == TEST_FOLD)

    def score(variables) -> float:
        predictor = predict.Predictor(lead_network, variables, window, BATCH)
        found = predictor.probabilities(store, test, records.lengths[test])
        return float(metrics.macro(metrics.average_precision(records.labels[test], found)))

    own = {"learning_rate": entry.learning_rate, "epochs": entry.epochs, "schedule": {"name": "cosine"}}
    fields = {**recipe.OPTIMIZER, **own}
    per_epoch = len(rows) // BATCH
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(folder.name.encode()))
    init_key, train_key = jax.random.split(key)
    task = Run(
        spec=StepSpec(lead_network, optim.make(fields, per_epoch), BATCH, window),
        name=folder.name,
        variables=init_variables(lead_network.model, init_key, len(leads), window),
        inputs=plain_inputs(store, rows),
        key=train_key,
        epochs=entry.epochs,
        schedule=optim.schedule(fields, per_epoch),
        score=score,
        score_name="test_macro_average_precision",
        folder=folder,
    )
    result = loop.train(task)
    scores = [row["test_macro_average_precision"] for row in result.history]
    return {
        **dataclasses.asdict(entry),
        "train_records": len(rows),
        "test_records": len(test),
        "classes_present": int(records.labels[test].any(0).sum()),
        "best": max(scores),
        "best_epoch": result.best_epoch,
        "last": scores[-1],
        "ratio": max(scores) / entry.reference,
        "samples_per_second": median_speed(result.history),
        "history": result.history,
    }


def main(arguments: Sequence[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw_dir", required=True, help="holds ptb-xl/, in the Challenge's layout")
    parser.add_argument("--ptbxl_database", required=True, help="PTB-XL's ptbxl_database.csv")
    parser.add_argument(
        "--workdir", type=pathlib.Path, default="runs/yardstick", help="checkpoints, the built data set"
    )
    parser.add_argument("--output", type=pathlib.Path, help="where the JSON goes; WORKDIR/yardstick.json by default")
    parser.add_argument("--only", nargs="*", choices=list(ENTRIES), default=list(ENTRIES))
    parser.add_argument("--window", type=int, default=4096, help="samples")
    parser.add_argument("--epochs", type=int, help="instead of the budget's: for a quick look")
    parser.add_argument("--seed", type=int, default=0, help="of initialisation, order, windows and dropout")
    options = parser.parse_args(arguments)

    path = dataset.find("physionet2020", str(options.workdir / "data"))
    if path is None:
        path = build.build(
            "physionet2020", options.raw_dir, options.workdir / "data", ptbxl_database=options.ptbxl_database
        )
    records = dataset.load(path)
    records = records.select(records.sources == "ptb-xl")
    of_record = strat_folds(options.ptbxl_database)
    folds = np.array([of_record.get(record, 0) for record in records.record_ids.tolist()])
    results: dict = {
        "what": __doc__.splitlines()[0],
        "data": f"{len(records)} PTB-XL records with a scored class; strat_folds 1-7 train, strat_fold 8 scored",
        "window": options.window,
        "seed": options.seed,
        **environment.describe(),
        "networks": {},
    }
    for name in options.only:
        entry = dataclasses.replace(ENTRIES[name], epochs=options.epochs or ENTRIES[name].epochs)
        folder = options.workdir / f"networks-seed{options.seed}" / name
        results["networks"][name] = run(entry, records, folds, folder, options.window, options.seed)
        write_json(options.output or options.workdir / "yardstick.json", results)
    fields = ("epochs", "best", "reference", "ratio", "samples_per_second")
    rows = [[name, *(row[field] for field in fields)] for name, row in results["networks"].items()]
    print(measure.table([["network", "epochs", "best AP", "reference", "ratio", "samples/s"], *rows]))
    return results


if __name__ == "__main__":
    log.configure()
    interrupt.install()
    host.keep_freed_memory()
    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path("~/.cache/lrhnet_jax").expanduser()))
    main()
