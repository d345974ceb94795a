"""The report's sections of scores: headline, differences between networks, per class, confusion; in Markdown.

Which metrics there are, and how an answer is decided, is the task's.
"""

from collections.abc import Sequence
from typing import Literal

from lrhnet_jax import tasks
from lrhnet_jax.report import formats, paper, seed_groups
from lrhnet_jax.report.schema import Results
from lrhnet_jax.scoring.schema import Difference, Score
from lrhnet_jax.scoring.score import headline

_RULES = {
    "threshold": "a class is positive where its probability reaches its threshold",
    "threshold_or_top1": "a class is positive where its probability reaches its threshold, or is the record's highest",
}
PAPER = "paper: Challenge metric (micro-F1)"
Part = Literal["test", "test_reference"]
_MOST_PROBABLE = "each record is of the class with the highest probability"


def task_of(results: Results) -> tasks.Task:
    """Returns what the labels of a run's data set mean."""
    return tasks.of(results["dataset"]["name"])


def scores(results: Results) -> str:
    """Returns the headline of every network, under each decision rule."""
    task, names = task_of(results), list(results["networks"])
    labels = [tasks.METRICS[metric] for metric in task.metrics]
    papers = paper.applies(task.name)
    header = ["network", *labels, *([PAPER] if papers else [])]
    rows = [
        [
            name,
            *(cell(results, name, metric) for metric in task.metrics),
            *([published(results, name)] if papers else []),
        ]
        for name in names
    ]
    parts = [f"All x100; {spread(results)}. Decision rule: {rule(results)}.", formats.markdown_table(header, rows)]
    if not task.exclusive:
        parts += _other_rule(results, task)
    if all(_score(results, name, "test_reference") for name in names):
        rows = [[n, *(cell(results, n, metric, part="test_reference") for metric in task.metrics)] for n in names]
        parts += [
            "With thresholds fitted on the scored fold itself, as in the reference code (optimistic):",
            formats.markdown_table(["network", *labels], rows),
        ]
    absent = {code for score in _score(results, names[0]) for code in score["classes_without_positives"]}
    if absent:
        named = ", ".join(task.abbreviation(code) for code in sorted(absent))
        parts.append(f"Macro figures leave out the classes without a positive in a test fold: {named}.")
    if any(published(results, name) for name in names):
        parts.append(paper.NOTE)
        if other_data(results):
            parts.append(f"**{other_data(results)}**")
    return "\n\n".join(parts)


def _other_rule(results: Results, task: tasks.Task) -> list[str]:
    """Returns what the metrics of decisions are under the rule that is not the headline's."""
    other = next(known for known in _RULES if known != _decision(results))
    rows = [
        [name, *(cell(results, name, metric, decision=other) for metric in task.decision_metrics)]
        for name in results["networks"]
    ]
    return [
        f"Under the other rule ({_RULES[other]}):",
        formats.markdown_table(["network", *(tasks.METRICS[metric] for metric in task.decision_metrics)], rows),
    ]


def confusion(results: Results) -> str:
    """Returns a table of labelled by decided class for each network, summed over the folds; "" for other tasks."""
    task = task_of(results)
    if not task.exclusive:
        return ""
    parts = ["Rows: the label. Columns: the decision. Counts of records of the test folds."]
    for name in results["networks"]:
        rows = [
            [abbreviation, *(f"{count:,}" for count in row)]
            for abbreviation, row in zip(task.abbreviations, total_confusion(results, name), strict=True)
        ]
        parts.append(formats.markdown_table([name, *task.abbreviations], rows))
    return "\n\n".join(parts)


def total_confusion(results: Results, name: str) -> list[list[int]]:
    """Returns a network's counts of records, labelled class by decided class, summed over the folds."""
    folds = [score["confusion"] for score in _score(results, name)]
    return [[sum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*folds, strict=True)]


def comparisons(results: Results) -> str:
    """Returns the differences between the networks that were compared, see `graph.comparisons`."""
    metrics = task_of(results).metrics
    rows = []
    differences: dict[str, list[dict[str, Difference]]] = {}
    for fold, entry in results["folds"].items():
        for pair in entry["comparisons"]:
            name = f"{pair['a']} - {pair['b']}"
            differences.setdefault(name, []).append(pair["differences"])
            cells = []
            for row in (pair["differences"][metric] for metric in metrics):
                p = "" if row["p"] is None else f", p {row['p']:.3f}"
                cells.append(formats.interval(row["difference"], row["low"], row["high"], sign="+") + p)
            rows.append([fold, name, *cells])
    if not rows:
        return "No two networks were compared: none read the same leads or teach each other."
    text = (
        "x100, first minus second, with the 95 % interval and the two-sided p of a bootstrap that scores both networks "
        "on the same resampled patients. The p are not corrected for their number."
    )
    if len(results["folds"]) > 1:
        text += " The last rows give mean and standard deviation of the difference over the folds."
        for name, by_fold in differences.items():
            cells = [
                formats.mean_and_deviation([one[metric]["difference"] for one in by_fold], "+") for metric in metrics
            ]
            rows.append(["all", name, *cells])
    header = ["fold", "networks", *(tasks.METRICS[metric] for metric in metrics)]
    return f"{text}\n\n{formats.markdown_table(header, rows)}"


