"""How long an answer takes, of one window and of a batch, in every form in which a trained network can be called.

    python -m benchmarks.latency [--output=FILE.json] [--models=lrhnet,seresnet,cnn1d] [--leads=12,2] [--batches=1,64]
        [--window=4096] [--repeats=9] [--eager_only] [--smoke]

Ours:
  jit        a jitted call that is handed the variables
  aot        the same, compiled ahead of time
  constants  compiled ahead of time, the variables built in
  folded     as constants, with BatchNorm folded into convolutions where it goes (`fold_batchnorm.fold`)
  no_norm    as constants, with no BatchNorm at all: other numbers, and as fast as folding could ever make it
  onnx       exported to ONNX with BatchNorm folded, and run by ONNX Runtime, where both are installed

PyTorch's, under inference_mode:
  eager      as its users run it
  fused      eager, BatchNorm fused into convolutions by torch.fx where it follows one
  compiled   torch.compile of the fused network

Weights are the same on both sides, and all forms but no_norm have to give the same logits before they are timed. All
run in this process, in turns, with all cores; logits are fetched every time. A ratio above 1 means that this project's
form is faster. Batch 1 has ten times as many turns. Measure on an idle machine: see benchmarks.step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.fx.experimental import optimization

from benchmarks import measure
from benchmarks.measure import Task
from benchmarks.step import TORCH_MODELS, make_batch
from lrhnet_jax import export, models
from lrhnet_jax.deploy import exported, fold_batchnorm
from lrhnet_jax.errors import UserError
from lrhnet_jax.models import layers, torch_weights
from lrhnet_jax.runtime import environment, host
from lrhnet_jax.tasks import physionet2020

TURNS_OF_ONE = 10  # times as many at batch 1


def jax_forms(name: str, variables: Any, signal: np.ndarray, person: np.ndarray) -> dict[str, Task]:
    """Returns each of our forms as a task that returns logits."""
    model = models.create(name, signal.shape[2])
    inputs = jnp.asarray(signal), jnp.asarray(person)

    def logits(variables: Any, signal: jax.Array, person: jax.Array) -> jax.Array:
        output: Any = model.apply(variables, signal, person, train=False)
        return output.logits

    def without_norm(variables: Any, signal: jax.Array, person: jax.Array) -> jax.Array:
        with nn.intercept_methods(_skip_norm):
            return logits(variables, signal, person)

    def built_in(function: Callable[..., jax.Array], variables: Any) -> Any:
        return jax.jit(lambda signal, person: function(variables, signal, person)).lower(*inputs).compile()

    jitted, ahead = jax.jit(logits), jax.jit(logits).lower(variables, *inputs).compile()
    folded = jax.tree.map(jnp.asarray, fold_batchnorm.fold(name, variables))
    constants, of_folded = built_in(logits, variables), built_in(logits, folded)
    no_norm = built_in(without_norm, variables)
    return {
        "jit": lambda: np.asarray(jitted(variables, *inputs)),
        "aot": lambda: np.asarray(ahead(variables, *inputs)),
        "constants": lambda: np.asarray(constants(*inputs)),
        "folded": lambda: np.asarray(of_folded(*inputs)),
        "no_norm": lambda: np.asarray(no_norm(*inputs)),
    }


def onnx_form(name: str, variables: Any, signal: np.ndarray, person: np.ndarray) -> Task:
    """Returns the exported network as a task that returns logits.

    Raises:
      UserError: if what exports or runs it is not installed.
    """
    model, folded = models.create(name, signal.shape[2]), fold_batchnorm.fold(name, variables)

    def logits(signal: jax.Array, person: jax.Array) -> jax.Array:
        output: Any = model.apply(folded, signal, person, train=False)
        return output.logits

    run = exported.READERS[".onnx"](export.WRITERS["onnx"](logits, *signal.shape[1:]))
    return lambda: run(signal, person)


def _skip_norm(call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
    return args[0] if isinstance(context.module, layers.BatchNorm) else call(*args, **kwargs)


def torch_forms(
    network: torch.nn.Module, signal: np.ndarray, person: np.ndarray, compiled: bool
) -> tuple[dict[str, Task], dict[str, str]]:
    """Returns each of PyTorch's forms as a task that returns logits, and why others are left out, by their names."""
    inputs = torch.from_numpy(signal.transpose(0, 2, 1).copy()), torch.from_numpy(person)
    fused = optimization.fuse(network)
    forms: dict[str, Callable[..., torch.Tensor]] = {"eager": network, "fused": fused, "compiled": torch.compile(fused)}

    def task(form: Callable[..., torch.Tensor]) -> Task:
        def run() -> np.ndarray:
            with torch.inference_mode():
                return form(*inputs).numpy()

        return run

    tasks, left_out = {form: task(function) for form, function in forms.items()}, {}
    if not compiled:
        left_out["compiled"] = "not asked for"
    else:
        try:
            tasks["compiled"]()
        except Exception as error:  # whatever its compiler lacks here
            left_out["compiled"] = f"{type(error).__name__}: {str(error).strip()[:200]}"
    return {form: task for form, task in tasks.items() if form not in left_out}, left_out


