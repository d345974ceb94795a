"""Small made-up data for tests of what comes after the builders."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from lrhnet_jax import batching, data, ecg, models, tasks, windows


def records(n: int = 40, seed: int = 0, shortest: int = 150, longest: int = 700) -> data.Records:
    """Random signals whose first scored class shows as a tone in lead I, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, longest, n)
    labels = rng.random((n, len(ecg.CLASSES))) < 0.3
    signals = []
    for length, label in zip(lengths, labels, strict=True):
        signal = rng.normal(size=(length, len(ecg.LEADS)))
        signal[:, 0] += 2 * label[0] * np.sin(np.arange(length) / 3)
        signals.append(signal.astype(np.float16))
    demographics = np.stack([ecg.demographics_vector(age, "female") for age in rng.uniform(20, 90, n)])
    ids = [f"R{i:04d}" for i in range(n)]
    patients = [f"P{i // 2:04d}" for i in range(n)]
    return data.Records.from_arrays(
        signals, labels, demographics, ids, ["a", "b"] * (n // 2), patients, np.arange(n) % 5, name="physionet2020"
    )


def of_task(name: str, n: int = 60, seed: int = 0, seconds: float = 2.0) -> data.Records:
    """Records of the data set `name` whose classes show as tones in lead I, a frequency for each."""
    task = tasks.of(name)
    count = len(task.classes)
    rng = np.random.default_rng(seed)
    positive = np.arange(n) % count
    labels = np.eye(count, dtype=bool)[positive]
    if not task.exclusive:
        labels |= rng.random(labels.shape) < 0.15
    leads = ("I",) if task is tasks.PHYSIONET2017 else ecg.LEADS
    lengths = (task.rate * seconds * rng.uniform(0.7, 1.3, n)).astype(int)
    signals = []
    for length, label in zip(lengths, labels, strict=True):
        signal = rng.normal(size=(length, len(leads)))
        signal[:, 0] += 3 * np.sin(np.arange(length)[:, None] * np.linspace(0.1, 1.5, count)) @ label
        signals.append(signal.astype(np.float16))
    return data.Records.from_arrays(
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


def build(records: data.Records, data_dir: pathlib.Path, config: str, **report: object) -> pathlib.Path:
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


def inputs(store: windows.Store, n: int, shifts: jax.Array | None = None) -> batching.Inputs:
    """Training inputs over the first n records, without teachers."""
    classes = store.labels.shape[1]
    return batching.Inputs(
        store=store,
        records=jnp.arange(n, dtype=jnp.int32),
        shifts=jnp.zeros((n, 0), jnp.int32) if shifts is None else shifts,
        teacher_logits=jnp.zeros((n, 0, 0, classes)),
    )


def reader(name: str = "lrhnet", columns: tuple[int, ...] = (0, 1)) -> batching.Reader:
    return batching.Reader(models.create(name, len(columns)), columns)
