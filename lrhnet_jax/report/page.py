"""What a run found, for people: report.md with figures, and a table for the terminal, from results.json."""

import json
import logging
import pathlib
import statistics
from collections.abc import Sequence

from lrhnet_jax import tasks
from lrhnet_jax.report import figures, formats, paper, pruning, recipes, score_tables
from lrhnet_jax.report.schema import DataDescription, Results

logger = logging.getLogger(__name__)
WIDTH = 110  # columns of the terminal table
_REJECTED_SHOWN = 20
_PROTOCOLS = {
    "published": (
        "Split as the data set's authors publish it: {chosen} chosen on a validation fold, which is neither trained on "
        "nor scored."
    ),
    "leak_free": (
        "Leak-free: {chosen} chosen on a validation part of the training folds, which shares "
        "no patient with the scored fold or with the records that were trained on."
    ),
    "reference": (
        "As in the reference code: {chosen} chosen on the fold that is scored. These scores "
        "are optimistic; compare them only with numbers made the same way."
    ),
}


def write(results: Results, workdir: str | pathlib.Path) -> pathlib.Path:
    """Writes WORKDIR/report.md and WORKDIR/figures/*.png; returns the path of report.md.

    Args:
      results: of a run, as in results.json.
    """
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    drawn = figures.write(results, workdir / "figures")
    path = workdir / "report.md"
    path.write_text(markdown(results, drawn))
    logger.info("wrote %s and %d figures", path, len(drawn))
    return path


def table(results: Results) -> str:
    """Returns the networks and their scores on the test fold as plain text, up to `WIDTH` columns."""
    task = score_tables.task_of(results)
    papers = paper.applies(task.name)
    labels = [tasks.METRICS[metric].replace("macro ", "") for metric in task.table]
    header = ["network", "model", "leads", "parameters", *labels, *(["paper"] if papers else [])]
    rows = [
        [
            name,
            network["model"],
            formats.leads(network["leads"]),
            f"{network['parameters']:,}",
            *(score_tables.cell(results, name, metric, short=i > 1) for i, metric in enumerate(task.table)),
            *([score_tables.published(results, name)] if papers else []),
        ]
        for name, network in results["networks"].items()
    ]
    lines = formats.columns([header, *rows], left=2)
    test = [fold["records"]["test"] for fold in results["folds"].values()]
    notes = [
        f"Test records: {sum(test):,} of {results['dataset']['name']}. All x100; {score_tables.spread(results)}. "
        f"Decision rule: {score_tables.rule(results)}."
    ]
    if papers:
        notes[0] += " paper: Challenge metric (micro-F1); see the report."
    other = score_tables.other_data(results)
    if other and papers and any(row[-1] for row in rows):
        notes.append(other)
    notice = [banner(results)] if banner(results) else []
    return "\n".join([*formats.wrap(notice, WIDTH), *lines, "", *formats.wrap(notes, WIDTH)]).rstrip()


