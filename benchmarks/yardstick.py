"""Do these networks learn what the reference code learns from the same records in the same number of epochs?

    python -m benchmarks.yardstick --raw_dir=RAW/training --ptbxl_database=ptbxl_database.csv

Trains on PTB-XL's strat_folds 1 to 7 and scores strat_fold 8 after every epoch: macro average precision over the
classes present, best epoch. That choice of epoch flatters both sides alike; it is a yardstick, not a result. The
reference's figures are those of its PyTorch code on the 2,010 PTB-XL records that this benchmark was first run on,
trained with the same budget: Adam, L2 5e-4, batch 64; LRH-Net 30 epochs at 3e-3 with a cosine, SE-ResNet 12 epochs
at 1e-3.

A run that was killed goes on where it was; --only picks networks.
"""

import csv
import dataclasses
import pathlib
import zlib

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import environment
from data_builders import build
from lrhnet_jax import checkpoint, data, ecg, inference, log, metrics, models, optim, state, steps, train
from lrhnet_jax.errors import DataError

_RAW_DIR = flags.DEFINE_string("raw_dir", None, "Holds ptb-xl/, in the Challenge's layout.", required=True)
_DATABASE = flags.DEFINE_string("ptbxl_database", None, "PTB-XL's ptbxl_database.csv.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", "runs/yardstick", "Checkpoints and the built data set.")
_OUTPUT = flags.DEFINE_string("output", "", "Where the JSON goes; WORKDIR/yardstick.json if empty.")
_ONLY = flags.DEFINE_list("only", [], "Names of the networks to train; all if empty.")
_WINDOW = flags.DEFINE_integer("window", 4096, "Samples.")
_SEED = flags.DEFINE_integer("seed", 0, "Of initialisation, order, windows and dropout.")

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


def run(entry: Entry, records: data.Records, folds: np.ndarray, folder: pathlib.Path) -> dict:
    """Trains one entry, or goes on with it; returns its scores."""
    leads = ecg.parse_leads(entry.leads)
    reader = steps.Reader(models.create(entry.model, leads), records.columns(leads))
    store = data.make_store(records, _WINDOW.value)
    rows = np.flatnonzero(np.isin(folds, TRAIN_FOLDS))
    test = np.flatnonzero(folds == TEST_FOLD)

    def score(variables) -> float:
        found = inference.store_probabilities(
            reader, variables, store, test, records.lengths[test], _WINDOW.value, BATCH
        )
        return float(metrics.macro(metrics.average_precision(records.labels[test], found)))

    fields = {
        "optimizer": "adam",
        "learning_rate": entry.learning_rate,
        "weight_decay": 5e-4,
        "epochs": entry.epochs,
        "schedule": {"name": "cosine"},
    }
    per_epoch = len(rows) // BATCH
    key = jax.random.fold_in(jax.random.key(_SEED.value), zlib.crc32(folder.name.encode()))
    init_key, train_key = jax.random.split(key)
    inputs = steps.Inputs(
        store=store,
        records=jnp.asarray(rows, jnp.int32),
        shifts=jnp.zeros((len(rows), 0), jnp.int32),
        teacher_logits=jnp.zeros((len(rows), 0, 0, len(ecg.CLASSES))),
    )
    job = train.Job(
        name=folder.name,
        reader=reader,
        variables=state.init_variables(reader.model, init_key, len(leads), _WINDOW.value),
        teachers=(),
        inputs=inputs,
        optimizer=optim.make(fields, per_epoch),
        schedule=optim.schedule(fields, per_epoch),
        distillation=steps.Distillation(),
        epochs=entry.epochs,
        batch_size=BATCH,
        window=_WINDOW.value,
        key=train_key,
        score=score,
        score_name="test_macro_average_precision",
        folder=folder,
    )
    result = train.run(job)
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
        "samples_per_second": float(np.median([row["samples_per_second"] for row in result.history])),
        "history": result.history,
    }


def run_all(argv: list[str]) -> None:
    workdir = pathlib.Path(_WORKDIR.value)
    only = _ONLY.value or list(ENTRIES)
    unknown = sorted(set(only) - set(ENTRIES))
    if unknown:
        raise DataError(f"--only: unknown {', '.join(unknown)}; choose {', '.join(ENTRIES)}")
    path = data.find("physionet2020", str(workdir / "data"))
    if path is None:
        path = build.build("physionet2020", _RAW_DIR.value, workdir / "data", ptbxl_database=_DATABASE.value)
    records = data.load(path)
    records = records.select(records.sources == "ptb-xl")
    of_record = strat_folds(_DATABASE.value)
    folds = np.array([of_record.get(record, 0) for record in records.record_ids.tolist()])
    output = pathlib.Path(_OUTPUT.value or workdir / "yardstick.json")
    results = {
        "what": __doc__.splitlines()[0],
        "data": f"{len(records)} PTB-XL records with a scored class; strat_folds 1-7 train, strat_fold 8 scored",
        "window": _WINDOW.value,
        "seed": _SEED.value,
        **environment.describe(),
        "networks": {},
    }
    for name in only:
        results["networks"][name] = run(ENTRIES[name], records, folds, workdir / f"networks-seed{_SEED.value}" / name)
        checkpoint.write_json(output, results)
    print(f"{'network':<12}{'epochs':>7}{'best AP':>9}{'reference':>11}{'ratio':>7}{'samples/s':>11}")
    for name, row in results["networks"].items():
        print(
            f"{name:<12}{row['epochs']:>7}{row['best']:>9.3f}{row['reference']:>11.2f}{row['ratio']:>7.2f}"
            f"{row['samples_per_second']:>11.1f}"
        )
    print(f"written to {output}")


if __name__ == "__main__":
    log.configure()
    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path("~/.cache/lrhnet_jax").expanduser()))
    app.run(run_all)
