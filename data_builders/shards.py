"""Recordings to files of serialised examples, one file a shard.

A shard's content depends on the archive alone, never on how many processes there are or who writes it. One record is in
memory per process. TFDS's own writers are passed by because they collect examples, up to 1 GB in memory and beyond that
through TensorFlow's file system, to shuffle them.
"""

import concurrent.futures.process
import dataclasses
import functools
import json
import logging
import multiprocessing
import os
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.core import writer as tfds_writer

from data_builders.entries import BuildEntry
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.ecg.leads import DEMOGRAPHICS, LEADS, demographics_vector
from lrhnet_jax.ecg.wfdb import RecordError, read_signal
from lrhnet_jax.errors import DataError

RECORDS_PER_SHARD = 256  # 15 MB of 10 s records
FILE_FORMAT = "array_record"  # TFDS 4.9 loses examples in parquet, and tfrecord needs TensorFlow


def cores() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file to be written: its path, the records for it, how to prepare them, and their leads as the records say."""

    path: str
    entries: tuple[BuildEntry, ...]
    options: preprocessing.Preprocess
    leads: tuple[str, ...] = LEADS


@dataclasses.dataclass(frozen=True)
class Written:
    """What has become of a shard: indices of its entries that were written, their bytes, and who was rejected, why."""

    written: tuple[int, ...]
    size: int
    rejected: tuple[tuple[str, str], ...]


@functools.cache
def features(leads: int, classes: int, published_folds: bool = False) -> tfds.features.FeaturesDict:
    """Returns what an example holds. `encoding="bytes"`: TFDS would otherwise store float16 as float32."""
    published = {"published_fold": np.int32} if published_folds else {}
    return tfds.features.FeaturesDict(
        {
            "signal": tfds.features.Tensor(shape=(None, leads), dtype=np.float16, encoding="bytes"),
            "labels": tfds.features.Tensor(shape=(classes,), dtype=np.bool_),
            "demographics": tfds.features.Tensor(shape=(len(DEMOGRAPHICS),), dtype=np.float32),
            "record_id": tfds.features.Text(),
            "source": tfds.features.Text(),
            "patient": tfds.features.Text(),
            "rate": np.float32,
            "length": np.int32,
            "fold": np.int32,
            **published,
        }
    )


def example(entry: BuildEntry, options: preprocessing.Preprocess, leads: Sequence[str] = LEADS) -> dict[str, Any]:
    """Reads and prepares a record.

    Raises:
      RecordError: if it cannot be used.
    """
    header = entry.header
    signal = preprocessing.preprocess(read_signal(header, leads), header.rate, options)
    if not np.isfinite(signal).all():
        raise RecordError(header.path, "non-finite samples after preprocessing")
    return {
        "signal": signal,
        "labels": np.array(entry.labels),
        "demographics": demographics_vector(header.age, header.sex),
        "record_id": header.record_id,
        "source": entry.source,
        "patient": entry.patient,
        "rate": header.rate,
        "length": header.samples,
        "fold": entry.fold,
        **({} if entry.published_fold is None else {"published_fold": entry.published_fold}),
    }


def plan(entries: Sequence[BuildEntry], num_shards: int | None, seed: int = 2020) -> list[list[BuildEntry]]:
    """Deals entries out to shards, in an order that mixes sources, so that no shard is all long records."""
    count = min(num_shards or -(-len(entries) // RECORDS_PER_SHARD), len(entries))
    order = np.random.default_rng(seed).permutation(len(entries))
    return [[entries[i] for i in part] for part in np.array_split(order, count)]


def write(shard: Shard, progress: Callable[[int], Any] = lambda n: None) -> Written:
    """Writes a shard. Records that cannot be used are left out and reported."""
    first = shard.entries[0]
    form = features(len(shard.leads), len(first.labels), first.published_fold is not None)
    serializer = example_serializer.ExampleSerializer(form.get_serialized_info())
    written, rejected, size = [], [], 0

    def serialized():
        nonlocal size
        for i, entry in enumerate(shard.entries):
            try:
                encoded = form.encode_example(example(entry, shard.options, shard.leads))
                # Otherwise the order of a record's fields would differ from process to process.
                data = serializer.get_tf_example(encoded).SerializeToString(deterministic=True)
            except RecordError as error:
                rejected.append((error.path, error.reason))
            except Exception as error:  # one record, however strange, does not stop a build of thousands
                logging.exception("%s", entry.header.path)
                rejected.append((str(entry.header.path), f"unexpected {type(error).__name__}: {error}"))
            else:
                written.append(i)
                size += len(data)
                yield i, data
            progress(1)

    file_format = tfds.core.FileFormat.from_value(FILE_FORMAT)
    tfds_writer.ExampleWriter(file_format=file_format).write(shard.path, serialized())
    return Written(tuple(written), size, tuple(rejected))


def write_all(shards: Sequence[Shard], workers: int) -> list[Written]:
    """Writes shards in `workers` processes (in this one if that is 1), with a progress bar; results in their order."""
    total = sum(len(shard.entries) for shard in shards)
    workers = min(workers, len(shards))
    with tqdm.tqdm(total=total, desc="build", unit="record", disable=None) as bar:
        if workers <= 1:
            return [write(shard, bar.update) for shard in shards]
        # Not forked: the caller may hold threads (JAX does), and a forked copy of a lock stays locked.
        context = multiprocessing.get_context("spawn")
        counter = context.Value("q", 0)
        with concurrent.futures.ProcessPoolExecutor(workers, context, _start_worker, (counter,)) as pool:
            try:
                waiting = futures = [pool.submit(_write_in_worker, shard) for shard in shards]
                while waiting:
                    ended, unended = concurrent.futures.wait(waiting, 0.5, concurrent.futures.FIRST_EXCEPTION)
                    bar.update(counter.value - bar.n)
                    for future in ended:
                        future.result()
                    waiting = list(unended)
                return [future.result() for future in futures]
            except concurrent.futures.process.BrokenProcessPool as error:
                raise DataError(
                    f"one of {workers} worker processes died, most likely for want of memory; try fewer: --workers=1"
                ) from error
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


_counter: Any = None


def _start_worker(counter: Any) -> None:
    global _counter
    _counter = counter
    # A worker whose parent is killed would wait for work forever.
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _write_in_worker(shard: Shard) -> Written:
    def progress(n: int) -> None:
        with _counter.get_lock():
            _counter.value += n

    return write(shard, progress)


def write_all_with_beam(shards: Sequence[Shard], runner: Any = None, options: Any = None) -> list[Written]:
    """Writes shards on an Apache Beam runner, which must see the same files; results in the order of `shards`."""
    import apache_beam as beam

    with beam.Pipeline(runner=runner, options=options) as pipeline:
        _ = pipeline | "shards" >> beam.Create(shards) | beam.Reshuffle() | "write" >> beam.Map(_write_and_note)
    results = []
    for shard in shards:
        note = pathlib.Path(_note(shard))
        fields = json.loads(note.read_text())
        note.unlink()
        results.append(Written(tuple(fields[0]), fields[1], tuple((path, reason) for path, reason in fields[2])))
    return results


def _write_and_note(shard: Shard) -> None:
    """Writes a shard, and what became of it into a file beside it: a pipeline's values stay in the pipeline."""
    pathlib.Path(_note(shard)).write_text(json.dumps(dataclasses.astuple(write(shard))))


def _note(shard: Shard) -> str:
    return f"{shard.path}.written.json"
