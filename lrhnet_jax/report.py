"""What a run found, for people: report.md with figures, and a table for the terminal, from the dict in results.json."""

import json
import logging
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from lrhnet_jax import ecg, figures, formats, paper, report_pruning

METRICS = {
    "challenge_metric": "Challenge metric",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "macro_auroc": "macro AUROC",
    "macro_average_precision": "macro AP",
}
logger = logging.getLogger(__name__)
WIDTH = 110  # columns of the terminal table
_REJECTED_SHOWN = 20
_RULES = {
    "threshold": "a class is positive where its probability reaches its threshold",
    "threshold_or_top1": "a class is positive where its probability reaches its threshold, or is the record's highest",
}
_PROTOCOLS = {
    "leak_free": (
        "Leak-free: the epoch and the thresholds were chosen on a validation part of the training folds, which shares "
        "no patient with the scored fold or with the records that were trained on."
    ),
    "reference": (
        "As in the reference code: the epoch and the thresholds were chosen on the fold that is scored. These scores "
        "are optimistic; compare them only with numbers made the same way."
    ),
}


def write(results: Mapping[str, Any], workdir: str | pathlib.Path) -> pathlib.Path:
    """Writes WORKDIR/report.md and WORKDIR/figures/*.png; returns the path of report.md.

    Args:
      results: what experiment.run writes to results.json.
    """
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    drawn = figures.write(results, workdir / "figures")
    path = workdir / "report.md"
    path.write_text(markdown(results, drawn))
    logger.info("wrote %s and %d figures", path, len(drawn))
    return path


def table(results: Mapping[str, Any]) -> str:
    """Returns the networks and their scores on the test fold as plain text, up to `WIDTH` columns."""
    names = ("challenge_metric", "micro_f1", "macro_auroc", "macro_average_precision")
    header = ["network", "model", "leads", "parameters", *(METRICS[n].replace("macro ", "") for n in names), "paper"]
    rows = [
        [
            name,
            network["model"],
            formats.leads(network["leads"]),
            f"{network['parameters']:,}",
            *(_cell(results, name, metric, short=metric not in names[:2]) for metric in names),
            _paper(results, name),
        ]
        for name, network in results["networks"].items()
    ]
    lines = formats.columns([header, *rows], left=2)
    test = [fold["records"]["test"] for fold in results["folds"].values()]
    notes = [
        f"Test records: {sum(test):,} of {results['dataset']['name']}. All x100; {_spread(results)}. "
        f"Decision rule: {_RULES[_decision(results)]}. paper: Challenge metric (micro-F1); see the report.",
    ]
    if _other_data(results) and any(row[-1] for row in rows):
        notes.append(_other_data(results))
    notice = [_banner(results)] if _banner(results) else []
    return "\n".join([*formats.wrap(notice, WIDTH), *lines, "", *formats.wrap(notes, WIDTH)]).rstrip()


