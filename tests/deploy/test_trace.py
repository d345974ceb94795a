"""Networks as graphs: nothing of what they compute is lost, and what integers cannot do is refused by name."""

from collections import OrderedDict

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrhnet_jax import models
from lrhnet_jax.deploy.int8 import fuse, graph, trace
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.models import layers
from tests.helpers import fakes, int8
from tests.helpers.sketch import Sketch

NETWORKS = {
    "lrhnet": (models.create("lrhnet", 2), 512),
    "lrhnet of an odd window, pruned, no ReLU in its head": (
        models.create("lrhnet", 3, head_relu=False, inner=(5, 9, 31)),
        515,
    ),
    "resnet34": (models.create("resnet34", 1, num_classes=4, width=2), 300),
    "resnet34 with demographics": (models.create("resnet34", 1, num_classes=4, width=2, use_demographics=True), 300),
    "cnn1d": (models.create("cnn1d", 1, inner=(8, 8, 8)), 2304),
    "sketch": (Sketch(), 512),
    "sketch of odd sizes": (Sketch(pool=(3, 2, 1), blocks=((8, 4, 1, False), (6, 5, 3, True)), maximum=False), 333),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_traced_and_fused_graphs_compute_what_the_network_does(name):
    model, window = NETWORKS[name]
    made = int8.make(model, window, 2)
    for one in (made.traced, made.graph):
        found = jax.jit(lambda *inputs, one=one: graph.run(one, *inputs)[one.output])(made.signal, made.demographics)
        np.testing.assert_allclose(found, made.logits, atol=2e-5 * max(1, np.abs(made.logits).max()))


def test_a_block_becomes_its_two_convolutions_and_squeeze_excite():
    operations = int8.make(models.create("lrhnet", 2), 512, 2).graph.operations
    block = [name for name in operations if name.startswith("layer2_0/")]
    own = ["conv1", "conv2/means", "se/mean", "se/fc_0", "se/fc_2", "se/sigmoid", "downsample", "conv2"]
    assert block == [f"layer2_0/{name}" for name in own]
    last = operations["layer2_0/conv2"]
    assert (last.gate, last.residual) == ("layer2_0/se/sigmoid", "layer2_0/downsample")
    assert operations["layer2_0/se/mean"].shares == "layer2_0/conv2"


def test_batch_norm_behind_a_relu_moves_its_bound():
    conv = int8.make(models.create("lrhnet", 2), 512, 2).graph.operations["layer1_0/conv1"]
    lower, upper = np.isfinite(conv.low), np.isfinite(conv.high)
    assert (lower ^ upper).all() and lower.any() and upper.any()  # BatchNorm turns the sign of some channels


def test_inputs_that_a_network_ignores_are_left_out():
    assert graph.DEMOGRAPHICS not in int8.make(*NETWORKS["resnet34"], 2).graph.operations


def test_a_layer_without_a_counterpart_is_refused_by_its_name():
    model = models.create("xresnet1d", 2, depth=18, width=4)
    variables = fakes.variables(model, jnp.zeros((1, 256, 2)), jnp.zeros((1, 5)))
    with pytest.raises(ConfigError, match=r"layer layer2_0: its operation 'add' on \(1, 32, 4\)"):
        trace.trace(lambda *inputs: model.apply(variables, *inputs).logits, 256, 2)


class Strange(layers.Network):
    """A network with one operation between two layers."""

    what: str = ""

    @nn.compact
    def __call__(self, signal, demographics, train=False):
        x = layers.Conv1D(4, 3, name="conv1")(signal)
        x = {
            "tanh": lambda x: jnp.tanh(x),
            "time": lambda x: x * jnp.arange(1.0, x.shape[1] + 1)[None, :, None],
            "stride": lambda x: jnp.maximum(x[:, ::2], x[:, 4::2][:, :1]),
            "dilated": lambda x: jax.lax.conv_general_dilated(
                x, jnp.ones((3, 4, 4)), (1,), "SAME", rhs_dilation=(2,), dimension_numbers=("NWC", "WIO", "NWC")
            ),
            "sequence": lambda x: x,
        }[self.what](x)
        if self.what == "sequence":
            return layers.Output(x, OrderedDict())
        return layers.Output(layers.Dense(self.num_classes, name="fc")(x.mean(1)), OrderedDict())


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("tanh", "'tanh'"),
        ("time", "'mul'"),
        ("stride", "'slice'|'max'|'gather'"),
        ("dilated", "'conv_general_dilated'"),
        ("sequence", "no vector of logits"),
    ],
)
def test_what_integers_cannot_do_is_refused(what, message):
    model = Strange(what=what)
    signal, person = jnp.zeros((1, 64, 2)), jnp.zeros((1, 5))
    variables = model.init(jax.random.key(0), signal, person)
    with pytest.raises(ConfigError, match=message):
        trace.trace(lambda *inputs: model.apply(variables, *inputs).logits, 64, 2)


def test_a_sum_of_a_scaled_tensor_keeps_its_factor():
    """Every way in which pointwise operations can follow one another, against the same in floating point."""
    rng = np.random.default_rng(0)
    kernel, dense = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((3, 2, 4), (4, 3)))
    scale, shift = (jnp.asarray(rng.normal(size=(1, 1, 4)), jnp.float32) for _ in range(2))

    def answer(signal, demographics):
        x = jax.lax.conv_general_dilated(
            signal, kernel, (1,), ((1, 1),), dimension_numbers=("NWC", "WIO", "NWC"), precision="highest"
        )
        a = nn.relu(x * scale + shift) * -scale + 0.5
        b = jnp.minimum(1.0 - a, 0.7) / 3.0
        return (b - jnp.maximum(0.2, x)).sum(1) @ dense

    signal, person = int8.windows(4, 40, 2)
    one = fuse.fuse(trace.trace(answer, 40, 2))
    found = graph.run(one, jnp.asarray(signal[:1]), jnp.asarray(person[:1]))[one.output]
    np.testing.assert_allclose(found, answer(signal[:1], person[:1]), rtol=1e-4)
