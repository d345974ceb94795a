"""The report's tables of recipes over seeds and folds, as the paper has them: sizes, speed, scores and gains."""

from collections.abc import Mapping, Sequence

from lrhnet_jax import tasks
from lrhnet_jax.report import formats, paper, score_tables, seed_groups
from lrhnet_jax.report.schema import Results
from lrhnet_jax.report.seed_groups import Gain, Group


def section(results: Results) -> str:
    """Returns the section of the report, with its heading; empty if no network is one run of a recipe."""
    if not any(network["recipe"] for network in results["networks"].values()):
        return ""
    return f"## Recipes over seeds and folds\n\n{tables(results)}"


def tables(results: Results) -> str:
    """Returns a table of sizes and scores of all recipes, and one of gains, with notes."""
    summary = seed_groups.summarize(results)
    parts = [
        "Mean and standard deviation over the n runs of a recipe, one for each seed and fold; metrics x100. Inference: "
        "one pass over the validation part.",
        _scores(results, summary),
    ]
    if any(row["gains"] for row in summary.values()):
        parts += [
            f"Gains over `{seed_groups.UNDISTILLED}`, the undistilled network of the same leads, seed and fold, x100, "
            "with "
            "the two-sided p of a paired t-test over n runs. The p are not corrected for their number, and where there "
            "are several folds they are optimistic, for folds share most of their training records.",
            _gains(results, summary),
        ]
    return "\n\n".join([*parts, *_notes(results)])


def title(results: Results, group: str, networks: Sequence[str]) -> str:
    """Returns what the paper calls the networks of a group, or else the group's name."""
    known = (
        paper.method(results["networks"], networks[0]) if paper.applies(score_tables.task_of(results).name) else None
    )
    return known or group


def _scores(results: Results, summary: Mapping[str, Group]) -> str:
    task = score_tables.task_of(results)
    papers = paper.applies(task.name)
    sizes = ["parameters", "KiB", "million MACs", "inference, s"]
    labels = [tasks.METRICS[metric] for metric in task.metrics]
    header = ["network", "leads", "n", *sizes, *labels, *([score_tables.PAPER] if papers else [])]
    rows = []
    for group, row in summary.items():
        first = row["networks"][0]
        network = results["networks"][first]
        rows.append(
            [
                title(results, group, row["networks"]),
                formats.leads(network["leads"]),
                str(len(row["runs"])),
                f"{network['parameters']:,}",
                formats.kibibytes(network["bytes"]),
                f"{network['macs'] / 1e6:,.1f}",
                score_tables.inference(results, row["networks"]),
                *(formats.mean_and_deviation(row["metrics"][metric]["values"]) for metric in task.metrics),
                *([score_tables.published(results, first)] if papers else []),
            ]
        )
    return formats.markdown_table(header, rows)


def _gains(results: Results, summary: Mapping[str, Group]) -> str:
    metrics = score_tables.task_of(results).metrics
    header = ["network", "leads", "n", *(tasks.METRICS[metric] for metric in metrics)]
    rows = []
    for group, row in summary.items():
        if row["gains"]:
            cells = [_gain(row["gains"][metric]) for metric in metrics]
            n = max(row["gains"][metric]["n"] for metric in metrics)
            leads = formats.leads(results["networks"][row["networks"][0]]["leads"])
            rows.append([title(results, group, row["networks"]), leads, str(n), *cells])
    return formats.markdown_table(header, rows)


def _gain(gain: Gain) -> str:
    text = formats.mean_and_deviation(gain["values"], "+")
    return text if gain["p"] is None else f"{text}, p {gain['p']:.3f}"


def _notes(results: Results) -> list[str]:
    task = score_tables.task_of(results)
    notes = []
    if paper.applies(task.name):
        notes = [f"{paper.NOTE} {paper.INFERENCE}"]
        if other := score_tables.other_data(results):
            notes.append(f"**{other}**")
    elif task.name == paper.MVKT_TASK and any(network["leads"] == ["I"] for network in results["networks"].values()):
        notes = [paper.MVKT_NOTE]
    return notes
