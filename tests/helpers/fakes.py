"""Small made-up data for tests of what comes after the builders."""

import functools
import json
import pathlib
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lrhnet_jax import models, tasks
from lrhnet_jax.data.batch import Batch, Inputs, LeadNetwork, StepNumbers, plain_inputs, predict_logits
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.data.store import Store
from lrhnet_jax.ecg.leads import LEADS, demographics_vector
from lrhnet_jax.experiment import graph, provenance
from lrhnet_jax.runtime.files import write_json
from lrhnet_jax.tasks import physionet2020
from lrhnet_jax.training import checkpoint, optim, steps
from lrhnet_jax.training.state import TrainState, create_state

RECORDS = 90  # in the sets of the fixture `data_dir`


def records(n: int = 40, seed: int = 0, shortest: int = 150, longest: int = 700) -> Dataset:
    """Random signals whose first scored class shows as a tone in lead I, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, longest, n)
    labels = rng.random((n, len(physionet2020.CLASSES))) < 0.3
    signals = []
    for length, label in zip(lengths, labels, strict=True):
        signal = rng.normal(size=(length, len(LEADS)))
        signal[:, 0] += 2 * label[0] * np.sin(np.arange(length) / 3)
        signals.append(signal.astype(np.float16))
    demographics = np.stack([demographics_vector(age, "female") for age in rng.uniform(20, 90, n)])
    ids = [f"R{i:04d}" for i in range(n)]
    patients = [f"P{i // 2:04d}" for i in range(n)]
    return Dataset.from_arrays(
        signals, labels, demographics, ids, ["a", "b"] * (n // 2), patients, np.arange(n) % 5, name="physionet2020"
    )


def of_task(name: str, n: int = 60, seed: int = 0, seconds: float = 2.0) -> Dataset:
    """Records of the data set `name` whose classes show as tones in lead I, a frequency for each."""
    task = tasks.of(name)
    count = len(task.classes)
    rng = np.random.default_rng(seed)
    positive = np.arange(n) % count
    labels = np.eye(count, dtype=bool)[positive]
    if not task.exclusive:
        labels |= rng.random(labels.shape) < 0.15
    leads = ("I",) if task is tasks.PHYSIONET2017 else LEADS
    lengths = (task.rate * seconds * rng.uniform(0.7, 1.3, n)).astype(int)
    signals = []
    for length, label in zip(lengths, labels, strict=True):
        signal = rng.normal(size=(length, len(leads)))
        signal[:, 0] += 3 * np.sin(np.arange(length)[:, None] * np.linspace(0.1, 1.5, count)) @ label
        signals.append(signal.astype(np.float16))
    return Dataset.from_arrays(
        signals,
        labels,
        record_ids=[f"R{i:04d}" for i in range(n)],
        sources=["made"] * n,
        folds=np.arange(n) // count % 5,
        leads=leads,
        classes=task.classes,
        name=name,
        synthetic=tasks.is_synthetic(name),
        build_report={"preprocess": {"resample": "polyphase", "bandpass": "none", "rate": task.rate}},
    )


def build(records: Dataset, data_dir: pathlib.Path, config: str, **report: object) -> pathlib.Path:
    """Writes records as a built set, DATA_DIR/NAME/CONFIG/1.0.0, whose report.json says `report` besides."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import dataset_builder, example_serializer, splits, writer

    from data_builders import shards

    form = shards.features(len(records.leads), len(records.classes))
    serializer = example_serializer.ExampleSerializer(form.get_serialized_info())

    def serialized():
        for i, (start, length) in enumerate(zip(records.offsets, records.lengths, strict=True)):
            row = {
                "signal": records.signals[start : start + length],
                "labels": records.labels[i],
                "demographics": records.demographics[i],
                "record_id": records.record_ids[i],
                "source": records.sources[i],
                "patient": records.patients[i],
                "rate": records.rate,
                "length": length,
                "fold": records.folds[i],
            }
            yield i, serializer.serialize_example(form.encode_example(row))

    class Made(dataset_builder.FileReaderBuilder, skip_registration=True):
        name = records.name
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = (tfds.core.BuilderConfig(name=config),)

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=form, disable_shuffling=True)

        def _download_and_prepare(self, dl_manager, download_config=None):
            template = self._get_filename_template(split_name="train")
            path = template.sharded_filepath(shard_index=0, num_shards=1)
            file_format = tfds.core.FileFormat.from_value(shards.FILE_FORMAT)
            writer.ExampleWriter(file_format=file_format).write(str(path), serialized())
            size = 2 * records.signals.nbytes  # no smaller than the examples
            split = splits.SplitInfo("train", shard_lengths=[len(records)], num_bytes=size, filename_template=template)
            self.info.set_splits(splits.SplitDict([split]))

    builder = Made(data_dir=data_dir, config=config, file_format=shards.FILE_FORMAT)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    path = pathlib.Path(builder.data_path)
    own = {"classes": records.classes, "leads": records.leads, **records.build_report}
    (path / "report.json").write_text(json.dumps({**own, **report}))
    return path