def markdown(results: Results, drawn: Sequence[tuple[str, str]] = ()) -> str:
    """Returns the report; `drawn` lists (path relative to the report, caption) of the figures."""
    task = score_tables.task_of(results)
    sections = [
        f"# {results['experiment']} ({results['preset']} preset)",
        f"> **{banner(results)}**" if banner(results) else "",
        f"{results['created']}, {results['device']}.",
        "## Networks",
        _networks(results),
        "## Scores on the test fold" + ("s" if len(results["folds"]) > 1 else ""),
        score_tables.scores(results),
        recipes.section(results),
        "## Differences between networks",
        score_tables.comparisons(results),
        pruning.section(results),
        "## Per class",
        score_tables.per_class(results),
        "## Labels and decisions" if task.exclusive else "",
        score_tables.confusion(results),
        "## How decisions were made",
        _protocol(results),
        "## Data",
        _data(results["dataset"], task),
        "## Figures" if drawn else "",
        "\n\n".join(f"![{caption}]({path})\n\n{caption}" for path, caption in drawn),
        "## Reproduce",
        _reproduce(results),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def banner(results: Results) -> str:
    """Returns what has to be said first: that the data is synthetic; or the data set's own notice, or ""."""
    dataset = results["dataset"]
    if not dataset["synthetic"]:
        return dataset.get("notice", "")
    return dataset.get("notice") or "SYNTHETIC DATA: these numbers were measured on generated ECGs, not on patients."


def _networks(results: Results) -> str:
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
                formats.kibibytes(network["bytes"]),
                f"{network['macs'] / 1e6:,.1f}",
                score_tables.inference(results, [name]),
                ", ".join(f"{weight:g} {teacher}" for teacher, weight in network["teachers"].items()) or "none",
                trained,
                f"{statistics.median(rates):,.0f}" if rates else "",
            ]
        )
    sizes = ["parameters", "KiB", "million MACs", "inference, s"]
    header = ["network", "model", "leads", *sizes, "teachers", "epoch kept", "windows/s"]
    window = results["config"].get("window")
    rate = results["dataset"].get("rate")
    seconds = f" ({window / rate:.1f} s at {rate:g} Hz)" if window and rate else ""
    notes = [f"MACs: multiply-accumulates for one window of {window:,} samples{seconds}."] if window else []
    notes.append("KiB: all variables as they are saved, in float32. windows/s: in training.")
    timed = [
        run["inference"]
        for fold in results["folds"].values()
        for run in fold["networks"].values()
        if "inference" in run
    ]
    if timed:
        records = " or ".join(f"{n:,}" for n in sorted({t["records"] for t in timed}))
        devices = " or ".join(sorted({t["device"] for t in timed}))
        notes.append(
            f"Inference: one pass over the validation part, {records} records, in batches of {timed[0]['batch_size']}, "
            f"compiled, on {devices}."
        )
    return f"{formats.markdown_table(header, rows)}\n\n{' '.join(notes)}"


def _protocol(results: Results) -> str:
    evaluation = results["config"].get("evaluation", {})
    sizes = "; ".join(
        f"fold {fold}: {r['train']:,} records to train, {r['validation']:,} to validate, {r['test']:,} scored"
        for fold, r in ((fold, entry["records"]) for fold, entry in results["folds"].items())
    )
    windows = {
        "cover": "Probabilities are averaged over deterministic windows that cover each record.",
        "random": "Probabilities come from one random window a record.",
    }.get(evaluation.get("windows"), "")
    task = score_tables.task_of(results)
    chosen = "the epoch was" if task.exclusive else "the epoch and the thresholds were"
    protocol = _PROTOCOLS.get(evaluation.get("protocol"), "").format(chosen=chosen)
    epoch = f"Where the best epoch is kept, it is that of the highest validation {tasks.METRICS[task.epoch_metric]}."
    parts = [protocol, epoch, _decisions(task), windows, f"{sizes[0].upper()}{sizes[1:]}."]
    return "\n\n".join(filter(None, parts))


def _decisions(task: tasks.Task) -> str:
    if task.exclusive:
        return "No threshold is fitted: a record is of the class with the highest probability."
    how = {
        "challenge_metric": "The thresholds, one a class, maximise the Challenge metric by differential evolution.",
        "macro_f1": "The thresholds, one a class, each maximise the F1 of their class.",
    }[task.threshold_metric]
    return (
        f"{how} Those of classes with few positive records are drawn towards the single threshold that serves all "
        "classes best. They are listed in results.json."
    )


def _data(dataset: DataDescription, task: tasks.Task) -> str:
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
    for code in sorted(task.classes, key=lambda code: -dataset["per_class"].get(code, 0)):
        counts = [f"{by_source[source].get(code, 0):,}" for source in sources if by_source]
        rows.append(
            [task.abbreviation(code), task.description(code), f"{dataset['per_class'].get(code, 0):,}", *counts]
        )
    parts.append(formats.markdown_table(header, rows))
    if not by_source:
        parts.append("Records per source: " + ", ".join(f"{s} {n:,}" for s, n in dataset["per_source"].items()) + ".")
    return "\n\n".join(parts)


def _reproduce(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"```\n{results['command']}\n```\n\nwith another --workdir. All fields as they were:\n\n"
        f"```json\n{json.dumps(results['config'], indent=1, default=str)}\n```\n\nVersions: {versions}."
    )
