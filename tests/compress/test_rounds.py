"""Rounds of pruning on made-up data: what they start from, what they keep, and that they resume."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest

from lrhnet_jax import models
from lrhnet_jax.compress import rounds, search, weight_masks
from lrhnet_jax.data.store import make_store
from lrhnet_jax.errors import CheckpointError, DataError
from lrhnet_jax.runtime import files
from lrhnet_jax.runtime.devices import Parallel
from lrhnet_jax.runtime.files import write_json, write_text
from lrhnet_jax.training import checkpoint, loop, optim
from lrhnet_jax.training import run as run_module
from lrhnet_jax.training.run import Run, first_state
from lrhnet_jax.training.state import init_variables, variable_shapes
from lrhnet_jax.training.steps import StepSpec
from tests.helpers import fakes

WINDOW, BATCH, EPOCHS, PER_EPOCH = 64, 8, 2, 3
FIELDS = {
    "optimizer": "adam",
    "learning_rate": 1e-2,
    "weight_decay": 5e-4,
    "epochs": EPOCHS,
    "schedule": {"name": "cosine"},
}
WEIGHTS = 79_218  # of LRH-Net on two leads, that can be pruned


@pytest.fixture(scope="module")
def inputs():
    return fakes.inputs(make_store(fakes.records(40), WINDOW), BATCH * PER_EPOCH)


@pytest.fixture(scope="module")
def variables():
    return init_variables(fakes.lead_network().model, jax.random.key(0), 2, WINDOW)


def nonzero(variables):
    leaves = jax.tree.leaves(weight_masks.dense_masks(variables["params"], "fc2"))
    return sum(np.count_nonzero(p) for m, p in zip(leaves, jax.tree.leaves(variables["params"]), strict=True) if m.ndim)


def make(folder, inputs, variables, score=lambda lead_network, variables: 1.0, ticket=None, **settings):
    lead_network = fakes.lead_network()
    optimizer = optim.make(FIELDS, PER_EPOCH)
    return rounds.Lottery(
        dense=Run(
            spec=StepSpec(lead_network, optimizer, BATCH, WINDOW),
            name="student",
            variables=variables,
            inputs=inputs,
            key=jax.random.key(3),
            epochs=EPOCHS,
            schedule=optim.schedule(FIELDS, PER_EPOCH),
            score=None,
            score_name="validation_score",
            folder=folder,
            compiled_steps={},
        ),
        settings=search.Settings(**({"rate": 0.5, "max_rounds": 2} | settings)),
        name="lrhnet",
        options={},
        create=lambda options: models.create("lrhnet", 2, **options),
        init=lambda key: init_variables(lead_network.model, key, 2, WINDOW),
        score=score,
        describe=lambda variables, options: {
            "name": "student",
            "model": "lrhnet",
            "options": options,
            "leads": ["I", "II"],
            "classes": [f"c{i}" for i in range(24)],
            "preprocess": "paper",
            "window": WINDOW,
        },
        key=jax.random.key(9),
        ticket=ticket,
    )


@pytest.fixture
def starts(monkeypatch):
    """The runs that were trained, by their folder's name, and the state they started from (None: a fresh one)."""
    seen = {}
    train = loop.train

    def spy(run):
        progress = checkpoint.Progress(run.folder)
        begun = progress.restore(first_state(run))
        progress.close()
        seen.setdefault(run.folder.name, (run, begun[0] if begun else None))
        return train(run)

    monkeypatch.setattr(loop, "train", spy)
    return seen


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def masks_of(folder, index):
    return weight_masks.load(
        folder / f"rounds/{index:03d}/masks.npz", make(folder, None, variables_shapes())._dense_masks
    )


def variables_shapes():
    return variable_shapes(fakes.lead_network().model, 2, WINDOW)