def markdown(results: Mapping[str, Any], drawn: Sequence[tuple[str, str]] = ()) -> str:
    """Returns the report; `drawn` lists (path relative to the report, caption) of the figures."""
    sections = [
        f"# {results['experiment']} ({results['preset']} preset)",
        f"> **{_banner(results)}**" if _banner(results) else "",
        f"{results['created']}, {results['device']}.",
        "## Networks",
        _networks(results),
        "## Scores on the test fold" + ("s" if len(results["folds"]) > 1 else ""),
        _scores(results),
        "## Differences between networks",
        _comparisons(results),
        report_pruning.section(results),
        "## Per class",
        _per_class(results),
        "## How decisions were made",
        _protocol(results),
        "## Data",
        _data(results["dataset"]),
        "## Figures" if drawn else "",
        "\n\n".join(f"![{caption}]({path})\n\n{caption}" for path, caption in drawn),
        "## Reproduce",
        _reproduce(results),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _banner(results: Mapping[str, Any]) -> str:
    dataset = results["dataset"]
    if not dataset["synthetic"]:
        return dataset.get("notice", "")
    return dataset.get("notice") or "SYNTHETIC DATA: these numbers were measured on generated ECGs, not on patients."


def _other_data(results: Mapping[str, Any]) -> str:
    """Returns why the paper's numbers cannot be compared with; empty if the data is (about) the paper's."""
    dataset = results["dataset"]
    if not dataset["synthetic"] and dataset["records"] > 0.95 * paper.LABELLED_RECORDS:
        return ""
    return (
        f"The paper's numbers are a reminder, not a comparison: its data has {paper.LABELLED_RECORDS:,} labelled "
        f"recordings of six sources, this run's {dataset['records']:,} of {', '.join(dataset['per_source'])}."
    )


def _networks(results: Mapping[str, Any]) -> str:
    rows = []
    for name, network in results["networks"].items():
        runs = [fold["networks"][name] for fold in results["folds"].values()]
        rates = [run["samples_per_second"] for run in runs if run.get("samples_per_second")]
        trained = ", ".join(f"{run['best_epoch']} of {run['epochs']}" for run in runs)
        if loaded := runs[0].get("loaded_from"):
            trained = f"loaded from {loaded}"
        rows.append(
            [
                name,
                network["model"],
                formats.leads(network["leads"]),
                f"{network['parameters']:,}",
                f"{network['macs'] / 1e6:,.1f}",
                ", ".join(f"{weight:g} {teacher}" for teacher, weight in network["teachers"].items()) or "none",
                trained,
                f"{statistics.median(rates):,.0f}" if rates else "",
            ]
        )
    header = ["network", "model", "leads", "parameters", "million MACs", "teachers", "epoch kept", "windows/s"]
    window = results["config"].get("window")
    note = f"\n\nMACs: multiply-accumulates for one window of {window:,} samples." if window else ""
    return formats.markdown_table(header, rows) + note


def _scores(results: Mapping[str, Any]) -> str:
    rows = [
        [name, *(_cell(results, name, metric) for metric in METRICS), _paper(results, name)]
        for name, network in results["networks"].items()
    ]
    parts = [
        f"All x100; {_spread(results)}. Decision rule: {_RULES[_decision(results)]}.",
        formats.markdown_table(["network", *METRICS.values(), "paper: Challenge metric (micro-F1)"], rows),
    ]
    other = next(rule for rule in _RULES if rule != _decision(results))
    decided = [m for m in METRICS if m in _score(results, next(iter(results["networks"])))[0]["headline_top1"]]
    rows = [[name, *(_cell(results, name, metric, rule=other) for metric in decided)] for name in results["networks"]]
    parts += [
        f"Under the other rule ({_RULES[other]}):",
        formats.markdown_table(["network", *(METRICS[m] for m in decided)], rows),
    ]
    if all(_score(results, name, "test_reference") for name in results["networks"]):
        rows = [
            [name, *(_cell(results, name, metric, part="test_reference") for metric in METRICS)]
            for name in results["networks"]
        ]
        parts += [
            "With thresholds fitted on the scored fold itself, as in the reference code (optimistic):",
            formats.markdown_table(["network", *METRICS.values()], rows),
        ]
    absent = {code for score in _score(results, next(iter(results["networks"]))) for code in _absent(score)}
    if absent:
        named = ", ".join(ecg.DIAGNOSES[code][0] for code in sorted(absent))
        parts.append(f"Macro figures leave out the classes without a positive in a test fold: {named}.")
    if any(_paper(results, name) for name in results["networks"]):
        parts.append(paper.NOTE)
        if _other_data(results):
            parts.append(f"**{_other_data(results)}**")
    return "\n\n".join(parts)


def _comparisons(results: Mapping[str, Any]) -> str:
    rows = []
    differences: dict[str, list[Mapping[str, Any]]] = {}
    for fold, entry in results["folds"].items():
        for pair in entry["comparisons"]:
            name = f"{pair['a']} - {pair['b']}"
            differences.setdefault(name, []).append(pair["differences"])
            cells = []
            for row in (pair["differences"][metric] for metric in METRICS):
                p = "" if row["p"] is None else f", p {row['p']:.3f}"
                cells.append(formats.interval(row["difference"], row["low"], row["high"], sign="+") + p)
            rows.append([fold, name, *cells])
    if not rows:
        return "No two networks that read the same leads or teach each other."
    text = (
        "x100, first minus second, with the 95 % interval and the two-sided p of a bootstrap that scores both networks "
        "on the same resampled patients. The p are not corrected for their number."
    )
    if len(results["folds"]) > 1:
        text += " The last rows give mean and standard deviation of the difference over the folds."
        for name, found in differences.items():
            cells = [
                formats.mean_and_deviation([row[metric]["difference"] for row in found], "+") for metric in METRICS
            ]
            rows.append(["all", name, *cells])
    return f"{text}\n\n{formats.markdown_table(['fold', 'networks', *METRICS.values()], rows)}"


def _per_class(results: Mapping[str, Any]) -> str:
    names = list(results["networks"])
    header = ["class", "diagnosis", "positives", *names]
    rows = []
    for code in ecg.CLASSES:
        entries = {name: [score["per_class"][code] for score in _score(results, name)] for name in names}
        cells = []
        for name in names:
            values = [formats.mean(e[key] for e in entries[name]) for key in ("f1", "auroc", "average_precision")]
            cells.append(" / ".join(formats.percent(value) for value in values))
        positives = sum(entry["positives"] for entry in entries[names[0]])
        rows.append([ecg.DIAGNOSES[code][0], ecg.DIAGNOSES[code][1], f"{positives:,}", *cells])
    folds = ", mean over the folds in which the class occurs" if len(results["folds"]) > 1 else ""
    return (
        f"F1 / AUROC / average precision, x100{folds}; - where the test fold has no positive.\n\n"
        + formats.markdown_table(header, rows)
    )


def _protocol(results: Mapping[str, Any]) -> str:
    evaluation = results["config"].get("evaluation", {})
    sizes = "; ".join(
        f"fold {fold}: {r['train']:,} records to train, {r['validation']:,} to validate, {r['test']:,} scored"
        for fold, r in ((fold, entry["records"]) for fold, entry in results["folds"].items())
    )
    windows = {
        "cover": "Probabilities are averaged over deterministic windows that cover each record.",
        "random": "Probabilities come from one random window a record.",
    }.get(evaluation.get("windows"), "")
    thresholds = (
        "The thresholds, one a class, maximise the Challenge metric by differential evolution. Those of classes with "
        "few positive records are drawn towards the single threshold that serves all classes best. They are listed in "
        "results.json."
    )
    return "\n\n".join(
        filter(
            None,
            [_PROTOCOLS.get(evaluation.get("protocol"), ""), thresholds, windows, f"{sizes[0].upper()}{sizes[1:]}."],
        )
    )


def _data(dataset: Mapping[str, Any]) -> str:
    build = dataset.get("build_report") or {}
    parts = [f"{dataset['name']}: {dataset['records']:,} records (`{dataset['path']}`)."]
    if "left_out_no_scored_class" in build:
        parts.append(f"Left out when it was built, for lack of a scored class: {build['left_out_no_scored_class']:,}.")
    rejected = build.get("rejected", [])
    if rejected:
        shown = [f"- `{row['path']}`: {row['reason']}" for row in rejected[:_REJECTED_SHOWN]]
        if len(rejected) > _REJECTED_SHOWN:
            shown.append(f"- and {len(rejected) - _REJECTED_SHOWN:,} more, in the data set's report.json")
        parts.append(f"Rejected when it was built: {len(rejected):,} records.\n\n" + "\n".join(shown))
    sources = list(dataset["per_source"])
    by_source = dataset.get("per_source_class") or {}
    header = ["class", "diagnosis", "records", *(sources if by_source else [])]
    rows = [["", "all", f"{dataset['records']:,}", *(f"{dataset['per_source'][s]:,}" for s in sources if by_source)]]
    for code in sorted(ecg.CLASSES, key=lambda code: -dataset["per_class"].get(code, 0)):
        counts = [f"{by_source[source].get(code, 0):,}" for source in sources if by_source]
        rows.append([*ecg.DIAGNOSES[code], f"{dataset['per_class'].get(code, 0):,}", *counts])
    parts.append(formats.markdown_table(header, rows))
    if not by_source:
        parts.append("Records per source: " + ", ".join(f"{s} {n:,}" for s, n in dataset["per_source"].items()) + ".")
    return "\n\n".join(parts)


def _reproduce(results: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"```\n{results['command']}\n```\n\nwith another --workdir. All fields as they were:\n\n"
        f"```json\n{json.dumps(results['config'], indent=1, default=str)}\n```\n\nVersions: {versions}."
    )


def _decision(results: Mapping[str, Any]) -> str:
    return results["config"].get("evaluation", {}).get("decision", "threshold")


def _spread(results: Mapping[str, Any]) -> str:
    if len(results["folds"]) > 1:
        return f"mean and standard deviation over {len(results['folds'])} folds"
    return "in brackets the 95 % bootstrap interval over patients"


def _score(results: Mapping[str, Any], name: str, part: str = "test") -> list[dict[str, Any]]:
    """Returns the score dicts of a network, one a fold; none where the run did not make that part."""
    runs = (fold["networks"][name] for fold in results["folds"].values())
    return [run[part] for run in runs if part in run]


def _absent(score: Mapping[str, Any]) -> list[str]:
    return score["classes_without_positives"]


def _cell(
    results: Mapping[str, Any], name: str, metric: str, *, part: str = "test", rule: str = "", short: bool = False
) -> str:
    """Returns a metric of a network as text: with its interval, or mean and standard deviation over folds."""
    rows = []
    for score in _score(results, name, part):
        decided = (rule or _decision(results)) == "threshold_or_top1" and metric in score["headline_top1"]
        rows.append(score["headline_top1" if decided else "headline"][metric])
    if len(rows) == 1:
        row = rows[0]
        return formats.percent(row["value"]) if short else formats.interval(row["value"], row["low"], row["high"])
    values = [row["value"] for row in rows]
    return formats.percent(formats.mean(values)) if short else formats.mean_and_deviation(values)


def _paper(results: Mapping[str, Any], name: str) -> str:
    found = paper.result(results["networks"], name)
    return f"{found[0]:.2f} ({found[1]:.2f})" if found else ""
