"""Whether a smaller form of a network still gives its answers: class by class, and by the metrics that count."""

from typing import Any

import numpy as np

from lrhnet_jax.errors import DataError, UserError
from lrhnet_jax.scoring.score import paired_difference, score
from lrhnet_jax.scoring.thresholds import decide
from lrhnet_jax.tasks import Task

Array = np.ndarray

TOLERANCE = 0.01  # of macro average precision
HEADLINE = "macro_average_precision"
RESAMPLES = 500


def compare(
    task: Task,
    labels: Array,
    patients: Array,
    thresholds: Array | None,
    network: Array,
    other: Array,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Returns how a form's answers differ from the network's, for JSON; metrics are the form's minus the network's.

    Args:
      labels: (records, classes) bool.
      patients: (records,) str; "" where unknown.
      thresholds: (classes,); None where classes exclude each other.
      network, other: (records, classes) float32 probabilities, of the network and of the form.
      resamples: of the patients, for the intervals.

    Raises:
      DataError: if no record has a label.
    """
    labelled = labels.any(axis=1)
    if not labelled.any():
        raise DataError("no record carries a label of this task: there is nothing to compare answers by")
    differences = np.abs(other - network)
    changed = decide(network, thresholds) != decide(other, thresholds)
    labels, patients = labels[labelled], patients[labelled]
    scores = [
        score(labels, one[labelled], thresholds, patients, task=task, resamples=resamples) for one in (network, other)
    ]
    gains = paired_difference(
        labels, other[labelled], thresholds, network[labelled], thresholds, patients, task=task, resamples=resamples
    )
    own, form = (one["headline"] for one in scores)
    return {
        "records": len(network),
        "largest_difference": float(differences.max()),
        "mean_difference": float(differences.mean()),
        "decisions_equal": float(1 - changed.mean()),
        "metrics": {name: {"network": own[name], "form": form[name], **gain} for name, gain in gains.items()},
        "classes": {
            code: {
                "positives": scores[0]["per_class"][code]["positives"],
                "largest_difference": float(differences[:, index].max()),
                "mean_difference": float(differences[:, index].mean()),
                "decisions_changed": int(changed[:, index].sum()),
                "auroc": [one["per_class"][code]["auroc"] for one in scores],
                "average_precision": [one["per_class"][code]["average_precision"] for one in scores],
            }
            for index, code in enumerate(task.classes)
        },
    }


def check(report: dict[str, Any], what: str, tolerance: float = TOLERANCE) -> None:
    """Raises UserError if a form loses more macro average precision than `tolerance`."""
    lost = -report["metrics"][HEADLINE]["difference"]
    if not lost <= tolerance:  # nor NaN
        raise UserError(
            f"{what}: on {report['records']} records its macro average precision is {100 * lost:.2f} points below the "
            f"network's, more than {100 * tolerance:g}; nothing was written. Give more records to calibrate with, or "
            "allow more (--tolerance)"
        )


def summary(report: dict[str, Any], task: Task) -> str:
    """Returns a Markdown table of the comparison."""
    lines = [
        f"{report['records']} records; probabilities differ by {report['mean_difference']:.4f} on average and by "
        f"{report['largest_difference']:.4f} at most; {100 * report['decisions_equal']:.2f} % of decisions are equal.",
        "",
        "| metric | network | this form | difference | 95 % interval |",
        "|---|---|---|---|---|",
    ]
    for name, row in report["metrics"].items():
        values = (row["network"]["value"], row["form"]["value"], row["difference"])
        interval = f"{_text(row['low'], '+')} to {_text(row['high'], '+')}"
        lines.append(f"| {name} | {_text(values[0])} | {_text(values[1])} | {_text(values[2], '+')} | {interval} |")
    lines += [
        "",
        "| class | positive | largest difference | mean | decisions changed | AUROC | average precision |",
        "|---|---|---|---|---|---|---|",
    ]
    for code, row in report["classes"].items():
        pairs = " | ".join(" / ".join(map(_text, row[key])) for key in ("auroc", "average_precision"))
        lines.append(
            f"| {task.abbreviation(code)} | {row['positives']} | {row['largest_difference']:.4f} | "
            f"{row['mean_difference']:.4f} | {row['decisions_changed']} | {pairs} |"
        )
    return "\n".join(lines)


def _text(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.4f}"
