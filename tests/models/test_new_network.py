"""A new network is one file and one line in the registry: it is added here, and goes wherever networks go."""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tests.helpers
from configs import common
from lrhnet_jax import losses, models
from lrhnet_jax.compress import channels, weight_masks
from lrhnet_jax.deploy import fold_batchnorm
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.experiment import graph
from lrhnet_jax.models import description, layers, registry, torch_weights
from tests.helpers import fakes

LEADS, CLASSES, WINDOW = 2, 5, 33
FOLDER = pathlib.Path(tests.helpers.__path__[0], "new_network")  # of stepped.py


@pytest.fixture(autouse=True)
def stepped(monkeypatch):
    """Puts the file where the others lie, and the line where the others stand."""
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(FOLDER)])
    monkeypatch.setitem(registry._MODELS, "stepped", "stepped:Stepped")
    monkeypatch.setattr(models, "NAMES", tuple(registry._MODELS))
    yield
    sys.modules.pop("lrhnet_jax.models.stepped", None)


def describe_less(monkeypatch, **fields):
    """Registers the same network with another description."""

    class Terse(registry.network_class("stepped")):
        description = description.Description(head="answer", stem="entry/conv", **fields)

    monkeypatch.setitem(registry._MODELS, "terse", Terse)


def make(dtype=jnp.float32, **options):
    model = models.create("stepped", LEADS, num_classes=CLASSES, param_dtype=dtype, **options)
    random = np.random.default_rng(0)
    signal = jnp.asarray(random.normal(size=(4, WINDOW, LEADS)), dtype)
    person = jnp.asarray(random.uniform(size=(4, 5)), dtype)
    return model, fakes.variables(model, signal, person), signal, person


@pytest.mark.slow
def test_it_is_created_and_counted():
    model, variables, signal, person = make()
    output = model.apply(variables, signal, person)
    assert output.logits.shape == (4, CLASSES)
    assert {name: x.shape[1:] for name, x in output.features.items()} == {
        "stem": (8, 6),
        "layer1": (8, 6),
        "layer2": (8, 6),
        "pooled": (6,),
    }
    block = 3 * 6 * 8 + 2 * 8 + 3 * 8 * 6 + 6
    assert models.count_parameters(variables["params"]) == (4 * LEADS * 6 + 2 * 6) + 2 * block + 11 * CLASSES + CLASSES
    macs = 8 * (4 * LEADS * 6 + 2 * 2 * 3 * 6 * 8) + 11 * CLASSES
    assert models.multiply_accumulates("stepped", LEADS, WINDOW, num_classes=CLASSES) == macs
    with pytest.raises(ConfigError, match="stepped has no option width; its options are axis_name, inner"):
        models.create("stepped", LEADS, width=3)
    with pytest.raises(ConfigError, match=r"unknown model 'step'; choose one of lrhnet, .*, stepped"):
        models.create("step", LEADS)


def torch_network(torch):
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.widen = torch.nn.Conv1d(6, 8, 3, padding=1, bias=False)
            self.norm = torch.nn.BatchNorm1d(8)
            self.narrow = torch.nn.Conv1d(8, 6, 3, padding=1)

        def forward(self, x):
            return x + self.narrow(torch.relu(self.norm(self.widen(x))))

    class Stepped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = torch.nn.Sequential(torch.nn.Conv1d(LEADS, 6, 4, 4, bias=False), torch.nn.BatchNorm1d(6))
            self.first, self.step = Block(), torch.nn.ModuleDict({"1": Block()})
            self.head = torch.nn.ModuleDict({"out": torch.nn.Linear(11, CLASSES)})

        def forward(self, signal, person):
            x = self.step["1"](self.first(torch.relu(self.stem(signal)))).mean(2)
            return self.head["out"](torch.cat([x, person], 1))

    return Stepped().eval()


def test_its_weights_go_to_pytorch_and_back(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    model, variables, signal, person = make()
    network = torch_network(torch)
    arrays = torch_weights.to_torch("stepped", variables)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
    with torch.no_grad():
        expected = network(torch.tensor(np.array(signal)).mT, torch.tensor(np.array(person))).numpy()
    np.testing.assert_allclose(model.apply(variables, signal, person).logits, expected, atol=1e-5)
    torch.save({"state_dict": torch.nn.DataParallel(network).state_dict()}, tmp_path / "stepped.pth")
    back = torch_weights.from_torch("stepped", torch_weights.load_pth(tmp_path / "stepped.pth"))
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_without_a_counterpart_in_pytorch_that_is_said(monkeypatch):
    describe_less(monkeypatch)
    _, variables, *_ = make()
    for call in (torch_weights.to_torch, torch_weights.from_torch):
        with pytest.raises(ConfigError, match="terse has no counterpart in PyTorch: its description"):
            call("terse", variables)


@pytest.mark.slow
def test_its_batchnorm_folds_with_equal_outputs(monkeypatch):
    with jax.enable_x64(True):
        model, variables, signal, person = make(jnp.float64)
        folded = fold_batchnorm.fold("stepped", variables)
        assert folded["batch_stats"] == {}  # all three are gone
        plain, after = model.apply(variables, signal, person), model.apply(folded, signal, person)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12), after, plain)
    with pytest.raises(ConfigError, match="these variables have nothing to fold: they are folded already"):
        fold_batchnorm.fold("stepped", folded)
    describe_less(monkeypatch)
    with pytest.raises(ConfigError, match="terse has nothing to fold: its description names no BatchNorm"):
        fold_batchnorm.fold("terse", variables)


