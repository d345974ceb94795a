"""Networks that train at once are the networks that train alone."""

import dataclasses
import functools
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from lrhnet_jax import losses
from lrhnet_jax.data import splits
from lrhnet_jax.data.batch import LeadNetwork, StepNumbers
from lrhnet_jax.data.store import make_store, random_shifts
from lrhnet_jax.experiment import graph
from lrhnet_jax.experiment import teachers as teaching
from lrhnet_jax.experiment.fold import Fold
from lrhnet_jax.experiment.together import _chunks, one_at_a_time, train_together
from lrhnet_jax.models import registry
from lrhnet_jax.runtime import interrupt
from lrhnet_jax.runtime.devices import make_parallel
from lrhnet_jax.training import checkpoint, loop, many_networks, optim, steps
from lrhnet_jax.training.run import Diverged, Run, first_state
from tests.helpers import fakes
from tests.helpers.runs import assert_same, change, without_rates
from tests.helpers.tiny import Tiny

WINDOW, BATCH, EPOCHS, PER_EPOCH = 64, 8, 2, 3
FIELDS = {
    "optimizer": "adam",
    "learning_rate": 1.0,
    "weight_decay": 5e-4,
    "epochs": EPOCHS,
    "schedule": {"name": "cosine"},
}
# What networks differ in: the weights of two teachers, alpha, the weight of the KL, temperature, learning rate.
NUMBERS = {
    "taught": ((0.6, 0.4), 0.3, None, 7.0, 3e-2),
    "other": ((0.0, 1.0), 0.5, 2.0, 2.0, 1e-2),
    "alone": ((0.0, 0.0), 1.0, 0.0, 7.0, 3e-2),
}
# Name, fold, seed of networks that train together.
MEMBERS = (("taught", 0, 0), ("other", 1, 1), ("alone", 0, 2))
PROGRAMS: tuple[dict, ...] = ({}, {}, {})  # of the folds, and of the graph; all tests share compiled steps
OPTIMIZER = optim.make(FIELDS, PER_EPOCH)


@pytest.fixture(scope="module")
def inputs():
    """Of two folds, with different numbers of records and the same number of steps."""
    store = make_store(fakes.records(60), WINDOW)
    made = []
    for number, rows in enumerate((range(26), range(30, 57))):
        key = jax.random.fold_in(jax.random.key(1), number)
        shifts = random_shifts(key, store.lengths[jnp.array(rows)], WINDOW, 2)
        logits = 3 * jax.random.normal(key, (len(rows), 2, 2, 24))
        fields = {"records": jnp.array(rows, jnp.int32), "shifts": shifts, "teacher_logits": logits}
        made.append(fakes.inputs(store, 1).replace(**fields))
    return made


@functools.cache
def initial(seed):
    return initialize(jax.random.key(seed))


@jax.jit
def initialize(key):
    return Tiny().init(key, jnp.zeros((1, WINDOW, 2)), jnp.zeros((1, 5)))


def make(inputs, folder, name="taught", number=0, seed=0, **changes):
    numbers = StepNumbers(*NUMBERS[name])
    run = Run(
        spec=steps.StepSpec(LeadNetwork(Tiny(), (0, 1)), OPTIMIZER, BATCH, WINDOW),
        name=f"{name}{number}{seed}",
        variables=initial(seed),
        inputs=inputs[number],
        numbers=numbers,
        key=jax.random.key(100 + seed),
        epochs=EPOCHS,
        schedule=optim.schedule({**FIELDS, "learning_rate": numbers.rate}, PER_EPOCH),
        score=None,
        score_name="validation_score",
        folder=folder / f"{name}{number}{seed}",
        compiled_steps=PROGRAMS[number],
    )
    return change(run, **changes)


def assert_close(a, b, atol=1e-4):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), a, b)


def distance(a, b):
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: float(np.abs(x - y).max()), a, b)))


