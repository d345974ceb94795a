"""The picture of the README: the graph of its config, and the page of ECG above."""

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from benchmarks import picture
from configs import chain, pmlkd
from lrhnet_jax.experiment import graph


def draw(config):
    axes = Figure().subplots()
    networks = graph.parse(config.networks, config.train)
    picture.draw_graph(axes, networks)
    return networks, [text.get_text() for text in axes.texts if text.get_text()]


def test_every_network_and_every_weight_is_drawn():
    _, texts = draw(pmlkd.get_config())
    assert "SE-ResNet\n12 leads, 8,837,060 parameters" in texts
    assert "LRH-Net\nleads I, II, 83,236 parameters" in texts
    assert sorted(text for text in texts if "teaches" in text) == ["teaches, 0.4", "teaches, 0.6"]


def test_teachers_stand_to_the_left_of_those_they_teach():
    networks, _ = draw(chain.get_config())
    at = picture.places(networks)
    assert all(at[teacher][0] < at[network.name][0] for network in networks for teacher in network.teachers)
    assert len(set(at.values())) == len(networks)


@pytest.mark.slow
def test_the_command_writes_an_image(tmp_path):
    path = picture.main([f"--output={tmp_path / 'picture.png'}"])
    height, width, _ = imread(path).shape
    assert width > height > 500
