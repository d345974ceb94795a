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
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.core import writer as tfds_writer

from data_builders import guard
from data_builders.entries import BuildEntry
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.ecg.files import printable
from lrhnet_jax.ecg.leads import DEMOGRAPHICS, LEADS, demographics_vector
from lrhnet_jax.ecg.wfdb import RecordError, read_signal
from lrhnet_jax.errors import DataError

RECORDS_PER_SHARD = 256  # 15 MB of 10 s records
MOST_DEATHS = 5  # of processes at one shard: more are not the records' fault
_NOT_STARTED, _IDLE = -2, -1
FILE_FORMAT = "array_record"  # TFDS 4.9 loses examples in parquet, and tfrecord needs TensorFlow


def cores() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file to be written.

    Attributes:
      path: of the file.
      entries: the records for it.
      options: how to prepare them.
      leads: as the records name them.
      deadly: indices of records that killed the process that read them, and are rejected unread.
    """

    path: str
    entries: tuple[BuildEntry, ...]
    options: preprocessing.Preprocess
    leads: tuple[str, ...] = LEADS
    deadly: tuple[int, ...] = ()


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
                if i in shard.deadly:
                    raise RecordError(entry.header.path, "ends the process that reads it")
                encoded = form.encode_example(example(entry, shard.options, shard.leads))
                # Otherwise the order of a record's fields would differ from process to process.
                data = serializer.get_tf_example(encoded).SerializeToString(deterministic=True)
            except RecordError as error:
                rejected.append((error.path, error.reason))
            except Exception as error:  # one record, however strange, does not stop a build of thousands
                path = printable(entry.header.path)
                logging.exception("%s", path)
                rejected.append((path, f"unexpected {type(error).__name__}: {error}"))
            else:
                written.append(i)
                size += len(data)
                yield i, data
            progress(1)

    file_format = tfds.core.FileFormat.from_value(FILE_FORMAT)
    tfds_writer.ExampleWriter(file_format=file_format).write(shard.path, serialized())
    return Written(tuple(written), size, tuple(rejected))


def write_all(shards: Sequence[Shard], workers: int) -> list[Written]:
    """Writes shards in `workers` processes (in this one if that is 1), with a progress bar; results in their order.

    A process that dies costs the record that it was reading, which is rejected and named, and nothing else.

    Raises:
      DataError: if processes die for another reason than a record.
    """
    total = sum(len(shard.entries) for shard in shards)
    count = min(workers, len(shards))
    with tqdm.tqdm(total=total, desc="build", unit="record", disable=None) as bar:
        if count <= 1:
            return [write(shard, bar.update) for shard in shards]
        team = [_Worker(count) for _ in range(count)]
        free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in team:
            free.put(worker)

        def write_one(shard: Shard) -> Written:
            worker = free.get()
            try:
                return worker.write(shard)
            finally:
                free.put(worker)

        with concurrent.futures.ThreadPoolExecutor(count) as threads:
            try:
                waiting = futures = [threads.submit(write_one, shard) for shard in shards]
                while waiting:
                    ended, unended = concurrent.futures.wait(waiting, 0.5, concurrent.futures.FIRST_EXCEPTION)
                    bar.update(sum(worker.done() for worker in team) - bar.n)
                    for future in ended:
                        future.result()
                    waiting = list(unended)
                return [future.result() for future in futures]
            finally:
                threads.shutdown(cancel_futures=True)
                for worker in team:
                    worker.close()


class _Worker:
    """A process that writes shards, and those that follow it when it dies."""

    def __init__(self, count: int):
        # Not forked: the caller may hold threads (JAX does), and a forked copy of a lock stays locked.
        self._context = multiprocessing.get_context("spawn")
        self._count = count
        self._shared = self._context.Array("q", 2)  # records done in all; index of the record that is being read
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None

    def done(self) -> int:
        return self._shared[0]

    def write(self, shard: Shard) -> Written:
        while len(shard.deadly) <= MOST_DEATHS:
            if self._pool is None:
                self._shared[1] = _NOT_STARTED
                self._pool = concurrent.futures.ProcessPoolExecutor(1, self._context, _start_worker, (self._shared,))
            try:
                return self._pool.submit(_write_in_worker, shard).result()
            except concurrent.futures.process.BrokenProcessPool as error:
                self.close()
                at = self._shared[1]
                if at == _NOT_STARTED:
                    raise DataError(f"a worker process ended before it began: {guard.ADVICE}") from error
                if not 0 <= at < len(shard.entries):
                    break
                logging.warning("%s ended the process that read it", printable(shard.entries[at].header.path))
                self._shared[0] -= at
                shard = dataclasses.replace(shard, deadly=(*shard.deadly, at))
        raise DataError(
            f"one of {self._count} worker processes died, most likely for want of memory; try fewer: --workers=1"
        )

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


_shared: Any = None  # of the worker that this process is


def _start_worker(shared: Any) -> None:
    global _shared
    _shared = shared
    if shared is not None:
        shared[1] = _IDLE
    # A worker whose parent is killed would wait for work forever.
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _write_in_worker(shard: Shard) -> Written:
    def progress(n: int) -> None:
        _shared[0] += n
        _shared[1] += n

    _shared[1] = 0
    written = write(shard, progress)
    _shared[1] = _IDLE
    return written


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