def run_both_ways(inputs, folder, members, devices=1, **changes):
    """Trains networks at once, and each alone, by the very same runs."""

    def score(variables):  # the first epoch is better for some networks, the second for others
        return float(np.abs(np.sin(1e3 * np.asarray(variables["params"]["fc2"]["bias"]).sum())))

    runs = [make(inputs, folder, *member, score=score, **changes) for member in members]
    spread = {"parallel": make_parallel("jit", devices), "steps_per_dispatch": 1 if devices == 1 else PER_EPOCH}
    found = many_networks.train([change(run, **spread) for run in runs], folder / "population")
    lines = [(run.folder / "metrics.jsonl").read_text().splitlines() for run in runs]
    alone = [loop.train(change(run, folder=folder / "alone" / run.name)) for run in runs]
    for rows, one, many in zip(lines, alone, found, strict=True):
        assert_close(one.state.variables, many.state.variables)
        assert_close(one.state.opt_state, many.state.opt_state)
        assert [row.keys() for row in one.history] == [row.keys() for row in many.history]
        for field in ("epoch", "step", "loss", "bce", "kl", "learning_rate"):
            assert [r[field] for r in one.history] == pytest.approx([r[field] for r in many.history], abs=1e-4)
        scores = [row["validation_score"] for row in many.history]
        assert many.best_epoch == 1 + int(scores[1] > scores[0])
        assert score(many.variables) == pytest.approx(max(scores), abs=1e-6)
        assert [json.loads(row) for row in rows] == many.history
        assert jax.tree.structure(one.state) == jax.tree.structure(many.state)
    # Networks differ by far more, and so the comparisons above can fail.
    for other in found[1:]:
        assert distance(found[0].variables["params"], other.variables["params"]) > 1e-2
    return found


@pytest.mark.slow
def test_each_network_of_any_fold_is_the_one_that_trains_alone(inputs, tmp_path):
    run_both_ways(inputs, tmp_path, MEMBERS)


@pytest.mark.slow
def test_several_devices_share_out_networks_and_a_methods_memory_is_each_networks_own(inputs, tmp_path):
    recipe = steps.Recipe(method=losses.PSKD(), epochs=EPOCHS)
    members = [("taught", 0, seed) for seed in range(3)]  # on two devices: the last one fills up
    found = run_both_ways(inputs, tmp_path, members, devices=2, recipe=recipe, compiled_steps={})
    assert distance(found[0].state.auxiliary.memory, found[1].state.auxiliary.memory) > 1e-2


def test_killed_and_resumed_they_end_with_the_same_bits(inputs, tmp_path, monkeypatch):
    def runs(folder):
        return [make(inputs, tmp_path / folder, *member) for member in MEMBERS]

    whole = many_networks.train(runs("whole"), tmp_path / "whole")
    compiled = dict(PROGRAMS[0])
    for after in (2, 4):  # of three steps an epoch
        calls, wait = 0, jax.block_until_ready

        def terminate(value, wait=wait, after=after):
            nonlocal calls
            calls += 1
            if calls == after:
                os.kill(os.getpid(), signal.SIGTERM)
            return wait(value)

        interrupt.install()
        monkeypatch.setattr(jax, "block_until_ready", terminate)
        with pytest.raises(SystemExit) as stopped:
            many_networks.train(runs(f"cut{after}"), tmp_path / f"cut{after}")
        assert stopped.value.code == 0
        monkeypatch.undo()
        interrupt.install()
        resumed = many_networks.train(runs(f"cut{after}"), tmp_path / f"cut{after}")
        for one, other in zip(whole, resumed, strict=True):
            assert_same(one.state, other.state)
            assert without_rates(one.history) == without_rates(other.history)
    assert compiled == PROGRAMS[0]  # nothing was compiled again


