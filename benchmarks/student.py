"""What a student costs beside LRH-Net and SE-ResNet: training, answers, memory, arithmetic; in JAX and in PyTorch.

    python -m benchmarks.student [--output=FILE.json] [--models=lrhnet_wide,lrhnet,seresnet] [--leads=2]
        [--window=4096] [--repeats=9] [--smoke]

All networks of both frameworks take turns in this process, with all cores: training steps of 64 windows as in
benchmarks.step, answers to 64 windows in calls of 16 (PyTorch: of 64), and answers to one window. One window is
answered by our program with the variables built in and BatchNorm folded; in PyTorch by the eager network, and by the
one whose BatchNorm torch.fx has fused. A ratio above 1 means that the student is faster: `x lrhnet_wide` than that
network in the same framework, `x PyTorch` than itself there. Memory is what XLA plans for the program besides its
arguments.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.fx.experimental import optimization

from benchmarks import measure, step
from benchmarks.measure import Task
from lrhnet_jax import models
from lrhnet_jax.deploy import fold_batchnorm
from lrhnet_jax.models import torch_weights
from lrhnet_jax.runtime import environment, host
from lrhnet_jax.training.state import init_variables

BATCH = 64
TURNS_OF_ONE = 10  # times as many at batch 1


def one_window(name: str, leads: int, window: int) -> dict[str, Task]:
    """Returns the answers to one window: "jax", and "torch" in two forms; all of the same weights."""
    torch.manual_seed(0)
    network = step.TORCH_MODELS[name](leads).eval()
    signal, person, _ = step.make_batch(leads, 1, window)
    variables = jax.tree.map(jnp.asarray, torch_weights.from_torch(name, network.state_dict()))
    program = compiled(name, leads, fold_batchnorm.fold(name, variables), window)
    ours = jnp.asarray(signal), jnp.asarray(person)
    theirs = torch.from_numpy(signal.transpose(0, 2, 1).copy()), torch.from_numpy(person)

    def task(form: torch.nn.Module) -> Task:
        def answer() -> Any:
            with torch.inference_mode():
                return form(*theirs).numpy()

        return answer

    fused = optimization.fuse(network)
    return {"jax": lambda: np.asarray(program(*ours)), "torch": task(network), "torch_fused": task(fused)}


def compiled(name: str, leads: int, variables: Any, window: int) -> Any:
    """Returns the program that answers one window, (1, window, leads) and (1, 5) -> logits, the variables built in."""
    model = models.create(name, leads)

    def logits(signal: jax.Array, person: jax.Array) -> jax.Array:
        output: Any = model.apply(variables, signal, person, train=False)
        return output.logits

    return jax.jit(logits).lower(jnp.zeros((1, window, leads)), jnp.zeros((1, 5))).compile()


def static(name: str, leads: int, window: int) -> dict[str, Any]:
    """Returns what does not need a clock: parameters, bytes, arithmetic, and the memory of an answer."""
    variables = init_variables(models.create(name, leads), jax.random.key(0), leads, window)
    folded = jax.tree.map(jnp.asarray, fold_batchnorm.fold(name, variables))
    planned = compiled(name, leads, folded, window).memory_analysis()
    return {
        "parameters": models.count_parameters(variables["params"]),
        "bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(variables)),
        "macs": models.multiply_accumulates(name, leads, window),
        "answer_bytes": planned.temp_size_in_bytes if planned else None,
    }


def compare(names: Sequence[str], leads: int, window: int, repeats: int, batch: int = BATCH) -> dict[str, Any]:
    """Returns for each kind of work the times of every network, "NAME FRAMEWORK", taken in turns."""
    train: dict[str, Task] = {}
    many: dict[str, Task] = {}
    one: dict[str, Task] = {}
    for name in names:
        train[f"{name} jax"], many[f"{name} jax"] = step.jax_tasks(name, leads, batch, window)
        train[f"{name} torch"], infer = step.torch_tasks(name, leads, batch, window)
        many[f"{name} torch"] = infer(batch)
        one |= {f"{name} {form}": task for form, task in one_window(name, leads, window).items()}
    return {
        "train": measure.interleave(train, repeats),
        "answer_64": measure.interleave(many, repeats),
        "answer_1": measure.interleave(one, repeats * TURNS_OF_ONE),
    }


def summarize(timings: dict[str, Any], names: Sequence[str], batch: int = BATCH) -> dict[str, Any]:
    """Returns speeds and ratios, in wall-clock and in processor time, which other programs hardly change.

    The first network is the student that the others are compared with.
    """
    summary: dict[str, Any] = {}
    for work, found in timings.items():
        count = 1 if work == "answer_1" else batch
        summary[work] = {}
        for task, timing in found.items():
            name, framework = task.split()
            twins = [f"{name} {other}" for other in ("torch", "torch_fused")] if framework == "jax" else []
            row = {"samples_per_second": count / measure.median(timing), "milliseconds": 1e3 * measure.median(timing)}
            summary[work][task] = row | {
                clock: {
                    f"x {names[0]}": measure.ratio(found[f"{names[0]} {framework}"], timing, times),
                    "x PyTorch": {
                        twin.split()[1]: measure.ratio(timing, found[twin], times) for twin in twins if twin in found
                    },
                }
                for clock, times in (("wall", "seconds"), ("processor", "cpu_seconds"))
            }
    return summary


def table(result: dict[str, Any]) -> str:
    """Returns the result for the terminal."""
    first = result["models"][0]
    head = f"{measure.machine(result)}, {result['leads']} leads, window {result['window']}"
    clocks = ("wall", "processor")
    heads = [f"{clock}: {what}" for clock in clocks for what in (f"x {first}", "x eager", "x fused")]
    rows: list[Sequence[Any]] = [("work", "network", "windows/s", "ms", *heads)]
    for work, found in result["summary"].items():
        for task, row in found.items():
            ratios: list[Any] = []
            for clock in clocks:
                theirs = row[clock]["x PyTorch"]
                ratios += [row[clock][f"x {first}"], theirs.get("torch"), theirs.get("torch_fused")]
            rows.append((work, task, row["samples_per_second"], row["milliseconds"], *ratios))
    return f"{head}\n{measure.table(rows)}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--models", type=measure.several(step.TORCH_MODELS), default="lrhnet_wide,lrhnet,seresnet")
    parser.add_argument("--leads", type=int, default=2)
    parser.add_argument("--window", type=int, default=4096)
    options = parser.parse_args(arguments)
    batch = BATCH
    if options.smoke:
        batch, options.window, options.repeats = 2, 1024, 1

    torch.set_num_threads(host.cores())
    timings = compare(options.models, options.leads, options.window, options.repeats, batch)
    result = {
        "what": __doc__.splitlines()[0],
        **environment.describe("torch"),
        "torch_threads": torch.get_num_threads(),
        "models": options.models,
        "leads": options.leads,
        "window": options.window,
        "batch": batch,
        "static": {name: static(name, options.leads, options.window) for name in options.models},
        "summary": summarize(timings, options.models, batch),
        "timings": timings,
    }
    measure.write(result, options.output)
    print(table(result))


if __name__ == "__main__":
    main()
