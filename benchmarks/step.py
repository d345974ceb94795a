"""How fast a network trains and infers, beside the same network in PyTorch on the same cores.

    python -m benchmarks.step [--output=FILE.json] [--models=lrhnet,seresnet] [--leads=12,2] [--batch=64]
        [--window=4096] [--repeats=9] [--keep_freed_memory] [--smoke]

One training step is forward, backward, L2 and Adam; its loss is fetched every time. Both frameworks run in this
process, in turns, with all cores; PyTorch is eager, as its users run it. Ours infers as `predict.Predictor` does, in
calls of 16 windows on CPUs; PyTorch is given the batch, and half of it twice, and the faster counts. A ratio above 1
means that this project is faster. GFLOP/s count two operations a multiplication, and three forward passes a training
step.

Measure on an idle machine: PyTorch's threads wait for each other and lose more by other programs than XLA's. "CPU" is
the same ratio in processor time, which others hardly change; set OMP_WAIT_POLICY=passive so that it counts no waiting.

--keep_freed_memory starts as the training program does (`host.keep_freed_memory`); PyTorch then gains by it, too.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import ceilings, measure, recipe, torch_models, torch_training
from benchmarks.measure import Task, Timing
from lrhnet_jax import models
from lrhnet_jax.data.batch import Batch, LeadNetwork, StepNumbers, predict_logits
from lrhnet_jax.runtime import environment, host
from lrhnet_jax.scoring import predict as inference
from lrhnet_jax.tasks import physionet2020
from lrhnet_jax.training import optim, steps
from lrhnet_jax.training.state import TrainState, create_state, init_variables

TORCH_MODELS: dict[str, Callable[..., torch.nn.Module]] = {
    name: torch_models.MODELS[name] for name in ("lrhnet", "seresnet", "cnn1d", "lrhnet_wide")
}


def make_batch(leads: int, batch: int, window: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns noise: signal (batch, window, leads), demographics (batch, 5), labels (batch, classes), float32."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(batch, window, leads)).astype(np.float32)
    demographics = rng.random((batch, 5), dtype=np.float32)
    labels = (rng.random((batch, len(physionet2020.CLASSES))) < 0.1).astype(np.float32)
    return signal, demographics, labels


def jax_tasks(name: str, leads: int, batch: int, window: int) -> tuple[Task, Task]:
    """Returns a training step and an inference of this project, each waiting for its result."""
    signal, demographics, labels = map(jnp.asarray, make_batch(leads, batch, window))
    lead_network = LeadNetwork(models.create(name, leads), tuple(range(leads)))
    variables = init_variables(lead_network.model, jax.random.key(0), leads, window)
    optimizer = optim.make(recipe.OPTIMIZER, steps_per_epoch=1)
    spec = steps.StepSpec(lead_network, optimizer, batch, window)
    current = create_state(variables, optimizer, steps.METRICS)
    inputs = Batch(signal, demographics, labels, jnp.zeros((0, *labels.shape)))
    key = jax.random.key(1)

    @jax.jit
    def infer(variables: Any, signal: jax.Array, demographics: jax.Array) -> jax.Array:
        return predict_logits(lead_network, variables, signal, demographics)

    def step(current: TrainState, inputs: Batch) -> TrainState:
        dropout_key = jax.random.fold_in(key, current.step)
        current = current.replace(totals={name: jnp.float32(0) for name in steps.METRICS})
        return steps.train_step(current, inputs, dropout_key, StepNumbers(), spec)

    compiled = jax.jit(step, donate_argnums=0)

    def train() -> float:
        nonlocal current
        current = compiled(current, inputs)
        return float(current.totals["loss"])

    size = inference.windows_a_call(batch, jax.local_devices()[:1])
    parts = [(signal[i : i + size], demographics[i : i + size]) for i in range(0, batch, size)]

    def predict() -> np.ndarray:
        answers = [infer(variables, *part) for part in parts]  # all are on their way before the first is fetched
        return np.concatenate([np.asarray(answer) for answer in answers])

    return train, predict


def torch_tasks(name: str, leads: int, batch: int, window: int) -> tuple[Task, Callable[[int], Task]]:
    """Returns the same of PyTorch, in its own order of dimensions; inference for a number of windows a call."""
    signal, demographics, labels = map(torch.from_numpy, make_batch(leads, batch, window))
    signal = signal.transpose(1, 2).contiguous()
    model = torch_training.network(name, leads)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.LEARNING_RATE, weight_decay=recipe.WEIGHT_DECAY)

    def train() -> float:
        model.train()
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(signal, demographics), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    def infer(size: int) -> np.ndarray:
        model.eval()
        parts = zip(signal.split(size), demographics.split(size), strict=True)
        with torch.inference_mode():
            return torch.cat([model(*part) for part in parts]).numpy()

    return train, lambda size: lambda: infer(size)


def compare(ours: Timing, theirs: Timing, batch: int, operations: float) -> dict[str, Any]:
    """Returns two interleaved tasks as samples/s and GFLOP/s, medians, and the ratios of their speeds."""
    result: dict[str, Any] = {}
    for framework, timing in (("jax", ours), ("torch", theirs)):
        median = measure.median(timing)
        result[framework] = {"samples_per_second": batch / median, "gflops": operations / median / 1e9, **timing}
    for name, times in (("ratio", "seconds"), ("cpu_ratio", "cpu_seconds")):
        result[name] = measure.ratio(ours, theirs, times)
    return result


def compare_network(name: str, leads: int, batch: int, window: int, repeats: int) -> dict[str, Any]:
    """Returns one network's training and inference, ours beside PyTorch's."""
    forward = 2.0 * batch * models.multiply_accumulates(name, leads, window)
    our_train, our_infer = jax_tasks(name, leads, batch, window)
    their_train, their_infer = torch_tasks(name, leads, batch, window)
    train = measure.interleave({"jax": our_train, "torch": their_train}, repeats)
    theirs = {str(size): their_infer(size) for size in (batch, max(1, batch // 2))}
    infer = measure.interleave({"jax": our_infer, **theirs}, repeats)
    best = min(theirs, key=lambda size: measure.median(infer[size]))
    return {
        "model": name,
        "leads": leads,
        "train": compare(train["jax"], train["torch"], batch, 3 * forward),
        "inference": {"torch_windows_a_call": int(best), **compare(infer["jax"], infer[best], batch, forward)},
    }


def table(result: dict[str, Any]) -> str:
    """Returns the result for the terminal."""
    head = (
        f"{measure.machine(result)}, batch {result['batch']}, window {result['window']}; matrix product "
        f"{result['matmul_gflops']:.0f} GFLOP/s"
    )
    rows: list[Sequence[Any]] = [("network", "leads", "task", "samples/s", "PyTorch", "ratio", "CPU", "GFLOP/s")]
    for row in result["networks"]:
        for task in ("train", "inference"):
            timing = row[task]
            speeds = (timing[framework]["samples_per_second"] for framework in ("jax", "torch"))
            ratios = timing["ratio"], timing["cpu_ratio"]
            rows.append((row["model"], row["leads"], task, *speeds, *ratios, timing["jax"]["gflops"]))
    return f"{head}\n{measure.table(rows)}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    several = measure.several(TORCH_MODELS)
    parser.add_argument("--models", type=several, default="lrhnet,seresnet", help=f"of {', '.join(TORCH_MODELS)}")
    parser.add_argument("--leads", type=measure.numbers, default="12,2")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--window", type=int, default=4096)
    parser.add_argument("--keep_freed_memory", action="store_true")
    options = parser.parse_args(arguments)
    if options.smoke:
        options.batch, options.window, options.repeats = 2, 256, 2

    kept = options.keep_freed_memory and host.keep_freed_memory()
    torch.set_num_threads(host.cores())
    result = {
        **environment.describe("torch"),
        "torch_threads": torch.get_num_threads(),
        "keeps_freed_memory": kept,
        "batch": options.batch,
        "window": options.window,
        "matmul_gflops": ceilings.matmul(256 if options.smoke else 2048, options.repeats) / 1e9,
        "networks": [
            compare_network(name, leads, options.batch, options.window, options.repeats)
            for name in options.models
            for leads in options.leads
        ],
    }
    measure.write(result, options.output)
    print(table(result))


if __name__ == "__main__":
    main()