@pytest.mark.slow
def test_a_student_without_teachers_learns_from_labels_alone_among_taught_ones(inputs, tmp_path):
    train_fields = common.experiment("test", common.parse(None), {}).train.to_dict()
    network = graph.Network("alone", "lrhnet", ("I", "II"), train=train_fields)
    numbers = teaching.make_numbers(network, ("a", "b")).traced(jax.random.key(0))
    logits, labels, taught = (jax.random.normal(jax.random.key(i), (2, 8, 24)) for i in range(3))
    loss, parts = steps._base_loss(logits[0], labels[0], taught, numbers, teaching.make_recipe(network))
    assert loss == parts["bce"] == losses.bce(logits[0], labels[0]) and parts["kl"] == 0
    run = make(inputs, tmp_path, "alone")
    plain = loop.train(
        dataclasses.replace(
            run,
            inputs=inputs[0].replace(teacher_logits=jnp.zeros((26, 0, 0, 24))),
            numbers=StepNumbers(rate=run.numbers.rate),
            folder=tmp_path / "plain",
            compiled_steps=None,
        )
    )
    assert_close(loop.train(run).variables, plain.variables, atol=1e-6)


def test_a_taught_network_weighs_its_own_teachers_among_all():
    train_fields = common.experiment("test", common.parse(None), {}).train.to_dict()
    network = graph.Network("n", "lrhnet", ("I",), {"b": 0.7, "a": 0.3}, train=train_fields)
    among = teaching.make_numbers(network, ("a", "x", "b"))
    assert among.weights == (0.3, 0.0, 0.7) and (among.alpha, among.kl_weight) == (0.3, None)


def test_data_and_teachers_are_there_once_whatever_the_number_of_networks(inputs, tmp_path):
    parallel = make_parallel("jit", 2)
    runs = [make(inputs, tmp_path, *member, parallel=parallel) for member in [*MEMBERS, MEMBERS[0]]]
    together = many_networks.Together(runs)
    state = together.place(many_networks.stack([first_state(run) for run in runs]))
    # As GPUs and TPUs get it.
    exported = jax.export.export(together.program(PER_EPOCH), platforms=["cuda", "tpu"])(*together.arguments(state))
    lowered = exported.mlir_module()
    assert exported.nr_devices == 2 and "jax.buffer_donor" in lowered  # the state is donated
    rows, records = len(inputs[0].store.signals), 26 + 27
    for shape in (f"{rows}x12xf16", f"{records}x2x2x24xf32", f"{records}x2xi32"):
        assert f"tensor<{shape}>" in lowered
        assert f"x{shape}>" not in lowered  # no leading axis
    assert len(state.step.sharding.device_set) == 2 and state.step.shape == (4,)


def test_a_network_that_diverges_is_named(inputs, tmp_path):
    runs = [make(inputs, tmp_path, *member) for member in MEMBERS]
    runs[1] = dataclasses.replace(runs[1], variables=jax.tree.map(lambda leaf: leaf * jnp.nan, runs[1].variables))
    with pytest.raises(Diverged, match="other11: the loss is nan in epoch 1"):
        many_networks.train(runs, tmp_path / "population")


@pytest.fixture
def tiny_graph(monkeypatch):
    """A graph of two teachers and students of two sets, and how to make its folds."""
    monkeypatch.setitem(registry._MODELS, "tiny", Tiny)
    monkeypatch.setattr(many_networks, "pays", lambda: True)
    config = common.experiment("test", common.parse("preset=demo,data=synthetic"), {})
    config.window, config.windows_per_record, config.population, config.fold = WINDOW, 2, 4, "all"
    config.train.epochs, config.train.batch_size, config.train.keep = 2, 16, "last"
    config.evaluation.protocol = "reference"  # as many records in every fold: fewer programs
    fields = config.train.to_dict()
    first = graph.Network("first", "tiny", ("I", "II"), train=fields)
    networks = [first, graph.Network("second", "tiny", ("I", "II"), train=fields, seed=1)]
    networks += [
        graph.Network(f"both_{seed}", "tiny", ("I",), {"first": 0.6, "second": 0.4}, train=fields, seed=seed)
        for seed in (0, 1)
    ]
    networks += [graph.Network("one", "tiny", ("I",), {"second": 1.0}, train={**fields, "learning_rate": 1e-2})]
    networks += [graph.Network("alone", "tiny", ("I",), train=fields)]
    records = fakes.records(80)
    store = make_store(records, WINDOW)

    programs = PROGRAMS[2]
    parted = {i: splits.make(records, i, config.evaluation.protocol, 10) for i in (0, 1)}
    sizes = [len(split.train) for split in parted.values()]

    def make_folds(workdir, devices=1):
        parallel = make_parallel("jit", devices)
        placed = parallel.replicate(store)
        return config, [
            Fold(config, networks, records, placed, parallel, i, parted[i], sizes, workdir / f"fold{i}", programs)
            for i in (0, 1)
        ]

    return make_folds


