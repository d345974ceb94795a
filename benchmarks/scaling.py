"""How training speeds up with the number of devices: 1, 2, 4, ... up to all, of one process or several.

    python -m benchmarks.scaling [--output=FILE.json] [--networks=lrhnet,seresnet,pmlkd] [--parallel=jit,pmap]
        [--devices=1,2,4,8] [--batch=64] [--strong_batch=512] [--window=4096] [--dtype=bfloat16] [--steps=20]
        [--repeats=5] [--smoke]

Weak scaling keeps the batch of a device, strong scaling the batch of all together. Efficiency is the speed of n devices
over n times that of one; 1 is perfect. pmlkd is LRH-Net on two leads, taught by two SE-ResNets inside the step (on 12
and on two leads), pmlkd_precomputed has their logits beforehand; the others are trained alone on 12 leads. Data is
noise, on the devices, as in training.

As one of several processes, with --distributed=auto, or --coordinator=HOST:PORT --num_processes=N --process_id=I: all
run the same command, the first writes. A count of devices takes the first so many, process by process, and processes
without one of them wait. pmap runs in a single process only.
"""

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from benchmarks import cases, measure
from lrhnet_jax.runtime import environment, processes
from lrhnet_jax.runtime.devices import PARALLEL_KINDS, Parallel


class Setting(NamedTuple):
    """What is timed: a number of devices, and the batch that they share."""

    devices: int
    batch: int


def device_counts(total: int) -> list[int]:
    """Returns the powers of two below `total`, and `total`."""
    return [*itertools.takewhile(lambda n: n < total, (2**i for i in itertools.count())), total]


def settings(counts: Sequence[int], batch: int, strong_batch: int) -> dict[str, list[Setting]]:
    """Returns what each kind of scaling times; strong scaling's batch is rounded up to a multiple of all counts."""
    multiple = math.lcm(*counts)
    strong = -(-strong_batch // multiple) * multiple
    return {
        "weak": [Setting(count, batch * count) for count in counts],
        "strong": [Setting(count, strong) for count in counts],
    }


def time_runs(
    runs: Mapping[Setting, Callable[[], float] | None], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[Setting, list[float]]:
    """Returns the seconds of every run in `repeats` turns; None, on a process without such devices: only waits."""
    seconds: dict[Setting, list[float]] = {setting: [] for setting in runs}
    for turn in range(repeats + 1):
        for setting, run in runs.items():
            processes.exchange(turn)  # a free machine for each
            start = clock()
            if run is not None and not math.isfinite(run()):
                raise FloatingPointError(f"the loss of {setting} is not finite: its time means nothing")
            if turn:  # the first warms up
                seconds[setting].append(clock() - start)
    return seconds


def rows(
    planned: Mapping[str, Sequence[Setting]], seconds: Mapping[Setting, Sequence[float]], count: int
) -> list[dict[str, Any]]:
    """Returns speeds and efficiencies of `count` steps a run, for each kind of scaling and number of devices."""
    found = []
    for scaling, chosen in planned.items():
        base: float | None = None
        for setting in chosen:
            speed = count * setting.batch / statistics.median(seconds[setting])
            base = base or speed / setting.devices
            found.append(
                {
                    "scaling": scaling,
                    **setting._asdict(),
                    "samples_per_second": speed,
                    "efficiency": speed / setting.devices / base,
                    "seconds": list(seconds[setting]),
                }
            )
    return found


def table(result: Mapping[str, Any]) -> str:
    """Returns the result for the terminal."""
    fields = ("network", "parallel", "scaling", "devices", "batch", "samples_per_second", "efficiency")
    rows = [[row[field] for field in fields] for row in result["rows"]]
    found = measure.table([[field.replace("_per_second", "/s") for field in fields], *rows])
    head = f"{result['device']} in {result['processes']} process(es), window {result['window']}, {result['dtype']}"
    return "\n".join([head, found, *(f"left out: {text}" for text in result["left_out"])])


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = measure.parser(__doc__)
    parser.set_defaults(repeats=5)
    networks, kinds = measure.several(cases.CASES), measure.several(PARALLEL_KINDS)
    parser.add_argument(
        "--networks", type=networks, default="lrhnet,seresnet,pmlkd", help=f"of {', '.join(cases.CASES)}"
    )
    parser.add_argument("--parallel", type=kinds, default=",".join(PARALLEL_KINDS))
    parser.add_argument("--devices", type=measure.numbers, help="numbers of devices, by default 1, 2, 4, ... and all")
    parser.add_argument("--batch", type=int, default=64, help="of a device, in weak scaling")
    parser.add_argument("--strong_batch", type=int, default=512, help="of all devices together, in strong scaling")
    parser.add_argument("--window", type=int, default=4096)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--steps", type=int, default=20, help="of a run")
    parser.add_argument("--distributed", choices=["auto"])
    parser.add_argument("--coordinator")
    parser.add_argument("--num_processes", type=int)
    parser.add_argument("--process_id", type=int)
    options = parser.parse_args(arguments)
    if options.smoke:
        options.batch, options.window, options.steps, options.repeats = 2, 256, 2, 2
    processes.join(options.coordinator, options.num_processes, options.process_id, options.distributed == "auto")
    total = jax.device_count()
    options.counts = options.devices or device_counts(total)
    if max(options.counts) > total:
        parser.error(f"--devices={','.join(map(str, options.counts))}: there are {total}")
    if options.smoke:
        options.strong_batch = options.batch * max(options.counts)  # one program fewer to compile
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = _arguments(arguments)
    planned = settings(options.counts, options.batch, options.strong_batch)
    found, left_out = [], []
    for network, kind in itertools.product(options.networks, options.parallel):
        if kind == "pmap" and jax.process_count() > 1:
            left_out.append(f"{network} by pmap, which runs in one process")
            continue
        runs = {}
        for setting in dict.fromkeys(itertools.chain(*planned.values())):
            devices = tuple(jax.devices()[: setting.devices])
            here = any(device.process_index == jax.process_index() for device in devices)
            parallel = Parallel(kind, devices)
            what = (cases.CASES[network], parallel, setting.batch, options.window, options.dtype, options.steps)
            runs[setting] = cases.make_run(*what) if here else None
        measured = rows(planned, time_runs(runs, options.repeats), options.steps)
        found += [{"network": network, "parallel": kind, **row} for row in measured]
    if not processes.is_first():
        return
    result = {
        **environment.describe(),
        "processes": jax.process_count(),
        "window": options.window,
        "dtype": options.dtype,
        "steps": options.steps,
        "rows": found,
        "left_out": left_out,
    }
    measure.write(result, options.output)
    print(table(result))


if __name__ == "__main__":
    main()