@pytest.mark.slow
def test_its_channels_are_pruned():
    model, variables, signal, person = make()
    dense = channels.dense_masks("stepped", variables["params"])
    assert {name: mask.shape for name, mask in dense.items()} == {"step_0/widen": (8,), "step_1/widen": (8,)}
    masks = weight_masks.keep_largest(channels.importance("stepped", variables["params"], dense), dense, 9)
    smaller = models.create("stepped", LEADS, num_classes=CLASSES, inner=channels.widths(masks))
    assert sum(smaller.inner) == 9
    found = smaller.apply(channels.shrink("stepped", variables, masks), signal, person)
    expected = model.apply(channels.silence("stepped", variables, masks), signal, person)
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)
    assert not np.allclose(found.logits, model.apply(variables, signal, person).logits, atol=1e-2)


def test_without_channels_to_prune_that_is_said(monkeypatch):
    describe_less(monkeypatch)
    with pytest.raises(ConfigError, match=r"terse cannot be pruned by channels; these can: lrhnet, .*, stepped"):
        channels.dense_masks("terse", make()[1]["params"])
    monkeypatch.setattr(models, "NAMES", tuple(registry._MODELS))
    node = common.network("terse", ("I", "II"), prune=common.pruning(unit="channel"))
    with pytest.raises(ConfigError, match=r"n\.prune\.unit: terse has no channels to prune; choose lrhnet, .*stepped"):
        graph.parse({"n": node.to_dict()}, {})


def test_its_weights_are_pruned_but_for_the_output_layer():
    params = make()[1]["params"]
    masks = weight_masks.dense_masks(params, models.head("stepped"))
    assert masks["answer"]["kernel"].shape == () and masks["step_0"]["widen"]["kernel"].shape == (3, 6, 8)
    with pytest.raises(ConfigError, match="no output layer 'fc' among answer, entry, step_0, step_1"):
        weight_masks.dense_masks(params, "fc")


@pytest.mark.slow
def test_it_trains():
    """The step itself, on three kinds of tones: see `fakes.train`."""
    training = fakes.train(models.create("stepped", 2, num_classes=3), count=60)
    assert training.losses[-10:].mean() < 0.8 * training.losses[:5].mean()


@pytest.mark.parametrize(
    ("module", "student", "teacher"),
    [
        (losses.Hints("layer2", "stem"), "stepped", "lrhnet"),
        (losses.Hints("stem", "layer2"), "lrhnet", "stepped"),
        (losses.CrossLayer(expansion=0.5), "stepped", "lrhnet"),
        (losses.CrossLayer(expansion=0.5), "lrhnet", "stepped"),
        (losses.Embeddings(dim=8), "stepped", "lrhnet"),
    ],
)
def test_its_features_are_read(module, student, teacher):
    def features(name):
        model, inputs = models.create(name, LEADS), (jnp.zeros((4, WINDOW, LEADS)), jnp.zeros((4, 5)))
        return jax.eval_shape(model.init_with_output, jax.random.key(0), *inputs)[0].features

    shapes = jax.eval_shape(module.init, jax.random.key(0), features(student), features(teacher))
    assert jax.tree.leaves(shapes["params"])
    if isinstance(module, losses.CrossLayer):  # a projection for every pair of layers: two, and LRH-Net's three
        assert sum(name.startswith("projection") for name in shapes["params"]) == 6
    with pytest.raises(ValueError, match="no feature map 'layer3' over time; choose one of stem, layer1, layer2"):
        jax.eval_shape(losses.Hints("layer3").init, jax.random.key(0), features("stepped"), features("lrhnet"))


@pytest.mark.parametrize("preset", common.PRESETS)
def test_configs_name_it(preset):
    networks = {
        "teacher": common.network("lrhnet", ("I", "II")),
        "student": common.network("stepped", ("I",), teachers={"teacher": 1.0}, prune=common.pruning(unit="channel")),
    }
    config = common.experiment("test", common.parse(f"preset={preset},data=synthetic"), networks)
    student = graph.parse(config.networks.to_dict(), config.train.to_dict())[1]
    assert (student.name, student.model, student.options) == ("student", "stepped", {})
    assert student.train["epochs"] == (24 if preset == "demo" else 90)
    assert models.create(student.model, student.leads, **student.options) == registry.network_class("stepped")()


def test_a_preset_knows_what_it_says_of_itself(monkeypatch):
    describe_less(monkeypatch, shortest_window=3000, demo_epochs=2, reference_options={"inner": (3, 3)})
    networks = {"one": common.network("terse", ("I",))}
    demo = common.experiment("test", common.parse("preset=demo,data=synthetic"), networks)
    assert (demo.window, demo.networks.one.train.epochs) == (4096, 2)
    reference = common.experiment("test", common.parse("preset=reference,data=synthetic"), networks)
    assert reference.networks.one.options.inner == (3, 3)


def test_what_a_description_says_by_default():
    """Enough to be created, trained and scored."""
    assert layers.Network.description == description.Description()
    assert not description.Description().folds and not description.Description().channels