@pytest.fixture
def ran(monkeypatch):
    """The names of the networks that trained at once, one list for each time."""
    names, train = [], many_networks.train
    monkeypatch.setattr(
        many_networks, "train", lambda runs, folder: names.append([j.name for j in runs]) or train(runs, folder)
    )
    return names


@pytest.mark.slow
def test_a_graph_is_trained_at_once_over_folds(tiny_graph, ran, tmp_path, monkeypatch):
    config, folds = tiny_graph(tmp_path / "many")
    keep, kept = Fold.keep, []

    def kill(self, network, result):  # with the first network of the second population saved, and the other not
        kept.append(network.name)
        if len(kept) == 6:
            raise KeyboardInterrupt
        keep(self, network, result)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Fold, "keep", kill)
        train_together(config, folds, tmp_path / "many")
    config, folds = tiny_graph(tmp_path / "many")
    train_together(config, folds, tmp_path / "many")
    # Two folds of two teachers; then of the four students, at most four at once.
    assert [len(names) for names in ran] == [4, 4, 4, 4] and ran[1] == ran[2]
    assert len({name for names in ran for name in names}) == 12
    assert not list((tmp_path / "many/populations").iterdir())
    _, alone = tiny_graph(tmp_path / "alone")
    one, many = alone[1], folds[1]
    for network in one.networks[:3]:  # the teachers and a student
        one.obtain(network)
        expected, found = (f.folder_of(network) for f in (one, many))
        assert sorted(p.name for p in expected.iterdir()) == sorted(p.name for p in found.iterdir())
        (meta, a), (other_meta, b) = map(checkpoint.load_model, (expected, found))
        assert meta == other_meta
        assert_close(a, b, atol=5e-4)
        assert one.trained[network.name].log["best_epoch"] == many.trained[network.name].log["best_epoch"]


def test_networks_go_on_alone_where_one_of_them_began_alone_or_devices_are_more(tiny_graph, ran, tmp_path):
    config, folds = tiny_graph(tmp_path)
    folds[1].obtain(folds[1].networks[0])
    train_together(config, folds, tmp_path)
    assert [len(names) for names in ran] == [4, 4]
    assert not {"first", "second"} & {name.split()[0] for names in ran for name in names}
    assert all(len(one.trained) == 6 for one in folds)
    config, folds = tiny_graph(tmp_path / "eight", devices=8)
    chunks = [_chunks(config, folds, networks) for networks in graph.populations(folds[0].networks)]
    assert {len(members) for chunk in chunks for members in chunk} == {1}


def test_what_trainsone_at_a_time_and_why(monkeypatch):
    store, one = make_store(fakes.records(10), WINDOW), make_parallel("jit", 1)
    assert "on CPUs" in one_at_a_time(one, store)
    monkeypatch.setattr(many_networks, "pays", lambda: True)
    assert one_at_a_time(one, store) == ""
    assert "pmap" in one_at_a_time(make_parallel("pmap", 2), store)
    streamed = make_store(fakes.records(10), WINDOW, resident=False)
    assert "streamed" in one_at_a_time(one, streamed)
