"""Draws the picture of the README: a page of ECG, and below it the distillation graph of configs/pmlkd.py.

    python -m benchmarks.picture [--output=docs/picture.png]

The ECG is generated; the leads that the student reads are blue. The same arguments give the same picture.
"""

import argparse
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from configs import pmlkd
from data_builders.synthetic import generate
from lrhnet_jax import models
from lrhnet_jax.ecg import squared_paper
from lrhnet_jax.ecg.leads import DEMOGRAPHICS, LEADS
from lrhnet_jax.experiment import graph
from lrhnet_jax.tasks import physionet2020

RATE = 500.0
SHOWN = "AF"  # the diagnosis of the ECG
MODELS = {"seresnet": "SE-ResNet", "lrhnet": "LRH-Net"}
GRAPH_INCHES = 2.1
PLAIN, TAUGHT = "#f2f2f2", "#dbe6f5"
BOX = (0.25, 0.34)  # width and height of a network, in the axes of the graph


def parameters(network: graph.Network) -> int:
    """Returns how many trainable values a network has."""
    model = models.create(network.model, network.leads, **network.options)
    signal, demographics = jnp.zeros((1, 4096, len(network.leads))), jnp.zeros((1, len(DEMOGRAPHICS)))
    return models.count_parameters(jax.eval_shape(model.init, jax.random.key(0), signal, demographics)["params"])


def places(networks: Sequence[graph.Network]) -> dict[str, tuple[float, float]]:
    """Returns where each network's box is centred: columns from left to right, each after those of its teachers."""
    level: dict[str, int] = {}
    for network in networks:
        level[network.name] = 1 + max((level[teacher] for teacher in network.teachers), default=-1)
    columns = [[name for name, at in level.items() if at == column] for column in range(max(level.values()) + 1)]
    return {
        name: ((column + 0.5) / len(columns), 1 - (row + 0.5) / len(names))
        for column, names in enumerate(columns)
        for row, name in enumerate(names)
    }


def draw_graph(axes: Axes, networks: Sequence[graph.Network]) -> None:
    """Draws networks as boxes, and from every teacher an arrow with its weight."""
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.axis("off")
    width, height = BOX
    at = places(networks)
    for network in networks:
        x, y = at[network.name]
        leads = f"{len(network.leads)} leads" if network.leads == LEADS else f"leads {', '.join(network.leads)}"
        text = f"{MODELS.get(network.model, network.model)}\n{leads}, {parameters(network):,} parameters"
        face = TAUGHT if network.teachers else PLAIN
        axes.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - height / 2),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=0.02",
                facecolor=face,
                edgecolor="black",
            )
        )
        axes.text(x, y + height / 4, network.name, ha="center", va="center", fontsize=11, weight="bold")
        axes.text(x, y - height / 6, text, ha="center", va="center", fontsize=9)
        for teacher, weight in network.teachers.items():
            start, end = (at[teacher][0] + width / 2, at[teacher][1]), (x - width / 2, y)
            axes.annotate(
                "", end, start, arrowprops={"arrowstyle": "-|>", "color": squared_paper.MARKED, "linewidth": 1.6}
            )
            middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
            box = {"facecolor": "white", "edgecolor": "none", "pad": 2}
            axes.text(*middle, f"teaches, {weight:g}", ha="center", va="center", fontsize=9, bbox=box)


def picture() -> Figure:
    """Returns the figure."""
    config = pmlkd.get_config()
    networks = graph.parse(config.networks, config.train)
    codes = [code for code, (short, *_) in physionet2020.DIAGNOSES.items() if short == SHOWN]
    width, height = squared_paper.size(squared_paper.layout(LEADS, squared_paper.SECONDS))
    figure = Figure(figsize=(width, height + GRAPH_INCHES))
    share = height / (height + GRAPH_INCHES)
    signal = generate(codes, seed=5, seconds=squared_paper.SECONDS, rate=RATE)
    squared_paper.draw(figure.add_axes((0, 1 - share, 1, share)), signal, RATE, marked=networks[-1].leads)
    figure.text(0.99, 1 - share + 0.008, "generated ECG: atrial fibrillation", ha="right", fontsize=8)
    draw_graph(figure.add_axes((0, 0.01, 1, 0.97 - share)), networks)
    return figure


def main(arguments: Sequence[str] | None = None) -> pathlib.Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("docs/picture.png"))
    output: pathlib.Path = parser.parse_args(arguments).output
    picture().savefig(output, dpi=110)
    print(output)
    return output


if __name__ == "__main__":
    main()
