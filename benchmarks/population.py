"""How fast many networks train at once, beside the same networks in turn.

    python -m benchmarks.population [--output=FILE.json] [--networks=16] [--model=lrhnet] [--leads=2] [--batch=64]
        [--window=4096] [--dtype=bfloat16] [--devices=1] [--steps=20] [--repeats=5] [--smoke]

The networks are students of p-MLKD with precomputed logits of two teachers, that differ in their seed. `at once` is
`config.population`: one program, vectorised over networks, which several devices share out. `in turn` is one network
after another by one compiled program, whose batches several devices share out. A ratio above 1 means that at once is
faster. A turn is `steps` steps of every network: in one dispatch, but on CPUs one by one. `compile` is what the program
takes to be traced and compiled; in turn without a shared program it would be that for every network. `memory` is what
the program needs beside data and states, on a device. Data is noise.

Measure on an idle machine. On CPUs, in turn is the faster one, and what training does there.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import cases, measure, recipe
from lrhnet_jax import models
from lrhnet_jax.data import stream
from lrhnet_jax.data.batch import Inputs, LeadNetwork, StepNumbers
from lrhnet_jax.data.store import random_shifts
from lrhnet_jax.runtime import environment
from lrhnet_jax.runtime.devices import Parallel, make_parallel
from lrhnet_jax.training import many_networks, optim, steps
from lrhnet_jax.training.one_network import OneNetwork
from lrhnet_jax.training.run import Dispatcher, Run, first_state
from lrhnet_jax.training.state import init_variables

KINDS = ("in turn", "at once")


def make_runs(options: Any, parallel: Parallel) -> list[Run]:
    """Returns students that share data, teachers' logits and compiled steps."""
    count = options.batch * options.steps
    store = parallel.replicate(cases.noise(options.batch, options.window))
    classes = store.labels.shape[1]
    rows = jnp.arange(count, dtype=jnp.int32) % options.batch
    inputs = Inputs(
        store=store,
        records=rows,
        shifts=random_shifts(jax.random.key(1), store.lengths[rows], options.window, 2),
        teacher_logits=jax.random.normal(jax.random.key(2), (count, 2, 2, classes)),
    )
    fields = {**recipe.OPTIMIZER, "learning_rate": 1.0}
    lead_network = LeadNetwork(
        models.create(options.model, options.leads, dtype=options.dtype), tuple(range(options.leads))
    )
    run = Run(
        spec=steps.StepSpec(
            lead_network, optim.make(fields, options.steps), options.batch, options.window, parallel=parallel
        ),
        name="student",
        variables={},
        inputs=inputs,
        numbers=StepNumbers((0.6, 0.4), rate=1e-3),
        key=jax.random.key(3),
        epochs=1,
        schedule=optim.schedule(fields, options.steps),
        score=None,
        score_name="",
        folder=pathlib.Path(),  # nothing is saved
        compiled_steps={},
    )
    keys = [jax.random.fold_in(run.key, i) for i in range(options.networks)]
    shape = (options.leads, options.window)
    return [
        dataclasses.replace(run, key=key, variables=init_variables(lead_network.model, key, *shape)) for key in keys
    ]


class Case:
    """Networks that are ready to train, and what their program took to compile and needs of memory (bytes)."""

    def __init__(self, kind: str, runs: Sequence[Run]):
        compiled_steps: dict[Any, Any] = {}
        runs = [dataclasses.replace(run, compiled_steps=compiled_steps) for run in runs]
        states = [first_state(run) for run in runs]
        self._count = runs[0].steps_per_epoch
        self._dispatchers: list[Dispatcher]
        if kind == "at once":
            self._dispatchers, states = [many_networks.Together(runs)], [many_networks.stack(states)]
        else:
            self._dispatchers = [OneNetwork(run) for run in runs]
        self._states: list[Any] = []
        self.compile_seconds = 0.0
        for dispatcher, state in zip(self._dispatchers, states, strict=True):
            started = time.perf_counter()
            self._states.append(dispatcher.begin(state, 0, self._count))
            self.compile_seconds = self.compile_seconds or time.perf_counter() - started
        analysis = [program.memory_analysis() for program in compiled_steps.values()]
        self.memory = max((found.temp_size_in_bytes for found in analysis if found), default=None)

    def run(self) -> float:
        """Takes the steps of all networks; returns their mean loss."""
        losses = []
        for i, dispatcher in enumerate(self._dispatchers):
            for planned in stream.dispatches(0, self._count, self._count, dispatcher.stride):
                self._states[i] = dispatcher.take(self._states[i], planned)
                jax.block_until_ready(self._states[i].step)
            losses.append(np.mean(np.asarray(self._states[i].totals["loss"])) / self._count)
        return float(np.mean(losses))


def compare(options: Any) -> dict[str, Any]:
    """Returns speed, compile time and memory of both, and how many times faster at once is."""
    parallel = make_parallel("jit", options.devices)
    runs = make_runs(options, parallel)
    cases = {kind: Case(kind, runs) for kind in KINDS}
    tasks: dict[str, Callable[[], Any]] = {kind: case.run for kind, case in cases.items()}
    timings = measure.interleave(tasks, options.repeats, warmup=1)
    samples = options.networks * options.batch * options.steps
    rows = {
        kind: {
            "samples_per_second": samples / measure.median(timings[kind]),
            "compile_seconds": case.compile_seconds,
            "memory": case.memory,
            "loss": case.run(),
            **timings[kind],
        }
        for kind, case in cases.items()
    }
    return {"rows": rows, "ratio": measure.ratio(timings["at once"], timings["in turn"])}


def table(result: dict[str, Any]) -> str:
    """Returns the result for the terminal."""
    rows: list[list[Any]] = [["", "samples/s", "compile, s", "memory, MB", "loss"]]
    for kind, row in result["rows"].items():
        memory = None if row["memory"] is None else row["memory"] / 1e6
        rows.append([kind, row["samples_per_second"], row["compile_seconds"], memory, row["loss"]])
    return (
        f"{result['device']}, {result['devices']} used: {result['networks']} networks {result['model']} on "
        f"{result['leads']} lead(s), batch {result['batch']}, window {result['window']}, {result['dtype']}\n"
        f"{measure.table(rows)}\nat once / in turn: {result['ratio']:.2f}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--networks", type=int, default=16)
    parser.add_argument("--model", default="lrhnet", choices=models.NAMES)
    parser.add_argument("--leads", type=int, default=2, help="how many the networks read")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--window", type=int, default=4096)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.set_defaults(repeats=5)
    options = parser.parse_args(arguments)
    if options.smoke:
        options.networks, options.batch, options.window, options.steps, options.repeats = 2, 2, 64, 2, 2
    fields = ("networks", "model", "leads", "batch", "window", "dtype", "devices", "steps")
    chosen = {field: getattr(options, field) for field in fields}
    result = {**environment.describe(), **chosen, **compare(options)}
    measure.write(result, options.output)
    print(table(result))


if __name__ == "__main__":
    main()
