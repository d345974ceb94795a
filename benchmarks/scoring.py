"""How long scoring takes at real size: the Challenge metric, the fit of thresholds, the bootstrap.

    python -m benchmarks.scoring [--output=FILE.json] [--repeats=5] [--records=7550] [--smoke]

Each thing is measured against the plain way of doing it, in turns, on simulated answers of 7,550 records (a fold of
Challenge 2020). Medians of the repeats; a ratio above 1 means that this project is faster.
"""

from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import numpy as np
from scipy.optimize import differential_evolution

from benchmarks import measure
from benchmarks.measure import Task
from lrhnet_jax.runtime import environment
from lrhnet_jax.scoring import challenge2020, thresholds
from lrhnet_jax.scoring import score as scoring
from lrhnet_jax.scoring.score import paired_difference
from lrhnet_jax.tasks import physionet2020

Matrix = Sequence[Sequence[bool]] | np.ndarray


def simulate(records: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels, as common and as rare as those of Challenge 2020, and probabilities: (records, 24) each."""
    rng = np.random.default_rng(seed)
    prevalence = rng.permutation(np.geomspace(0.5, 0.008, len(physionet2020.CLASSES)))
    labels = rng.random((records, len(physionet2020.CLASSES))) < prevalence
    logits = 1.5 * rng.normal(size=labels.shape) + 3 * labels + np.log(prevalence / (1 - prevalence))
    return labels, (1 / (1 + np.exp(-logits))).astype(np.float32)


def plain_metric(labels: Matrix, outputs: Matrix) -> float:
    """The Challenge metric by its definition: a loop over records, labelled classes and predicted classes."""
    weights = challenge2020.WEIGHTS
    classes = len(weights)

    def score(outputs: Matrix) -> float:
        confusion = np.zeros((classes, classes))
        for label, output in zip(labels, outputs, strict=True):
            total = float(max(np.sum(np.any((label, output), axis=0)), 1))
            for j in range(classes):
                if label[j]:
                    for k in range(classes):
                        if output[k]:
                            confusion[j, k] += 1 / total
        return float(np.sum(weights * confusion))

    inactive = np.zeros((len(labels), classes), bool)
    inactive[:, challenge2020.NORMAL] = True
    observed, correct, none = score(outputs), score(labels), score(inactive)
    return (observed - none) / (correct - none) if correct != none else 0.0


def plain_metric_of_lists(labels: list[list[bool]], outputs: list[list[bool]]) -> float:
    """The same loops over Python lists, which they run through faster than through arrays."""
    weights = challenge2020.WEIGHTS.tolist()
    classes = range(len(weights))
    normal = [k == challenge2020.NORMAL for k in classes]

    def score(outputs: list[list[bool]]) -> float:
        result = 0.0
        for label, output in zip(labels, outputs, strict=True):
            total = max(sum(a or b for a, b in zip(label, output, strict=True)), 1)
            for j in classes:
                if label[j]:
                    for k in classes:
                        if output[k]:
                            result += weights[j][k] / total
        return result

    observed, correct, none = score(outputs), score(labels), score([normal] * len(labels))
    return (observed - none) / (correct - none) if correct != none else 0.0


def interleave(tasks: dict[str, Task], repeats: int) -> dict[str, dict[str, Any]]:
    """Returns the seconds of each task, which take turns; some are too slow for a turn that does not count."""
    timings = measure.interleave(tasks, repeats, warmup=0, rest=0)
    return {
        name: {"median": measure.median(timing), "min": min(timing["seconds"]), "all": timing["seconds"]}
        for name, timing in timings.items()
    }


def benchmark_metric(labels: np.ndarray, probabilities: np.ndarray, repeats: int) -> dict[str, Any]:
    outputs = probabilities >= 0.5
    label_lists, output_lists = labels.tolist(), outputs.tolist()
    calls = 20  # one takes well below a millisecond
    answers = {
        challenge2020.challenge_metric(labels, outputs),
        plain_metric(labels, outputs),
        plain_metric_of_lists(label_lists, output_lists),
    }
    if max(answers) - min(answers) > 1e-9:
        raise AssertionError(f"the ways to compute the metric disagree: {answers}")
    seconds = interleave(
        {
            f"challenge_metric, {calls} calls": lambda: [
                challenge2020.challenge_metric(labels, outputs) for _ in range(calls)
            ],
            "plain triple loop": lambda: plain_metric(labels, outputs),
            "plain triple loop over lists": lambda: plain_metric_of_lists(label_lists, output_lists),
        },
        repeats,
    )
    ours = seconds[f"challenge_metric, {calls} calls"]["median"] / calls
    ratios = {name: row["median"] / ours for name, row in seconds.items() if name.startswith("plain")}
    return {
        "seconds": seconds,
        "seconds_per_call": ours,
        "ratios": ratios,
        "largest_disagreement": max(answers) - min(answers),
    }


def benchmark_thresholds(
    labels: np.ndarray, probabilities: np.ndarray, repeats: int, maxiter: int, plain_generations: int
) -> dict[str, Any]:
    size = labels.shape[1]
    evaluations = {"fit": 0, "plain": 0}
    make_objective = thresholds.objective

    def counting(*arguments: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        evaluate = make_objective(*arguments)

        def counted(candidates: np.ndarray) -> np.ndarray:
            evaluations["fit"] += candidates.shape[1]
            return evaluate(candidates)

        return counted

    def plain() -> None:
        result = differential_evolution(
            lambda candidate: -challenge2020.challenge_metric(labels, probabilities >= candidate),
            [(0.0, 1.0)] * size,
            popsize=5,
            maxiter=plain_generations,
            polish=False,
            updating="deferred",
            rng=np.random.default_rng(0),
        )
        evaluations["plain"] = result.nfev

    def value(chosen: np.ndarray) -> float:
        return challenge2020.challenge_metric(labels, thresholds.decide(probabilities, chosen))

    with mock.patch.object(thresholds, "objective", counting):
        chosen = thresholds.fit(labels, probabilities, maxiter=maxiter)
    tasks = {
        "thresholds.fit": lambda: thresholds.fit(labels, probabilities, maxiter=maxiter),
        f"scipy, one candidate at a time, {plain_generations} generations": plain,
    }
    seconds = interleave(tasks, repeats)
    ours, theirs = (row["median"] for row in seconds.values())
    extrapolated = theirs / evaluations["plain"] * evaluations["fit"]
    return {
        "seconds": seconds,
        "evaluations": evaluations,
        "extrapolated": {
            "what": "scipy, one candidate at a time, for as many evaluations as thresholds.fit made: not measured, but "
            "seconds per evaluation of the bounded run times that number",
            "seconds": extrapolated,
        },
        "ratios": {"extrapolated": extrapolated / ours},
        "challenge_metric": {"thresholds of 0.5": value(np.full(size, 0.5)), "fitted": value(chosen)},
    }


def benchmark_bootstrap(labels: np.ndarray, probabilities: np.ndarray, repeats: int, resamples: int) -> dict[str, Any]:
    half = np.full(labels.shape[1], 0.5)
    other = np.clip(probabilities + 0.05, 0, 1)
    tasks = {
        f"score, {resamples} resamples": lambda: scoring.score(labels, probabilities, half, resamples=resamples),
        f"paired_difference, {resamples} resamples": lambda: paired_difference(
            labels, probabilities, half, other, half, resamples=resamples
        ),
    }
    return {"seconds": interleave(tasks, repeats), "ratios": {}}


def run(records: int, repeats: int, maxiter: int, plain_generations: int, resamples: int) -> dict[str, Any]:
    labels, probabilities = simulate(records)
    return {
        "benchmark": "scoring",
        **environment.describe(),
        "records": records,
        "classes": len(physionet2020.CLASSES),
        "repeats": repeats,
        "metric": benchmark_metric(labels, probabilities, repeats),
        "thresholds": benchmark_thresholds(labels, probabilities, repeats, maxiter, plain_generations),
        "bootstrap": benchmark_bootstrap(labels, probabilities, repeats, resamples),
    }


def table(result: dict[str, Any]) -> str:
    """Returns the medians and ratios as plain text."""
    lines = [f"{result['records']:,} records, {result['classes']} classes, medians of {result['repeats']}", ""]
    for part in ("metric", "thresholds", "bootstrap"):
        lines += [f"{name:64} {row['median']:10.4f} s" for name, row in result[part]["seconds"].items()]
        if part == "thresholds":
            extrapolated = result[part]["extrapolated"]["seconds"]
            count = result[part]["evaluations"]["fit"]
            lines.append(f"{f'the same for the {count:,} evaluations of fit (extrapolated)':64} {extrapolated:10.4f} s")
            found = ", ".join(f"{name} {value:.4f}" for name, value in result[part]["challenge_metric"].items())
            lines.append(f"Challenge metric: {found}")
        lines += [f"{f'  ratio to {name}':64} {ratio:9.0f} x" for name, ratio in result[part]["ratios"].items()]
        lines.append("")
    return "\n".join(lines).rstrip()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = measure.parser(__doc__)
    parser.set_defaults(repeats=5)
    parser.add_argument("--records", type=int, default=7550)
    args = parser.parse_args(arguments)
    if args.smoke:
        result = run(records=100, repeats=1, maxiter=2, plain_generations=1, resamples=5)
    else:
        result = run(args.records, args.repeats, maxiter=200, plain_generations=10, resamples=200)
    print(table(result))
    measure.write(result, args.output)


if __name__ == "__main__":
    main()