@pytest.mark.slow
def test_rounds_are_nested_rewound_and_kept_at_zero_with_one_compilation(
    tmp_path, inputs, variables, starts, monkeypatch
):
    compiled, names = [], []
    compile_, write = Parallel.compile, write_json
    monkeypatch.setattr(Parallel, "compile", lambda self, *arguments: compiled.append(1) or compile_(self, *arguments))
    begun = []  # how many programs XLA had built, whatever for, as each round ended

    def count(path, value):
        if path.name == "rounds.json":
            begun.append(len(names))
        write(path, value)

    monkeypatch.setattr(rounds, "write_json", count)
    listener = lambda name, *_, **__: names.append(name) if "backend_compile" in name else None  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        trained, options, log = make(tmp_path, inputs, variables, max_rounds=3).run()
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    assert len(compiled) == 1
    assert begun[0] > 0 and begun[2] == begun[3]  # nothing at all is compiled for the last round

    masks = [masks_of(tmp_path, index) for index in range(4)]
    assert [weight_masks.kept(m) for m in masks] == [WEIGHTS, 39_609, 19_804, 9_902]
    for outer, inner in itertools.pairwise(masks):
        assert all(not (i & ~o).any() for i, o in zip(jax.tree.leaves(inner), jax.tree.leaves(outer), strict=True))
    for index, mask in enumerate(masks):
        run, begun_at = starts[f"{index:03d}"]
        assert begun_at is None
        # Survivors start as they were initialised, bit for bit, and the others at zero.
        assert_same(run.variables["params"], weight_masks.apply(mask, variables["params"]))
    assert_same(trained["params"], weight_masks.apply(masks[3], trained["params"]))
    assert nonzero(trained) == 9_902 and options == {}
    facts = log["pruning"]
    assert (facts["round"], facts["kept"], facts["ending"]) == (3, 9_902, "all 3 rounds have run")
    assert facts["compression"] == pytest.approx(8, rel=1e-3) and [r["kept"] for r in facts["rounds"]][1:] == [
        39_609,
        19_804,
        9_902,
    ]
    assert facts["sparse_bytes"] < facts["dense_bytes"] / 3 and facts["structured_bytes"] <= facts["dense_bytes"]
    # What is no longer needed is gone, but every round's mask stays.
    assert [(tmp_path / f"rounds/{i:03d}/variables").exists() for i in range(4)] == [False, False, False, True]


