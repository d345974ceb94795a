"""How fast data reaches the training step: loading, the store, windows, and the share of a step that input takes.

    python -m benchmarks.input [--output=FILE.json] [--records=43101] [--data=FOLDER] [--model=lrhnet] [--leads=12]
        [--batches=64,256,1024,4096] [--window=4096] [--repeats=5] [--workers=2] [--smoke]

The data is a built set (the benchmark leaves a file of its samples beside it), or a synthetic one of that size: as many
links to one shard of generated records as it takes, which is therefore read from the system's cache. Measured are

- loading it and copying it to the device, in a process of its own: records/s and peak memory;
- random windows/s, float32: cut on the device from the resident store, cut on the host and sent (streamed), and from a
  PyTorch DataLoader over the same samples, in turns;
- a training step whose windows are there already, beside one that cuts them from the resident store and one that gets
  them streamed, in turns: the share of a step that input takes is what the first lacks of the others.

Streaming shares the processors with the step where both run on them: on a CPU it takes more than on an accelerator.
"""

import functools
import multiprocessing
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure, recipe, windows
from data_builders import build, shards
from lrhnet_jax import models
from lrhnet_jax.data import dataset, stream, tfds_reader
from lrhnet_jax.data.batch import Inputs, LeadNetwork, StepNumbers, draw_epoch, epoch_order, plain_inputs
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.data.store import make_store
from lrhnet_jax.ecg.leads import parse_leads
from lrhnet_jax.runtime import environment
from lrhnet_jax.runtime.devices import make_parallel
from lrhnet_jax.runtime.files import read_json, write_json
from lrhnet_jax.training import optim, steps
from lrhnet_jax.training.state import create_state, init_variables

WINDOWS_PER_TURN = 2048  # at least; and at least four batches
STEPS_PER_TURN = 4