CARD: dict[str, Any] = {
    "title": "24 classes on lead I",
    "trained_on": [{"source": "A collection", "records": 2000, "licence": "CC BY 4.0"}],
    "command": "lrhnet-jax train --config=student --config.data_dir=DATA",
    "attribution": ["A. Somebody: A <large> collection, 2020."],
    "licence": "Apache-2.0",
    "seen": {"rates": [500, 500], "seconds": [5, 12]},
    "measured": [
        {
            "on": "patients that it has not learned from",
            "records": 408,
            "patients": 389,
            "metrics": {"macro_auroc": {"value": 0.9, "low": 0.85, "high": None}},
            "classes": {},
        }
    ],
    "not_for": ["diagnosing anyone", "children"],
}  # as of a model that has left the lab


def inputs(store: Store, n: int, shifts: jax.Array | None = None) -> Inputs:
    """Training inputs over the first n records, without teachers."""
    return plain_inputs(store, np.arange(n), shifts)


def lead_network(name: str = "lrhnet", columns: tuple[int, ...] = (0, 1)) -> LeadNetwork:
    return LeadNetwork(models.create(name, len(columns)), columns)


def variables(model: nn.Module, *inputs: jax.Array, seed: int = 0) -> dict[str, Any]:
    """Random variables of a network for such inputs: statistics and affine parameters are not the initial ones.

    Drawn by NumPy: they need no compilation.
    """
    random = np.random.default_rng(seed)

    def draw(path, leaf):
        fan_in = np.prod(leaf.shape[:-1]) if path[-1].key == "kernel" else 4
        value = random.normal(0, fan_in**-0.5, leaf.shape)
        return jnp.asarray(np.abs(value) + 0.5 if path[-1].key == "var" else value, leaf.dtype)

    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), *inputs)
    return jax.tree.map_with_path(draw, shapes)


def network(
    folder: pathlib.Path,
    dataset: str,
    leads: tuple[str, ...],
    window: int,
    model: str = "lrhnet",
    options: dict[str, Any] | None = None,
    seed: int = 0,
) -> pathlib.Path:
    """Writes a network with random variables, and a threshold of a half where its task has some, as a run leaves it."""
    task, chosen = tasks.of(dataset), options or {}
    module = models.create(model, leads, num_classes=len(task.classes), **chosen)
    drawn = variables(module, jnp.zeros((1, window, len(leads))), jnp.zeros((1, 5)), seed=seed)
    node = graph.Network("student", model, leads, options=chosen)
    config = ConfigDict({"window": window, "preprocess": "paper"})
    checkpoint.save_model(folder, drawn, provenance.describe_model(config, node, of_task(dataset, 4), drawn))
    if not task.exclusive:
        limits = np.full(len(task.classes), 0.5).tolist()
        write_json(folder / "thresholds.json", {"thresholds": limits})
    return folder


class Training(NamedTuple):
    """What `train` did: the loss of each step, the state after the last, and logits of windows not seen."""

    losses: np.ndarray
    state: TrainState
    logits: np.ndarray


@functools.cache
def train(model: nn.Module, count: int = 30) -> Training:
    """Trains a network of three classes on two leads with tones, of a frequency for each class.

    Parameters at the start, windows and their order do not depend on the dtype in which the network computes.
    """
    classes, batch, window = 3, 16, 65
    lead_network = LeadNetwork(model, (0, 1))
    optimizer = optim.make(
        {
            "optimizer": "adam",
            "learning_rate": 2e-3,
            "weight_decay": 5e-4,
            "epochs": 1,
            "schedule": {"name": "constant"},
        },
        steps_per_epoch=1,
    )

    spec = steps.StepSpec(lead_network, optimizer, batch, window)

    def make(seed: int) -> Batch:
        rng = np.random.default_rng(seed)
        labels = rng.random((batch, classes)) < 0.4
        tones = 2 * np.sin(np.arange(window)[:, None] * np.array([0.2, 0.7, 1.6]) + rng.uniform(0, 6, classes))
        signal = rng.normal(0.5, 0.5, (batch, window, 2)) + (labels @ tones.T)[..., None]
        arrays = (signal, rng.random((batch, 5)), labels, np.zeros((0, batch, classes)))
        return Batch(*(jnp.asarray(array, jnp.float32) for array in arrays))

    @jax.jit
    def step(state: TrainState, batch: Batch) -> TrainState:
        state = state.replace(totals={name: jnp.float32(0) for name in state.totals})
        key = jax.random.fold_in(jax.random.key(1), state.step)
        return steps.train_step(state, batch, key, StepNumbers(), spec)

    first = make(0)
    state = create_state(variables(model, first.signal, first.demographics), optimizer, steps.METRICS)
    losses = []
    for seed in range(count):
        state = step(state, make(seed))
        losses.append(np.asarray(state.totals["loss"]))
    unseen = make(count)
    logits = jax.jit(functools.partial(predict_logits, lead_network))(
        state.variables, unseen.signal, unseen.demographics
    )
    return Training(np.stack(losses), state, np.asarray(logits))
