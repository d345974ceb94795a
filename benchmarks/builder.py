"""How fast the data builder prepares records, on one core, and where its time goes; beside a plain loop.

    python -m benchmarks.builder [--output=FILE.json] [--records=256] [--raw_dir=FOLDER] [--repeats=5] [--smoke]

The plain loop is what a PyTorch user would write: `wfdb.rdsamp`, `scipy.signal.resample_poly`, a z-score, and one .npy
file a record. Both read the same WFDB records: generated ones, or those of --raw_dir in PhysioNet's layout. A ratio
above 1 means that this project is faster.
"""

import contextlib
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import numpy as np
import scipy.signal
import tensorflow_datasets as tfds
import wfdb
from tensorflow_datasets.core import example_serializer

from benchmarks import measure
from data_builders import shards, synthetic
from data_builders.entries import BuildEntry
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.ecg.leads import LEADS, SAMPLE_RATE
from lrhnet_jax.ecg.wfdb import find_headers, read_header
from lrhnet_jax.runtime import environment
from lrhnet_jax.tasks import physionet2020

# Of the builder's stages, the functions that do the work.
STAGES: dict[str, list[tuple[Any, str]]] = {
    "read": [(shards, "read_signal")],
    "resample": [(preprocessing, "resample")],
    "z-score": [(preprocessing, "zscore")],
    "encode": [
        (tfds.features.FeaturesDict, "encode_example"),
        (example_serializer.ExampleSerializer, "get_tf_example"),
    ],
}
REST = "write, checks"


def find(raw_dir: pathlib.Path, count: int) -> list[BuildEntry]:
    """Returns up to `count` records, spread over all that lie below `raw_dir`."""
    paths = find_headers(raw_dir)
    chosen = np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)
    headers = [read_header(paths[i]) for i in chosen]
    return [
        BuildEntry(h, h.source, h.record_id, 0, tuple(physionet2020.encode_labels(h.codes).tolist())) for h in headers
    ]


def build(entries: Sequence[BuildEntry], folder: pathlib.Path) -> int:
    """Writes the records as the data builder does, in this process; returns how many."""
    shard = shards.Shard(str(folder / "one.array_record"), tuple(entries), preprocessing.PAPER)
    return len(shards.write(shard).written)


def build_plainly(entries: Sequence[BuildEntry], folder: pathlib.Path) -> int:
    """Writes the records as .npy files; returns how many."""
    for entry in entries:
        signal, fields = wfdb.rdsamp(str(entry.header.path.with_suffix("")))
        signal = signal[:, [fields["sig_name"].index(lead) for lead in LEADS]]
        signal = scipy.signal.resample_poly(signal, SAMPLE_RATE, int(fields["fs"]), axis=0)
        deviation = signal.std(axis=0)
        signal = (signal - signal.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
        np.save(folder / f"{entry.header.record_id}.npy", signal.astype(np.float16))
    return len(entries)


def profile(entries: Sequence[BuildEntry], folder: pathlib.Path) -> dict[str, float]:
    """Returns the seconds of each stage of `build` over all records."""
    seconds = dict.fromkeys(STAGES, 0.0)

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                seconds[stage] += time.perf_counter() - start

        return call

    with contextlib.ExitStack() as patches:
        for stage, places in STAGES.items():
            for owner, name in places:
                patches.enter_context(mock.patch.object(owner, name, timed(stage, getattr(owner, name))))
        start = time.perf_counter()
        build(entries, folder)
        total = time.perf_counter() - start
    return seconds | {REST: total - sum(seconds.values())}


def run(raw_dir: pathlib.Path, options: Any) -> dict[str, Any]:
    """Returns records/s of both ways, in turns, and the stages' shares."""
    described = environment.describe("wfdb")
    entries = find(raw_dir, options.records)
    with tempfile.TemporaryDirectory(prefix="lrhnet-built-") as scratch:
        folder = pathlib.Path(scratch)
        tasks = {"ours": lambda: build(entries, folder), "plain": lambda: build_plainly(entries, folder)}
        written = {name: task() for name, task in tasks.items()}
        if set(written.values()) != {len(entries)}:
            raise AssertionError(f"of {len(entries)} records were written: {written}")
        timings = measure.interleave(tasks, options.repeats, warmup=0)
        profiles = [profile(entries, folder) for _ in range(options.repeats)]
    result: dict[str, Any] = {
        "benchmark": "builder",
        **described,
        "records": len(entries),
        "synthetic": options.raw_dir is None,
        "seconds_of_signal": sum(entry.header.samples / entry.header.rate for entry in entries),
        "repeats": options.repeats,
    }
    for name, timing in timings.items():
        result[name] = {"records_per_second": len(entries) / measure.median(timing), **timing}
    result["ratio"] = measure.ratio(timings["ours"], timings["plain"])
    result["cpu_ratio"] = measure.ratio(timings["ours"], timings["plain"], "cpu_seconds")
    total = statistics.fmean(sum(seconds.values()) for seconds in profiles)
    result["shares"] = {stage: statistics.fmean(p[stage] for p in profiles) / total for stage in profiles[0]}
    return result


def table(result: dict[str, Any]) -> str:
    """Returns the result for the terminal."""
    rates: list[Sequence[Any]] = [("one core", "records/s", "ratio", "CPU ratio")]
    rates.append(("data builder", result["ours"]["records_per_second"], result["ratio"], result["cpu_ratio"]))
    rates.append(("wfdb + scipy loop", result["plain"]["records_per_second"], None, None))
    shares: list[Sequence[Any]] = [("stage", "share, %")]
    shares += [(stage, 100 * share) for stage, share in result["shares"].items()]
    head = (
        f"{result['processor']}, load {result['load']:.1f}; {result['records']:,} records"
        f"{' (synthetic)' if result['synthetic'] else ''} of {result['seconds_of_signal']:,.0f} s in all"
    )
    return "\n\n".join([head, *map(measure.table, (rates, shares))])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.set_defaults(repeats=5)
    parser.add_argument("--records", type=int, default=256)
    parser.add_argument("--raw_dir", type=pathlib.Path, help="folder of WFDB records with the twelve leads")
    options = parser.parse_args(arguments)
    if options.smoke:
        options.records, options.repeats = 4, 2
    with tempfile.TemporaryDirectory(prefix="lrhnet-raw-") as scratch:
        raw_dir = options.raw_dir
        if raw_dir is None:
            raw_dir = pathlib.Path(scratch)
            synthetic.write(raw_dir, options.records, seed=0)
        result = run(raw_dir, options)
    measure.write(result, options.output)
    print(table(result))


if __name__ == "__main__":
    main()
