"""Time to the first training step in a fresh process, with and without the compilation cache, beside PyTorch.

    python -m benchmarks.startup [--output=FILE.json] [--records=1000] [--model=lrhnet] [--leads=12] [--batch=64]
        [--window=4096] [--repeats=5] [--smoke]

Each turn starts a process of each kind: ours without a cache, ours with one that an earlier process filled, and eager
PyTorch. A process imports what it needs, reads its data (synthetic: ours a built set, PyTorch one file of samples),
makes the network, compiles (ours), and takes one training step, whose loss it fetches. "start" is what Python itself
takes, from outside.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import measure, recipe

STAGES = ("start", "import", "data", "compile", "first step")
KINDS = ("no cache", "cache", "PyTorch")
BORN = "BENCHMARK_BORN"  # environment variable: when the parent started this process


class Clock:
    """Seconds between calls of `lap`, under their stages' names; the first since the parent started this process."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = float(os.environ[BORN])

    def lap(self, stage: str) -> None:
        state = time.time()  # not a clock of this process alone
        self.seconds[stage], self._last = state - self._last, state


def first_step(clock: Clock, options: Any) -> None:
    """Takes this project's first training step."""
    import jax
    import jax.numpy as jnp

    from lrhnet_jax import models
    from lrhnet_jax.data import dataset
    from lrhnet_jax.data.batch import LeadNetwork, StepNumbers, epoch_order, plain_inputs
    from lrhnet_jax.data.store import make_store
    from lrhnet_jax.ecg.leads import parse_leads
    from lrhnet_jax.runtime import host
    from lrhnet_jax.runtime.devices import make_parallel
    from lrhnet_jax.training import optim, steps
    from lrhnet_jax.training.state import create_state, init_variables

    host.keep_freed_memory()
    if options.cache:
        jax.config.update("jax_compilation_cache_dir", options.cache)
    parallel = make_parallel("jit", 1)
    clock.lap("import")

    records = dataset.load(options.data)
    n, key = len(records), jax.random.key(0)
    inputs = plain_inputs(make_store(records, options.window), jnp.arange(n))
    inputs = jax.block_until_ready(parallel.replicate(inputs.replace(numbers=StepNumbers().traced(key))))
    clock.lap("data")

    leads = parse_leads(options.leads)
    lead_network = LeadNetwork(models.create(options.model, leads), records.columns(leads))
    optimizer = optim.make(recipe.OPTIMIZER, 1)
    variables = init_variables(lead_network.model, key, len(leads), options.window)
    state = parallel.replicate_state(create_state(variables, optimizer, steps.METRICS))
    function = steps.make_steps(steps.StepSpec(lead_network, optimizer, options.batch, options.window))
    compiled = parallel.compile(function, state, inputs, n)
    order = parallel.replicate(epoch_order(key, jnp.int32(0), n))
    clock.lap("compile")

    float(compiled(state, inputs, order, None).totals["loss"])
    clock.lap("first step")


def torch_first_step(clock: Clock, options: Any) -> None:
    """Takes PyTorch's first training step of the same network."""
    import numpy as np
    import torch

    from benchmarks import torch_models, torch_windows
    from lrhnet_jax.ecg.leads import LEADS  # knows no JAX

    clock.lap("import")

    with np.load(options.data / "fields.npz") as stored:
        fields = {name: stored[name] for name in stored.files}
    columns = [int(column) for column in options.columns.split(",")]
    file, leads = options.data / "signals.f16", len(LEADS)
    source = torch_windows.Windows(file, **fields, leads=leads, window=options.window, size=options.batch)
    signal, demographics, labels = next(iter(torch_windows.loader(source, options.batch, 0)))
    signal = signal[:, columns]
    clock.lap("data")

    model = torch_models.MODELS[options.model](len(columns))
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.LEARNING_RATE, weight_decay=recipe.WEIGHT_DECAY)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(model(signal, demographics), labels)
    loss.backward()
    optimizer.step()
    loss.item()
    clock.lap("first step")