def make_set(folder: pathlib.Path, records: int) -> pathlib.Path:
    """Returns a built synthetic set of at least `records` records, of links to one shard of generated ones."""
    path = build.build_synthetic(folder, min(records, shards.RECORDS_PER_SHARD))
    description = path / "dataset_info.json"
    info = read_json(description)
    split = info["splits"][0]
    size, length = int(split["numBytes"]), int(split["shardLengths"][0])
    count = -(-records // length)
    (shard,) = path.glob("*array_record*")
    stem = shard.name.removesuffix("-00000-of-00001")
    for i in range(count):
        os.link(shard, path / f"{stem}-{i:05d}-of-{count:05d}.link")
    shard.unlink()
    for link in path.glob("*.link"):
        link.rename(link.with_suffix(""))
    split |= {"numBytes": str(size * count), "shardLengths": [str(length)] * count}
    write_json(description, info)
    return path


def peak_memory() -> int:
    """Returns the largest resident size of this process so far, in bytes."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):  # unlike getrusage's, not that of the process that started this one
            return int(line.split()[1]) << 10
    raise RuntimeError("/proc/self/status has no VmHWM")


def measure_load(path: pathlib.Path, window: int) -> dict[str, Any]:
    """Loads a set and makes its store, for a process of its own; seconds, records/s and peak memory of both."""
    jnp.zeros(1).block_until_ready()  # starts the backend
    tfds_reader.open_set(path)  # imports
    result: dict[str, Any] = {"peak_bytes_before": peak_memory()}
    start = time.perf_counter()
    records = dataset.load(path, memory_map=False)
    loaded = time.perf_counter()
    result |= {"records": len(records), "signal_bytes": records.signals.nbytes, "peak_bytes_loaded": peak_memory()}
    jax.block_until_ready(make_store(records, window))
    stored = time.perf_counter()
    return result | {
        "load_seconds": loaded - start,
        "load_records_per_second": len(records) / (loaded - start),
        "store_seconds": stored - loaded,
        "store_records_per_second": len(records) / (stored - loaded),
        "peak_bytes_stored": peak_memory(),
    }


def measure_windows(
    records: Dataset,
    file: pathlib.Path,
    batch: int,
    window: int,
    columns: tuple[int, ...],
    workers: int,
    repeats: int,
) -> dict[str, Any]:
    """Returns windows/s of each way to make them, in turns."""
    count = max(4, -(-WINDOWS_PER_TURN // batch))
    tasks = windows.tasks(records, batch, window, columns, count)
    tasks["torch"] = windows.torch_task(records, file, batch, window, count, workers)
    timings = measure.interleave(tasks, repeats, warmup=1)
    result: dict[str, Any] = {"batch": batch}
    for name, timing in timings.items():
        result[name] = {"windows_per_second": batch * count / measure.median(timing), **timing}
    for name in ("resident", "streamed"):
        result[name]["ratio"] = measure.ratio(timings[name], timings["torch"])
    return result


def step_tasks(records: Dataset, name: str, leads: tuple[str, ...], batch: int, window: int) -> dict[str, measure.Task]:
    """Returns tasks of `STEPS_PER_TURN` training steps: their windows given, cut from the store, or streamed."""
    columns, parallel = records.columns(leads), make_parallel("jit", 1)
    lead_network = LeadNetwork(models.create(name, leads), columns)
    optimizer, key, order_key = optim.make(recipe.OPTIMIZER, 1), jax.random.key(1), jax.random.key(2)
    variables = init_variables(lead_network.model, jax.random.key(0), len(leads), window)
    per_epoch = len(records) // batch
    order = parallel.replicate(epoch_order(order_key, jnp.int32(0), len(records)))
    stride = 1 if jax.default_backend() == "cpu" else STEPS_PER_TURN

    def inputs_of(resident: bool) -> Inputs:
        store = make_store(records, window, resident=resident)
        return plain_inputs(store, np.arange(len(records))).replace(numbers=StepNumbers().traced(key))

    def task(inputs: Inputs, lead_network: LeadNetwork, next_signals: Callable[[], Any]) -> measure.Task:
        function = steps.make_steps(steps.StepSpec(lead_network, optimizer, batch, window), stride)
        state = parallel.replicate_state(create_state(variables, optimizer, steps.METRICS))
        placed = parallel.replicate(inputs)
        compiled = parallel.compile(function, state, placed, len(records), next_signals())

        def train() -> float:
            nonlocal state
            for _ in range(STEPS_PER_TURN // stride):
                state = compiled(state, placed, order, next_signals())
            return float(state.totals["loss"])

        return train

    streamed = inputs_of(resident=False)
    draw = jax.jit(functools.partial(draw_epoch, batch_size=batch, window=window))
    sent, (packed,) = stream.pack([lead_network])
    feed = stream.feed(
        streamed,
        sent,
        window,
        lambda epoch: draw(streamed, order, epoch, key),
        # More than the turns take: who reads a feed stops before its end.
        stream.dispatches(0, 10**9 * stride, per_epoch - per_epoch % stride, stride),
        parallel.shard_windows,
    )
    given = next(feed)
    return {
        "given": task(streamed, packed, lambda: given),
        "resident": task(inputs_of(resident=True), lead_network, lambda: None),
        "streamed": task(streamed, packed, lambda: next(feed)),
    }


def measure_steps(
    records: Dataset, name: str, leads: tuple[str, ...], batch: int, window: int, repeats: int
) -> dict[str, Any]:
    """Returns samples/s of each task of `step_tasks`, and the share of a step that input takes."""
    timings = measure.interleave(step_tasks(records, name, leads, batch, window), repeats)
    result: dict[str, Any] = {"model": name, "leads": len(leads), "batch": batch}
    for way, timing in timings.items():
        result[way] = {"samples_per_second": batch * STEPS_PER_TURN / measure.median(timing), **timing}
    for way in ("resident", "streamed"):
        pairs = zip(timings["given"]["seconds"], timings[way]["seconds"], strict=True)
        result[way]["input_share"] = statistics.median(1 - given / whole for given, whole in pairs)
    return result


def table(result: dict[str, Any]) -> str:
    """Returns the result for the terminal."""
    load = result["load"]
    rows: list[Sequence[Any]] = [("", "records/s", "seconds", "peak GB")]
    rows += [
        (what, load[f"{key}_records_per_second"], load[f"{key}_seconds"], load[f"peak_bytes_{after}"] / 1e9)
        for what, key, after in (("array_record to memory", "load", "loaded"), ("memory to device", "store", "stored"))
    ]
    cuts: list[Sequence[Any]] = [("windows/s", "resident", "streamed", "DataLoader", "ratio", "ratio streamed")]
    cuts += [
        (
            f"batch {row['batch']}",
            *(row[way]["windows_per_second"] for way in ("resident", "streamed", "torch")),
            *(row[way]["ratio"] for way in ("resident", "streamed")),
        )
        for row in result["windows"]
    ]
    step = result["step"]
    shares: list[Sequence[Any]] = [("training step", "samples/s", "share of input, %")]
    shares += [
        (way, step[way]["samples_per_second"], 100 * step[way]["input_share"] if way != "given" else None)
        for way in ("given", "resident", "streamed")
    ]
    head = (
        f"{measure.machine(result | {'load': result['load_before']})}; "
        f"{load['records']:,} records{' (synthetic)' if result['synthetic'] else ''}, {load['signal_bytes'] / 1e9:.2f} "
        f"GB; {step['model']}, {step['leads']} leads, batch {step['batch']}, window {result['window']}"
    )
    return "\n\n".join([head, *map(measure.table, (rows, cuts, shares))])


def run(path: pathlib.Path, options: Any) -> dict[str, Any]:
    """Returns all measurements on the set built at `path`."""
    described = environment.describe("torch")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        load = pool.apply(measure_load, (path, options.window))
    records = dataset.load(path, memory_map=True)
    (file,) = path.glob("memory_map-*/signals.f16")
    leads = parse_leads(options.leads)
    return {
        "benchmark": "input",
        **described,
        "load_before": described.pop("load"),
        "synthetic": records.synthetic,
        "window": options.window,
        "repeats": options.repeats,
        "dataloader_workers": options.workers,
        "load": load,
        "windows": [
            measure_windows(
                records, file, batch, options.window, records.columns(leads), options.workers, options.repeats
            )
            for batch in options.batches
        ],
        "step": measure_steps(records, options.model, leads, options.batches[0], options.window, options.repeats),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.set_defaults(repeats=5)
    parser.add_argument("--records", type=int, default=43101)
    parser.add_argument("--data", type=pathlib.Path, help="folder of a built set, instead of a synthetic one")
    parser.add_argument("--model", default="lrhnet")
    parser.add_argument("--leads", default="12", help="as in a config string")
    parser.add_argument(
        "--batches", type=measure.numbers, default="64,256,1024,4096", help="the first one's step is measured, too"
    )
    parser.add_argument("--window", type=int, default=4096)
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader")
    options = parser.parse_args(arguments)
    if options.smoke:
        options.records, options.window, options.repeats, options.batches = 40, 256, 2, [4]
    with tempfile.TemporaryDirectory(prefix="lrhnet-input-") as scratch:
        path = options.data or make_set(pathlib.Path(scratch), options.records)
        result = run(path, options)
    measure.write(result, options.output)
    print(table(result))


if __name__ == "__main__":
    main()
