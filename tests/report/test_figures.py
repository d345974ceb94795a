"""Figures of generated ECGs say so, beside what they show and not on top of it."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lrhnet_jax import tasks
from lrhnet_jax.report import figures
from tests.helpers.results import make_pruning, make_recipe_results, make_results

MARK = "SYNTHETIC DATA"


def whole():
    results = make_results(folds=("0", "1"), synthetic=True)
    results["folds"]["0"]["networks"]["student"]["pruning"] = make_pruning()
    return results


def exclusive():
    return make_results(task=tasks.PHYSIONET2017, dataset="synthetic_physionet2017", synthetic=True)


def of_recipes():
    results = make_recipe_results()
    results["dataset"] |= {"name": "synthetic", "synthetic": True}
    return results


DRAWN = {
    whole: {"training", "per_class", "pruning", "classes", "co_occurrence"},
    exclusive: {"training", "per_class", "confusion", "classes"},
    of_recipes: {"training", "per_class", "classes", "co_occurrence"},
}


def boxes(figure, renderer):
    """Yields what a figure shows, and its bounding box in pixels: plots, axes with their labels, titles, legends."""
    for axes in figure.axes:
        yield "plot", axes.get_window_extent(renderer)
        for axis in (axes.xaxis, axes.yaxis):
            box = axis.get_tightbbox(renderer)  # tick labels, and the axis label
            if box is not None:
                yield f"{axis.axis_name} axis {axis.get_label_text()!r}", box
        if axes.get_title():
            yield f"title {axes.get_title()!r}", axes.title.get_window_extent(renderer)
        for legend in filter(None, [axes.get_legend()]):
            yield "legend", legend.get_window_extent(renderer)
    for legend in figure.legends:
        yield "legend of the figure", legend.get_window_extent(renderer)


@pytest.mark.parametrize("make", DRAWN, ids=lambda make: make.__name__)
def test_the_marker_of_synthetic_data_covers_nothing(make):
    drawn = {name: figure for name, figure, _ in figures.draw(make())}
    assert set(drawn) == DRAWN[make]
    for name, figure in drawn.items():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        (marker,) = [text for text in figure.findobj(lambda artist: getattr(artist, "get_text", str)() == MARK)]
        place = marker.get_window_extent(renderer)
        shown = list(boxes(figure, renderer))
        assert len(shown) >= 3
        assert [what for what, box in shown if box.overlaps(place)] == [], name
        assert place.x0 >= 0 and place.y0 >= -1 and place.x1 <= figure.bbox.x1  # a pixel of the font is empty


def test_figures_of_patients_have_no_marker():
    for _, figure, _ in figures.draw(make_results()):
        assert figure.get_supxlabel() == ""
        assert not figure.findobj(lambda artist: getattr(artist, "get_text", str)() == MARK)