@pytest.mark.slow
def test_the_smallest_weights_of_the_trained_round_go(tmp_path, inputs, variables):
    kept = []

    def score(lead_network, trained):
        kept.append(trained)
        return 1.0

    make(tmp_path, inputs, variables, score, max_rounds=1).run()
    dense = weight_masks.dense_masks(variables["params"], "fc2")
    assert_same(masks_of(tmp_path, 1), weight_masks.keep_largest(kept[0]["params"], dense, WEIGHTS // 2))


@pytest.mark.slow
def test_a_search_that_is_killed_anywhere_ends_with_the_same_bits(tmp_path, inputs, variables, monkeypatch):
    def score(lead_network, trained):
        return 1.0 if nonzero(trained) > 30_000 else 0.5

    settings = {"max_rounds": 4, "floor": 0.2}
    whole = make(tmp_path / "whole", inputs, variables, score, **settings).run()
    assert [r["decision"] for r in whole[2]["pruning"]["rounds"]] == ["dense", "good", "below", "step back", "below"]
    write, load, save = write_text, checkpoint.load_model, checkpoint.save_model

    class Killed(BaseException):
        pass

    survived, calls = 0, 0

    def dying(function, after):
        def call(*arguments):
            nonlocal calls
            calls += 1
            if after:
                function(*arguments)
            if calls > survived:
                raise Killed
            return None if after else function(*arguments)

        return call

    folder, kills = tmp_path / "cut", 0
    while True:
        calls, survived = 0, survived + 3
        for module in (files, run_module):
            monkeypatch.setattr(module, "write_text", dying(write, after=kills % 2 == 0))
        monkeypatch.setattr(checkpoint, "save_model", dying(save, after=kills % 2 == 1))
        monkeypatch.setattr(checkpoint, "load_model", dying(load, after=False))
        try:
            resumed = make(folder, inputs, variables, score, **settings).run()
            break
        except Killed:
            kills += 1
    assert kills >= 3
    assert_same(whole[0], resumed[0])
    assert whole[2]["pruning"] == resumed[2]["pruning"]


@pytest.mark.slow
def test_rounds_rewind_to_a_step_of_the_dense_training(tmp_path, inputs, variables, starts):
    at = 4  # of 6 steps: in the second epoch
    early, late = tmp_path / "early", tmp_path / "late"
    make(early, inputs, variables, max_rounds=1).run()
    first = starts.pop("000")[0]
    starts.clear()
    trained = make(late, inputs, variables, max_rounds=1, rewind=at / 6).run()[0]
    reached = loop.train(dataclasses.replace(first, folder=tmp_path / "plain", stop=at)).state
    assert int(reached.step) == at
    for name in ("000", "001"):
        mask = masks_of(late, int(name))
        begun = starts[name][1]
        assert int(begun.step) == at
        assert_same(begun.params, weight_masks.apply(mask, reached.params))
        assert_same(begun.batch_stats, reached.batch_stats)
        assert_same(begun.opt_state.inner, reached.opt_state.inner)
        assert_same(begun.opt_state.masks, jax.tree.map(np.asarray, mask))
        assert_same(begun.best_params, begun.params)
    assert nonzero(trained) == WEIGHTS // 2
    # The dense network is the one that never stopped at that step: the masks drawn from it are the same.
    assert_same(masks_of(late, 1), masks_of(early, 1))


@pytest.mark.slow
def test_controls_differ_from_the_ticket_in_one_thing(tmp_path, inputs, variables, starts):
    make(tmp_path / "ticket", inputs, variables, max_rounds=1).run()
    ticket = weight_masks.load(tmp_path / "ticket/masks.npz", masks_of(tmp_path / "ticket", 0))
    found = {}
    for control in search.CONTROLS:
        folder = tmp_path / control
        starts.clear()
        trained, _, log = make(folder, inputs, variables, control=control, ticket=tmp_path / "ticket").run()
        mask = masks_of(folder, 0)
        assert weight_masks.kept(mask) == nonzero(trained) == WEIGHTS // 2
        facts = log["pruning"]
        assert (facts["control"], facts["ending"], len(facts["rounds"])) == (control, "the ticket is trained", 1)
        assert facts["compression"] == pytest.approx(2) and facts["units"] == WEIGHTS
        found[control] = mask, starts["000"][0].variables["params"], trained
    assert_same(found["none"][0], ticket)
    assert_same(found["random_init"][0], ticket)
    overlap = sum((a & b).sum() for a, b in zip(*map(jax.tree.leaves, (found["random_mask"][0], ticket)), strict=True))
    assert overlap == pytest.approx(WEIGHTS / 4, rel=0.05)
    assert_same(found["random_mask"][1], weight_masks.apply(found["random_mask"][0], variables["params"]))
    ours, theirs = (np.asarray(found[c][1]["layer1_0"]["conv1"]["kernel"]) for c in ("none", "random_init"))
    assert not np.any((ours == theirs) & (ours != 0))
    # The ticket itself, trained again, is the last round of the search.
    _, last = checkpoint.load_model(tmp_path / "ticket/rounds/001")
    assert_same(found["none"][2], last)


@pytest.mark.slow
def test_a_search_can_be_under_a_control_too(tmp_path, inputs, variables, starts):
    make(tmp_path, inputs, variables, max_rounds=1, control="random_init").run()
    assert_same(starts["000"][0].variables["params"], variables["params"])
    params = [starts[name][0].variables["params"] for name in ("000", "001")]
    kernel = [np.asarray(tree["layer3_0"]["conv1"]["kernel"]) for tree in params]
    assert np.count_nonzero(kernel[1]) and not np.any((kernel[0] == kernel[1]) & (kernel[1] != 0))


@pytest.mark.slow
def test_channels_go_and_the_network_goes_on_from_its_trained_weights(tmp_path, inputs, variables, starts):
    trained, options, log = make(tmp_path, inputs, variables, unit="channel", rate=0.5, max_rounds=2).run()
    assert sum(options["inner"]) == 28 and [r["kept"] for r in log["pruning"]["rounds"]] == [112, 56, 28]
    meta = {**make(tmp_path, None, variables).describe(trained, options), "preprocess": "paper"}
    checkpoint.save_model(tmp_path, trained, meta)
    loaded_meta, loaded = checkpoint.load_model(tmp_path)  # as any network: with shapes that are checked
    assert_same(loaded, trained)
    assert loaded["params"]["layer3_0"]["conv1"]["kernel"].shape == (8, 32, options["inner"][2])
    assert models.create("lrhnet", 2, **loaded_meta["options"]) == models.create(
        "lrhnet", 2, inner=tuple(options["inner"])
    )
    before, after = (starts[name][0].variables["params"]["layer2_0"]["conv1"] for name in ("001", "002"))
    assert before["kernel"].shape[-1] > after["kernel"].shape[-1]
    # Not from the initial weights: the bias has been trained.
    assert not np.isin(np.asarray(before["bias"]), np.asarray(variables["params"]["layer2_0"]["conv1"]["bias"])).any()
    facts = log["pruning"]
    assert facts["units"] == 112 and facts["macs_structured"] < 0.5 * facts["macs"]
    assert facts["structured_bytes"] == 4 * sum(leaf.size for leaf in jax.tree.leaves(trained)) < facts["dense_bytes"]
    assert facts["parameters"] == 83_236 and facts["parameters_kept"] == models.count_parameters(trained["params"])
    assert facts["sparse_bytes"] is None


@pytest.mark.slow
def test_epochs_are_chosen_by_the_networks_own_score(tmp_path, inputs, variables):
    seen = []

    def score(lead_network, trained):
        seen.append(lead_network.model.inner)
        return 1.0 + len(seen) % 2

    one = make(tmp_path, inputs, variables, score, unit="channel", max_rounds=1, tolerance=0.99)
    one = dataclasses.replace(
        one, dense=dataclasses.replace(one.dense, score=lambda trained: score(one.dense.spec.student, trained))
    )
    _, options, log = one.run()
    assert set(seen) == {(), tuple(options["inner"])}
    assert [row["validation_score"] for row in log["history"]] == [1, 2] and log["best_epoch"] == 2


def test_a_dense_network_without_a_score_cannot_be_pruned(tmp_path, inputs, variables):
    with pytest.raises(
        DataError, match="student: the dense network's score is nan, so that nothing can be pruned by it"
    ):
        make(tmp_path, inputs, variables, lambda lead_network, trained: float("nan")).run()


def test_a_ticket_of_another_network_is_refused(tmp_path, inputs, variables):
    other = {"conv": {"kernel": np.ones((2, 2), bool)}}
    tmp_path.joinpath("ticket").mkdir()
    weight_masks.save(tmp_path / "ticket/masks.npz", other)
    with pytest.raises(CheckpointError, match=r"ticket/masks\.npz: holds no mask"):
        make(tmp_path / "n", inputs, variables, ticket=tmp_path / "ticket").run()


@pytest.mark.slow
def test_the_record_of_the_search_is_json(tmp_path, inputs, variables):
    make(tmp_path, inputs, variables, max_rounds=1).run()
    found = search.Search.from_json(json.loads((tmp_path / "rounds.json").read_text()))
    assert found.next() is None and [r.kept for r in found.rounds] == [WEIGHTS, WEIGHTS // 2]
