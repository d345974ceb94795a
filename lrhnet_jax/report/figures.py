"""The report's figures: training curves, scores per class, and the data's distribution (the paper's Fig. 3 and 4)."""

import logging
import pathlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from lrhnet_jax import tasks
from lrhnet_jax.report import paper, pruning, score_tables, seed_groups
from lrhnet_jax.report.schema import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
_COLORS = ("#3b6fb6", "#e07b39", "#4d9a5b", "#b5454f", "#8061a8", "#8a6a4f", "#cf79b8", "#6f7780")
_MOST_BARS = 12  # of a class; more are hairlines, and the report's table says it better


def write(results: Results, folder: pathlib.Path) -> list[tuple[str, str]]:
    """Draws what `results` has data for; returns (path relative to `folder`'s parent, caption) of each figure."""
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    drawn = []
    for name, figure, caption in draw(results):
        figure.savefig(folder / f"{name}.png", dpi=DPI)
        drawn.append((f"{folder.name}/{name}.png", caption))
    return drawn


def draw(results: Results) -> "Iterator[tuple[str, Figure, str]]":
    """Yields name, figure and caption of everything that `results` has data for; figures of generated ECGs say so."""
    compare = paper.applies(score_tables.task_of(results).name)
    drawers: dict[str, tuple[Callable[[Results], Figure | None], str]] = {
        "training": (
            training_curves,
            "Training: loss of each epoch, and score on the validation part (dot: epoch kept).",
        ),
        "per_class": (
            per_class,
            "F1 of each class on the test fold; below each class, its number of positive records.",
        ),
        "confusion": (confusion, "Records of the test folds by label and decision, in percent of the label's."),
        "pruning": (pruning.figure, pruning.CAPTION),
        "classes": (
            class_counts,
            "Records with each class, by source" + (" (compare Fig. 3 of the paper)." if compare else "."),
        ),
        "co_occurrence": (
            co_occurrence,
            "Records that carry both classes; the diagonal counts each class" + (" (Fig. 4)." if compare else "."),
        ),
    }
    for name, (drawer, caption) in drawers.items():
        figure = drawer(results)
        if figure is not None:
            if results["dataset"]["synthetic"]:
                mark_synthetic(figure)
            yield name, figure, caption


def mark_synthetic(figure: "Figure") -> None:
    """Writes SYNTHETIC DATA below a figure of constrained layout, in a place of its own, so that it covers nothing."""
    figure.supxlabel("SYNTHETIC DATA", x=0.005, ha="left", fontsize=8, weight="bold", color="#b5454f")


def training_curves(results: Results) -> "Figure | None":
    """Returns loss and validation score over the epochs, a column for each network or recipe, a line for each run."""
    folds = {fold: entry["networks"] for fold, entry in results["folds"].items()}
    groups = {
        group: names
        for group, names in seed_groups.groups(results["networks"]).items()
        if any(networks[name]["history"] for networks in folds.values() for name in names)
    }
    if not groups:
        return None
    metric = score_tables.task_of(results).epoch_metric
    key = f"validation_{metric}"
    figure = _figure(max(3.4 * len(groups), 4.5), 5.2)
    axes = figure.subplots(2, len(groups), squeeze=False, sharex="col")
    for column, (group, names) in enumerate(groups.items()):
        loss, score = axes[:, column]
        runs = [(color, fold, name) for color, fold in zip(_cycle(len(folds)), folds, strict=True) for name in names]
        for color, fold, name in runs:
            run = folds[fold][name]
            epochs = [row["epoch"] for row in run["history"]]
            label = f"fold {fold}" if len(folds) > 1 and name == names[0] else None
            loss.plot(epochs, [row["loss"] for row in run["history"]], color=color, label=label)
            scored = [(row["epoch"], row[key]) for row in run["history"] if row.get(key) is not None]
            if scored:
                score.plot(*zip(*scored, strict=True), color=color)
                kept = [point for point in scored if point[0] == run["best_epoch"]]
                if kept:
                    score.plot(*kept[0], "o", color=color, markersize=6)
        loss.set_title(group)
        score.set_xlabel("epoch")
        score.xaxis.get_major_locator().set_params(integer=True)
    for score in axes[1, 1:]:
        score.sharey(axes[1, 0])  # not the losses: BCE alone and with a KL term are of different size
    axes[0, 0].set_ylabel("training loss")
    axes[1, 0].set_ylabel(f"validation {tasks.METRICS[metric]}")
    if len(folds) > 1:
        axes[0, -1].legend(frameon=False, fontsize=8)
    return figure


