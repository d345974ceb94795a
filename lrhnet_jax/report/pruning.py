"""The report's section on pruning: sizes of the pruned networks, and every round of their searches; and its figure."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from lrhnet_jax.report import formats
from lrhnet_jax.report.schema import Pruning, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER_COMPRESSION = 142
PAPER = (
    "LTH-ECG (Challenge 2017, one lead, a 34-layer residual network) reports 142 times fewer parameters at an F1 loss "
    "under 1 %."
)
CAPTION = "Pruning: validation score of each round over how many times fewer units it keeps (filled: good rounds)."
_NOTES = (
    "Compression counts the kernels that can be pruned, in brackets all parameters. Sparse: kept weights in float32 "
    "and their places, by a bitmap or by gaps, whichever is shorter. Structured: what is left, in float32, when "
    "channels that nothing reads are removed, which changes no output. **Zeros make a network smaller to store, not "
    "faster to run**: on real devices only the smaller shapes of the structured network save time, and MACs are "
    "counted so."
)


def section(results: Results) -> str:
    """Returns the section in Markdown, with its heading; empty if no network was pruned."""
    pruned = list(_pruned(results))
    if not pruned:
        return ""
    header = [
        "fold",
        "network",
        "pruned",
        "compression",
        "rounds",
        "validation",
        "bytes: dense",
        "sparse",
        "structured",
    ]
    rows = [
        [
            fold,
            name,
            _what(facts),
            f"{facts['compression']:.1f} ({facts['parameter_compression']:.1f})",
            f"{facts['round']} of {len(facts['rounds']) - 1}" if not facts["ticket"] else "",
            _validation(facts),
            f"{facts['dense_bytes']:,}",
            f"{facts['sparse_bytes']:,} ({facts['sparse_code']})" if facts["sparse_bytes"] else "",
            f"{facts['structured_bytes']:,}",
            f"{facts['macs'] / 1e6:,.1f}",
            f"{facts['macs_structured'] / 1e6:,.1f}",
        ]
        for fold, name, facts in pruned
    ]
    table = formats.markdown_table([*header, "million MACs: dense", "structured"], rows)
    parts = ["## Pruning", PAPER, table, _NOTES]
    for fold, name, facts in pruned:
        if not facts["ticket"]:
            parts += [f"Rounds of {name}, fold {fold}; the search ended because {facts['ending']}:", _rounds(facts)]
    return "\n\n".join(parts)


def _pruned(results: Results) -> Iterator[tuple[str, str, Pruning]]:
    """Every pruned network: fold, name, and what pruning made of it."""
    for fold, entry in results["folds"].items():
        for name, row in entry["networks"].items():
            if "pruning" in row:
                yield fold, name, row["pruning"]


def _what(facts: Pruning) -> str:
    controls = {"none": "", "random_mask": ", random mask", "random_init": ", another initialisation"}
    given = f", the size of {facts['ticket']}" if facts["ticket"] else ""
    return f"{facts['unit']}s{given}{controls[facts['control']]}"


def _validation(facts: Pruning) -> str:
    chosen = next(row for row in facts["rounds"] if row["index"] == facts["round"])
    dense = facts["rounds"][0]["score"]
    text = formats.percent(chosen["score"])
    return text if facts["ticket"] else f"{text} (dense {formats.percent(dense)})"


def _rounds(facts: Pruning) -> str:
    rows = [
        [
            str(row["index"]),
            "" if row["parent"] is None else str(row["parent"]),
            f"{100 * row['rate']:.2f} %",
            f"{row['kept']:,}",
            f"{facts['units'] / row['kept']:.1f}",
            formats.percent(row["score"]),
            row["decision"],
        ]
        for row in facts["rounds"]
    ]
    header = ["round", "pruned from", "rate", f"{facts['unit']}s kept", "times fewer", "validation score", "decision"]
    return formats.markdown_table(header, rows)


def figure(results: Results) -> "Figure | None":
    """Returns the rounds of every search: validation score over compression; None if there was no search."""
    searches = [row for row in _pruned(results) if not row[2]["ticket"]]
    if not searches:
        return None
    from matplotlib.figure import Figure

    several = len(results["folds"]) > 1
    drawn = Figure(figsize=(6.4, 4.2), layout="constrained")
    draw(
        drawn.subplots(),
        {f"{name} ({facts['unit']}s)" + (f", fold {fold}" if several else ""): facts for fold, name, facts in searches},
    )
    return drawn


def draw(axes: "Axes", searches: Mapping[str, Pruning]) -> None:
    """Draws the rounds of searches, by the label of each: see `CAPTION`."""
    for label, facts in searches.items():
        points = [
            (facts["units"] / row["kept"], row["score"], row["decision"])
            for row in facts["rounds"]
            if row["score"] is not None
        ]
        (line,) = axes.plot([x for x, _, _ in points], [y for _, y, _ in points], "-", linewidth=0.8, label=label)
        for x, y, decision in points:
            face = line.get_color() if decision in ("good", "dense") else "white"
            axes.plot(x, y, "o", color=line.get_color(), markerfacecolor=face, markersize=5)
        floor = (1 - facts["tolerance"]) * points[0][1]
        axes.axhline(floor, color=line.get_color(), linestyle=":", linewidth=0.8)
    axes.axvline(PAPER_COMPRESSION, color="#6f7780", linestyle="--", linewidth=0.8, label="LTH-ECG, published: 142")
    axes.set_xscale("log")
    axes.set_xlabel("times fewer units")
    axes.set_ylabel("validation score")
    axes.legend(frameon=False, fontsize=8)
