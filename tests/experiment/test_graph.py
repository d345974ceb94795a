import pytest

from lrhnet_jax.ecg.leads import LEADS, LeadError, parse_leads
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.experiment import graph

TRAIN = {"epochs": 3, "batch_size": 8}


def node(teachers=None, **fields):
    return {"model": "lrhnet", "leads": ("I", "II"), "teachers": teachers or {}, **fields}


def test_teachers_come_before_their_students_at_any_depth():
    names = [
        network.name
        for network in graph.parse(
            {
                "d": node({"a": 0.2, "b": 0.3, "c": 0.5}),
                "c": node({"b": 1.0}),
                "b": node({"a": 1.0}),
                "a": node(),
                "alone": node(),
            },
            TRAIN,
        )
    ]
    assert sorted(names) == ["a", "alone", "b", "c", "d"]
    assert names.index("a") < names.index("b") < names.index("c") < names.index("d")


def test_a_network_overrides_training_fields_and_reads_leads_in_order():
    (network,) = graph.parse({"n": node(leads=("V2", "I"), train={"epochs": 7})}, TRAIN)
    assert network.train == {"epochs": 7, "batch_size": 8}
    assert network.leads == ("I", "V2")
    assert network.teachers == {}


def test_a_ticket_is_found_before_it_is_trained_again():
    pruned, again = node(prune={"rate": 0.2}), node(prune={"ticket": "ticket", "control": "random_init"})
    networks = graph.parse({"control": again, "plain": node(), "ticket": pruned}, TRAIN)
    assert [network.name for network in networks].index("ticket") < [n.name for n in networks].index("control")
    assert {n.name: n.pruning and n.pruning.control for n in networks} == {
        "ticket": "none",
        "control": "random_init",
        "plain": None,
    }


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ({}, "config.networks is empty"),
        ({"a": node({"b": 1.0}), "b": node({"a": 1.0})}, r"the teachers .* form a cycle: .* -> "),
        ({"a": node({"a": 1.0})}, r"form a cycle: a -> a"),
        ({"a": node({"ghost": 1.0}), "b": node()}, "no network is called 'ghost'; there are a, b"),
        ({"a": node({"b": 0.6, "c": 0.5}), "b": node(), "c": node()}, r"a\.teachers: the weights sum to 1.1, not to 1"),
        ({"a": node({"b": 1.5, "c": -0.5}), "b": node(), "c": node()}, "-0.5 is not a positive number"),
        ({"a": node(model="resnet")}, "a.model: unknown model 'resnet'; choose lrhnet, seresnet, cnn1d"),
        ({"a": node(leads=("I", "V9"))}, "a.leads: unknown lead 'V9'; the leads are I, II"),
        ({"a": node(leads=())}, "a.leads: unknown lead"),
        ({"a": node(teacher={})}, "a: unknown field teacher; the fields are"),
        ({"a": node(train={"epoch": 3})}, "a.train: unknown field epoch; the fields are batch_size, epochs"),
        ({"a": node(prune={"rates": 1})}, r"networks\.a\.prune: unknown field rates"),
        ({"a": node(prune={"rate": 0.2}, checkpoint="x")}, "loaded from a checkpoint, so it cannot be pruned"),
        ({"a": node(prune={"ticket": "b"})}, r"a\.prune\.ticket: no network 'b' whose weights are pruned"),
        ({"a": node(prune={"ticket": "b"}), "b": node()}, "no network 'b' whose weights are pruned"),
        (
            {"a": node(prune={"ticket": "b"}), "b": node(prune={"rate": 0.2}, leads=("I",))},
            "a.prune.ticket: b has another leads, so its mask cannot fit",
        ),
        ({"a": node(prune={"ticket": "b"}), "b": node(prune={"ticket": "a"})}, "form a cycle"),
        ({"a": node({"b": 1.0}, checkpoint="x"), "b": node()}, "loaded from a checkpoint, so it cannot have teachers"),
    ],
)
def test_what_makes_no_sense_is_an_error_that_says_where(networks, message):
    with pytest.raises(ConfigError, match=message):
        graph.parse(networks, TRAIN)


def test_lead_sets_of_the_paper():
    assert parse_leads("3") == ("I", "II", "V2")
    assert parse_leads(12) == LEADS
    assert parse_leads("V5+I") == ("I", "V5")
    with pytest.raises(LeadError, match="no lead set of 5 leads; choose 12, 6, 3, 2, 1"):
        parse_leads("5")
    with pytest.raises(LeadError, match="named twice"):
        parse_leads("I+I")


def test_only_pairs_that_answer_a_question_are_compared():
    names = ("teacher12", "other", "alone2_0", "alone2_1", "mlkd2_0", "mlkd2_1", "mlkd2_2", "kd12_0")
    nodes = {name: node() for name in names}
    nodes["teacher12"]["leads"] = nodes["kd12_0"]["leads"] = LEADS
    for seed in range(3):
        nodes[f"mlkd2_{seed}"]["teachers"] = {"teacher12": 0.5, "other": 0.5}
    nodes["second"] = node()  # reads the same leads as `other`
    for name in names[2:]:  # runs of recipes
        recipe, seed = name.split("_")
        nodes[name] |= {"recipe": recipe.rstrip("12"), "seed": int(seed)}
    assert sorted(graph.comparisons(graph.parse(nodes, TRAIN))) == sorted(
        [
            ("other", "second"),
            ("mlkd2_0", "alone2_0"),
            ("mlkd2_1", "alone2_1"),  # the third has no undistilled network of its seed
            *(("teacher12", f"mlkd2_{seed}") for seed in range(3)),
            *(("other", f"mlkd2_{seed}") for seed in range(3)),
        ]
    )


def test_compatible_networks_that_need_one_another_do_not_train_at_once():
    train = {**TRAIN, "method": {"name": "none"}, "alpha": 0.3, "learning_rate": 1e-3}
    networks = graph.parse(
        {
            "teacher": node(leads=("I",)),
            "own": node(),
            "taught": node({"teacher": 1.0}),
            "student0": node({"teacher": 0.6, "own": 0.4}, train={"alpha": 0.5}),
            "student1": node({"teacher": 0.5, "own": 0.5}, train={"learning_rate": 1e-2}),
            "longer": node({"own": 1.0}, train={"epochs": 9}),
            "hinted": node({"own": 1.0}, train={"method": {"name": "fitnet"}}),
            "pruned": node(prune={"rate": 0.2}),
        },
        train,
    )
    sets = [{network.name for network in members} for members in graph.populations(networks)]
    # "own" waits for "taught", since both are compatible, but not for the students that it teaches itself.
    assert sets[:2] == [{"teacher"}, {"pruned"}] and sets[2] == {"own", "taught"}
    assert sorted(map(sorted, sets[3:])) == [["hinted"], ["longer"], ["student0", "student1"]]
    assert graph.teachers_of(networks) == ["teacher", "own"]