def start(kind: str, options: Any, folders: dict[str, pathlib.Path], columns: Sequence[int]) -> dict[str, float]:
    """Runs a process of a kind, and returns the seconds of its stages and their total."""
    arguments = [
        sys.executable,
        "-m",
        "benchmarks.startup",
        f"--child={kind}",
        f"--data={folders['torch' if kind == 'PyTorch' else 'ours']}",
        f"--columns={','.join(map(str, columns))}",
        f"--cache={folders['cache'] if kind == 'cache' else ''}",
        *(f"--{name}={getattr(options, name)}" for name in ("model", "leads", "batch", "window")),
    ]
    environment = {key: value for key, value in os.environ.items() if key != "JAX_COMPILATION_CACHE_DIR"}
    environment[BORN] = str(time.time())
    root = pathlib.Path(__file__).parents[1]
    ended = subprocess.run(arguments, cwd=root, env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"the process for {kind!r} failed:\n{ended.stderr}")
    seconds = json.loads(ended.stdout.splitlines()[-1])
    return seconds | {"total": sum(seconds.values())}


def run(options: Any) -> dict[str, Any]:
    """Returns the seconds of every stage of every kind of process, by turn, and their medians."""
    import numpy as np

    from data_builders import build
    from lrhnet_jax.data import dataset
    from lrhnet_jax.ecg.leads import parse_leads
    from lrhnet_jax.runtime import environment

    described = environment.describe("torch")
    with tempfile.TemporaryDirectory(prefix="lrhnet-startup-") as scratch:
        folders = {name: pathlib.Path(scratch, name) for name in ("torch", "cache")}
        folders["torch"].mkdir()
        folders["ours"] = build.build_synthetic(scratch, options.records)
        records = dataset.load(folders["ours"])
        records.signals.tofile(folders["torch"] / "signals.f16")
        fields = {name: getattr(records, name) for name in ("offsets", "lengths", "labels", "demographics")}
        np.savez(folders["torch"] / "fields.npz", allow_pickle=False, **fields)
        columns = records.columns(parse_leads(options.leads))
        filled = start("cache", options, folders, columns)
        turns: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
        for _ in range(options.repeats):
            for kind in KINDS:
                turns[kind].append(start(kind, options, folders, columns))
    medians = {
        kind: {stage: statistics.median(turn[stage] for turn in rows) for stage in rows[0]}
        for kind, rows in turns.items()
    }
    return {
        "benchmark": "startup",
        **described,
        "model": options.model,
        "leads": options.leads,
        "batch": options.batch,
        "window": options.window,
        "records": len(records),
        "synthetic": True,
        "repeats": options.repeats,
        "medians": medians,
        "ratios": {kind: medians["PyTorch"]["total"] / medians[kind]["total"] for kind in KINDS[:2]},
        "turns": turns,
        "filling_the_cache": filled,
    }


def table(result: dict[str, Any]) -> str:
    """Returns the result for the terminal."""
    rows: list[Sequence[Any]] = [("seconds", *STAGES, "total", "ratio")]
    for kind, medians in result["medians"].items():
        stages = (medians.get(stage) for stage in STAGES)
        rows.append((kind, *stages, medians["total"], result["ratios"].get(kind)))
    head = (
        f"{measure.machine(result)}; {result['model']}, leads {result['leads']}, batch {result['batch']}, window "
        f"{result['window']}, {result['records']:,} synthetic records; medians of {result['repeats']}"
    )
    return f"{head}\n\n{measure.table(rows)}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.set_defaults(repeats=5)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--model", default="lrhnet", choices=("lrhnet", "seresnet", "cnn1d"))
    parser.add_argument("--leads", default="12", help="as in a config string")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--window", type=int, default=4096)
    # Of the processes that it starts.
    for flag, kind in (("--child", str), ("--columns", str), ("--cache", str), ("--data", pathlib.Path)):
        parser.add_argument(flag, type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        clock = Clock()
        clock.lap("start")
        (torch_first_step if options.child == "PyTorch" else first_step)(clock, options)
        print(json.dumps(clock.seconds))
        return
    if options.smoke:
        options.records, options.batch, options.window, options.repeats = 20, 2, 256, 1
    result = run(options)
    measure.write(result, options.output)
    print(table(result))


if __name__ == "__main__":
    main()
