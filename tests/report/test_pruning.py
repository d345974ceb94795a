import pytest

from lrhnet_jax.report import figures, page, pruning
from tests.helpers.results import make_pruning, make_results, section


@pytest.fixture
def results():
    made = make_results()
    networks = made["folds"]["0"]["networks"]
    networks["student"]["pruning"] = make_pruning()
    (other,) = [name for name in networks if name != "student"][:1]
    ticket = [dict(make_pruning()["rounds"][0], kept=500, score=0.7)]
    networks[other]["pruning"] = make_pruning(control="random_init", ticket="student", round=0, rounds=ticket)
    return made


def test_the_section_has_sizes_and_every_round_beside_the_papers_number(results):
    text = section(page.markdown(results), "Pruning")
    assert "142 times fewer parameters at an F1 loss under 1 %" in text
    assert "Zeros make a network smaller to store, not faster to run" in text
    assert "| weights | 2.0 (1.8) | 1 of 2 | 81.0 (dense 80.0) | 4,400 | 2,525 (bitmap) | 4,000 | 3.0 | 2.5 |" in text
    assert "| weights, the size of student, another initialisation | 2.0 (1.8) |  | 70.0 | 4,400" in text
    assert "Rounds of student, fold 0; the search ended because the rate has fallen below 0.01:" in text
    assert "| 1 | 0 | 50.00 % | 500 | 2.0 | 81.0 | good |" in text
    assert "| 2 | 1 | 50.00 % | 250 | 4.0 | - | step back |" in text
    assert text.count("| round |") == 1  # a ticket that is only trained has no rounds


def test_channels_have_no_sparse_code(results):
    results["folds"]["0"]["networks"]["student"]["pruning"] = make_pruning(
        unit="channel", sparse_bytes=None, sparse_code=None
    )
    text = pruning.section(results)
    assert "| channels | 2.0 (1.8) | 1 of 2 | 81.0 (dense 80.0) | 4,400 |  | 4,000 |" in text
    assert "channels kept" in text


def test_without_a_pruned_network_there_is_neither_section_nor_figure(tmp_path):
    results = make_results()
    assert pruning.section(results) == "" and "## Pruning" not in page.markdown(results)
    assert pruning.figure(results) is None
    assert not any("pruning" in path for path, _ in figures.write(results, tmp_path))


@pytest.mark.slow
def test_the_figure_shows_searches(results, tmp_path):
    axes = pruning.figure(results).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "student (weights)",
        "LTH-ECG, published: 142",
    ]
    assert ("figures/pruning.png", pruning.CAPTION) in figures.write(results, tmp_path / "figures")