def per_class(results: Results) -> str:
    """Returns F1, AUROC and average precision of each class, for each network or, where there are seeds, recipe."""
    task = task_of(results)
    groups = seed_groups.groups(results["networks"])
    scores = {group: [s for name in names for s in _score(results, name)] for group, names in groups.items()}
    rows = []
    for code in task.classes:
        cells = []
        for group in scores.values():
            entries = [score["per_class"][code] for score in group]
            values = [formats.mean(e[key] for e in entries) for key in ("f1", "auroc", "average_precision")]
            cells.append(" / ".join(formats.percent(value) for value in values))
        positives = sum(
            score["per_class"][code]["positives"] for score in _score(results, next(iter(results["networks"])))
        )
        rows.append([task.abbreviation(code), task.description(code), f"{positives:,}", *cells])
    header = ["class", "diagnosis", "positives", *scores]
    folds = ", mean over the folds in which the class occurs" if len(results["folds"]) > 1 else ""
    if len(groups) < len(results["networks"]):
        folds += ", and over seeds"
    return (
        f"F1 / AUROC / average precision, x100{folds}; - where the test fold has no positive.\n\n"
        + formats.markdown_table(header, rows)
    )


def rule(results: Results) -> str:
    """Returns how the headline's decisions were made, in words."""
    return _MOST_PROBABLE if task_of(results).exclusive else _RULES[_decision(results)]


def _decision(results: Results) -> str:
    return results["config"].get("evaluation", {}).get("decision", "threshold")


def spread(results: Results) -> str:
    """Returns what stands behind a number, in words."""
    if len(results["folds"]) > 1:
        return f"mean and standard deviation over {len(results['folds'])} folds"
    return "in brackets the 95 % bootstrap interval over patients"


def _score(results: Results, name: str, part: Part = "test") -> list[Score]:
    """Returns the scores of a network, one a fold; none where the run did not make that part."""
    runs = (fold["networks"][name] for fold in results["folds"].values())
    return [run[part] for run in runs if part in run]


def cell(
    results: Results, name: str, metric: str, *, part: Part = "test", decision: str = "", short: bool = False
) -> str:
    """Returns a metric of a network as text: with its interval, or mean and standard deviation over folds."""
    rows = []
    for score in _score(results, name, part):
        rows.append(headline(score, decision or _decision(results))[metric])
    if len(rows) == 1:
        row = rows[0]
        return formats.percent(row["value"]) if short else formats.interval(row["value"], row["low"], row["high"])
    values = [row["value"] for row in rows]
    return formats.percent(formats.mean(values)) if short else formats.mean_and_deviation(values)


def inference(results: Results, names: Sequence[str]) -> str:
    """Returns the seconds of one pass over the validation part, mean over networks and folds; "" where not measured."""
    runs = [fold["networks"][name].get("inference") for fold in results["folds"].values() for name in names]
    seconds = formats.mean(run["seconds"] for run in runs if run)
    return "" if seconds is None else f"{seconds:.2f}"


def published(results: Results, name: str) -> str:
    """Returns the paper's Challenge metric (micro-F1) of such a network; "" if it has none, or has another task."""
    applies = paper.applies(task_of(results).name)
    figures = paper.result(results["networks"], name) if applies else None
    return f"{figures[0]:.2f} ({figures[1]:.2f})" if figures else ""


def other_data(results: Results) -> str:
    """Returns why the paper's numbers cannot be compared with; empty if the data is (about) the paper's."""
    dataset = results["dataset"]
    if not dataset["synthetic"] and dataset["records"] > 0.95 * paper.LABELLED_RECORDS:
        return ""
    return (
        f"The paper's numbers are a reminder, not a comparison: its data has {paper.LABELLED_RECORDS:,} labelled "
        f"recordings of six sources, this run's {dataset['records']:,} of {', '.join(dataset['per_source'])}."
    )