def compare(name: str, leads: int, batch: int, window: int, turns: int, compiled: bool) -> dict[str, Any]:
    """Returns latency and samples/s of every form of one network, and the ratios of ours to PyTorch's.

    Raises:
      ArithmeticError: if a form gives other logits.
    """
    torch.manual_seed(0)
    network = TORCH_MODELS[name](leads).eval()
    signal, person, _ = make_batch(leads, batch, window)
    variables = jax.tree.map(jnp.asarray, torch_weights.from_torch(name, network.state_dict()))
    ours = jax_forms(name, variables, signal, person)
    theirs, left_out = torch_forms(network, signal, person, compiled)
    try:
        ours["onnx"] = onnx_form(name, variables, signal, person)
    except UserError as error:
        left_out["onnx"] = str(error)
    expected = theirs["eager"]()
    for form, task in (ours | theirs).items():
        if form != "no_norm" and not np.allclose(task(), expected, atol=1e-3 * np.abs(expected).max()):
            raise ArithmeticError(f"{name}: the form {form} gives other logits than PyTorch's eager one")
    timings = measure.interleave(ours | theirs, turns)
    forms: dict[str, Any] = {}
    for form, timing in timings.items():
        forms[form] = {
            "median_ms": 1e3 * measure.median(timing),
            "p95_ms": 1e3 * measure.percentile(timing, 95),
            "samples_per_second": batch / measure.median(timing),
            **timing,
        }
        if form in ours:
            forms[form]["ratio"] = {other: measure.ratio(timing, timings[other]) for other in theirs}
    return {"model": name, "leads": leads, "batch": batch, "forms": forms, "left_out": left_out}


def table(result: dict[str, Any]) -> str:
    """Returns the result for the terminal."""
    others = ("eager", "fused", "compiled")
    heads = (
        "network",
        "leads",
        "batch",
        "form",
        "median ms",
        "95 % ms",
        "samples/s",
        *(f"x {name}" for name in others),
    )
    rows: list[Sequence[Any]] = [heads]
    for row in result["networks"]:
        for form, found in row["forms"].items():
            ratios = [found.get("ratio", {}).get(other) for other in others]
            numbers = (found["median_ms"], found["p95_ms"], found["samples_per_second"])
            rows.append((row["model"], row["leads"], row["batch"], form, *numbers, *ratios))
    reasons = {
        f"{row['model']}: no {form}: {why}" for row in result["networks"] for form, why in row["left_out"].items()
    }
    head = f"{measure.machine(result)}, window {result['window']}, float32"
    return "\n".join([head, measure.table(rows), *sorted(reasons)])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--models", type=measure.several(TORCH_MODELS), default="lrhnet,seresnet,cnn1d")
    parser.add_argument("--leads", type=measure.numbers, default="12,2")
    parser.add_argument("--batches", type=measure.numbers, default="1,64")
    parser.add_argument("--window", type=int, default=4096)
    parser.add_argument(
        "--eager_only", action="store_true", help="without torch.compile, which takes a minute a network"
    )
    options = parser.parse_args(arguments)
    if options.smoke:
        options.window, options.repeats, options.eager_only, options.batches = 2304, 1, True, options.batches[:1]

    torch.set_num_threads(host.cores())
    result = {
        "benchmark": "latency",
        **environment.describe("torch"),
        "torch_threads": torch.get_num_threads(),
        "window": options.window,
        "classes": len(physionet2020.CLASSES),
        "networks": [
            compare(
                name,
                leads,
                batch,
                options.window,
                options.repeats * (TURNS_OF_ONE if batch == 1 else 1),
                not options.eager_only,
            )
            for name in options.models
            for leads in options.leads
            for batch in options.batches
        ],
    }
    measure.write(result, options.output)
    print(table(result))


if __name__ == "__main__":
    main()