def per_class(results: Results) -> "Figure | None":
    """Returns bars of each class's F1 for each network or recipe (mean over runs), commonest class first.

    None if no class has a positive, or if there are too many networks.
    """
    task = score_tables.task_of(results)
    folds = list(results["folds"].values())
    scores = {
        group: [fold["networks"][name]["test"]["per_class"] for name in names for fold in folds]
        for group, names in seed_groups.groups(results["networks"]).items()
    }
    names = list(scores)
    positives = {code: sum(one[code]["positives"] for one in scores[names[0]][: len(folds)]) for code in task.classes}
    codes = sorted((code for code in task.classes if positives[code]), key=lambda code: -positives[code])
    if not codes or len(names) > _MOST_BARS:
        return None
    figure = _figure(12, 4)
    axes = figure.subplots()
    width = 0.84 / len(names)
    for i, (color, name) in enumerate(zip(_cycle(len(names)), names, strict=True)):
        heights = [np.mean([f[code]["f1"] for f in scores[name] if f[code]["f1"] is not None]) for code in codes]
        axes.bar(np.arange(len(codes)) + (i - (len(names) - 1) / 2) * width, heights, width, color=color, label=name)
    axes.set_xticks(
        range(len(codes)), [f"{task.abbreviation(code)}\n{positives[code]:,}" for code in codes], fontsize=8
    )
    axes.set_xlim(-0.7, len(codes) - 0.3)
    axes.set_ylim(0, 1)
    axes.set_ylabel("F1")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper center", ncols=min(len(names), 6), frameon=False
    )
    return figure


def class_counts(results: Results) -> "Figure | None":
    """Returns stacked bars of the records of each class, split by source where that is known."""
    task, dataset = score_tables.task_of(results), results["dataset"]
    total = dataset["per_class"]
    codes = sorted((code for code in task.classes if total.get(code)), key=lambda code: total[code])
    if not codes:
        return None
    sources = dataset.get("per_source_class") or {dataset["name"]: total}
    figure = _figure(9, 6.5)
    axes = figure.subplots()
    left = np.zeros(len(codes))
    for color, (source, counts) in zip(_cycle(len(sources)), sources.items(), strict=True):
        values = np.array([counts.get(code, 0) for code in codes])
        axes.barh(range(len(codes)), values, left=left, color=color, label=source)
        left += values
    for i, code in enumerate(codes):
        axes.text(left[i] + left.max() * 0.008, i, f"{total[code]:,}", va="center", fontsize=8)
    labels = [f"{task.description(code)}  {task.abbreviation(code)}" for code in codes]
    axes.set_yticks(range(len(codes)), labels, fontsize=8)
    axes.set_ylim(-0.6, len(codes) - 0.4)
    axes.set_xlim(0, left.max() * 1.1)
    axes.set_xlabel("records")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    return figure


def co_occurrence(results: Results) -> "Figure | None":
    """Returns a map of how many records carry each pair of classes; None if unknown, or if each has one class."""
    task = score_tables.task_of(results)
    matrix = results["dataset"].get("co_occurrence")
    if task.exclusive or not matrix or not np.any(matrix):
        return None
    from matplotlib.colors import LogNorm

    counts = np.array(matrix)
    order = np.argsort(-np.diag(counts), kind="stable")
    order = order[np.diag(counts)[order] > 0]
    counts = counts[np.ix_(order, order)]
    names = [task.abbreviations[i] for i in order]
    figure = _figure(9.5, 8.6)
    axes = figure.subplots()
    image = axes.imshow(np.ma.masked_equal(counts, 0), norm=LogNorm(1, max(counts.max(), 2)), cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            dark = np.log(count) > 0.6 * np.log(counts.max())
            axes.text(column, row, count, ha="center", va="center", fontsize=6, color="white" if dark else "black")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    figure.colorbar(image, ax=axes, label="records", shrink=0.7)
    return figure


def confusion(results: Results) -> "Figure | None":
    """Returns a map for each network of labelled by decided class, summed over the folds; None for other tasks."""
    task = score_tables.task_of(results)
    if not task.exclusive:
        return None
    names, ticks = list(results["networks"]), range(len(task.classes))
    figure = _figure(max(3.2 * len(names), 4.0), 3.6)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        counts = np.array(score_tables.total_confusion(results, name))
        shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        for (row, column), share in np.ndenumerate(shares):
            color = "white" if share > 60 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=8, color=color)
        axes.set_xticks(ticks, task.abbreviations)
        axes.set_yticks(ticks, task.abbreviations)
        axes.set_title(name)
        axes.set_xlabel("decision")
        axes.set_ylabel("label")
    return figure


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # without pyplot: no display, and no state that other code could share

    return Figure(figsize=(width, height), layout="constrained")


def _cycle(count: int) -> list[str]:
    return [_COLORS[i % len(_COLORS)] for i in range(count)]
