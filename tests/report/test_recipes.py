"""The tables of recipes over seeds and folds, from a table run and from one of MVKT-ECG's transfers."""

import numpy as np

from lrhnet_jax import tasks
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.report import figures, page, recipes
from tests.helpers import results as made


def line(text, start):
    (found,) = [line for line in text.splitlines() if line.startswith(start)]
    return found


def test_a_row_a_recipe_with_sizes_speed_and_the_papers_figure():
    results = made.make_recipe_results()
    scores, gains = recipes.tables(results).split("Gains over `alone`")
    row = line(scores, "| Vanilla KD | 2 | 2 | 83,236 | 328.0 | 95.7 | 1.23 |")
    assert "| 39.0 ± 4.2 |" in row and row.endswith("| 57.27 (71.18) |")
    assert line(scores, "| LRH-Net |").endswith("| 56.66 (70.21) |")
    assert line(scores, "| SE-ResNet | 12 | 1 |").endswith("| 67.43 (76.65) |")
    # Gains of .06 and .02: mean .04, t = .04 / (.02 * sqrt 2 / sqrt 2) = 2 with one degree of freedom.
    p = 1 - 2 / np.pi * np.arctan(2)
    assert f"| +4.0 ± 2.8, p {p:.3f} |" in line(gains, "| Vanilla KD | 2 | 2 |")
    assert "| LRH-Net |" not in gains and "SE-ResNet 3.43 s" in gains and "not a comparison" in gains


def test_the_report_has_the_section_and_a_column_a_recipe():
    results = made.make_recipe_results()
    text = page.markdown(results)
    assert "## Recipes over seeds and folds" in text
    assert "| class | diagnosis | positives | teacher12 | alone2 | vanilla2 |" in text and ", and over seeds;" in text
    titles = [axes.get_title() for axes in figures.training_curves(results).axes]
    assert [title for title in titles if title] == ["teacher12", "alone2", "vanilla2"]
    assert len(figures.per_class(results).axes[0].containers) == 3


def test_a_figure_of_too_many_networks_is_left_out():
    results = made.make_recipe_results()
    row, student = results["folds"]["0"]["networks"]["alone2_0"], results["networks"]["alone2_0"]
    for i in range(10):
        results["networks"][f"other{i}"] = {**student, "recipe": ""}
        results["folds"]["0"]["networks"][f"other{i}"] = row
    assert figures.per_class(results) is None


def test_mvkts_figure_is_second_hand():
    results = made.make_results(task=tasks.PTBXL, dataset="ptbxl", leads="1")
    student = results["networks"].pop("student")
    row = results["folds"]["0"]["networks"].pop("student")
    for name, value in {"alone1_0": 0.7, "both1_0": 0.75}.items():
        results["networks"][name] = {**student, "model": "xresnet1d", "recipe": name.split("1")[0]}
        results["folds"]["0"]["networks"][name] = made.scored(row, value)
    text = recipes.tables(results)
    assert "84.3. The figure is second-hand and unverified" in text and "Challenge" not in text and "P100" not in text
    assert "| +5.0 | +5.0 | +5.0 | +5.0 |" in line(text.split("Gains over")[1], "| both1 | 1 | 1 |")
    for network in results["networks"].values():
        network["leads"] = list(LEADS)
    assert "84.3" not in recipes.tables(results)
