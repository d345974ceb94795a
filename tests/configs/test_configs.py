import importlib
import pathlib

import pytest

import configs
from configs import common
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.experiment import check, graph

NAMES = sorted(p.stem for p in pathlib.Path(configs.__path__[0]).glob("*.py") if p.stem not in ("common", "__init__"))


def parse(name: str, arg: str | None = None):
    config = importlib.import_module(f"configs.{name}").get_config(arg)
    return config, {n.name: n for n in graph.parse(config.networks.to_dict(), config.train.to_dict())}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("preset", common.PRESETS)
def test_every_experiment_is_a_sound_graph_in_every_preset(name, preset):
    # The graphs of the tables and of the students have lead sets of their own.
    own = {"tables": "", "student": "", "student_proof": ",sets=3"}
    config, networks = parse(name, f"preset={preset}" + own.get(name, ",leads=3"))
    assert config.experiment == name and config.preset == preset
    assert any(network.leads == ("I", "II", "V2") for network in networks.values())
    assert f"configs/{name}.py" in importlib.import_module(f"configs.{name}").__doc__


def test_the_papers_recipe_is_the_default():
    config, networks = parse("pmlkd")
    train = config.train
    assert (train.epochs, train.batch_size, train.learning_rate, train.weight_decay) == (90, 64, 1e-3, 5e-4)
    assert (train.schedule.name, train.schedule.step_epochs, train.alpha, train.temperature) == ("step", 20, 0.3, 7.0)
    assert networks["student"].teachers == {"teacher12": 0.6, "teacher2": 0.4}
    assert networks["teacher2"].teachers == {} and parse("smlkd")[1]["teacher2"].teachers == {"teacher12": 1.0}
    assert config.evaluation.protocol == "leak_free"


def test_the_reference_preset_turns_on_every_deviation():
    config, networks = parse("pmlkd", "preset=reference")
    train, evaluation = config.train, config.evaluation
    assert (train.learning_rate, train.weight_decay, train.schedule.name) == (3e-3, 1e-5, "multistep")
    assert train.schedule.milestones == (20, 40, 70)
    assert (evaluation.protocol, evaluation.windows, evaluation.decision) == (
        "reference",
        "random",
        "threshold_or_top1",
    )
    assert (config.preprocess, config.teacher_logits, config.windows_per_record) == ("reference", "in_graph", 0)
    assert networks["student"].options == {"head_relu": False}
    assert parse("cnn1d", "preset=reference")[1]["cnn1d"].options == {"logit_dropout": 0.6}


def test_students_learn_from_the_mean_of_an_ensemble_and_train_as_long_alone():
    config, networks = parse("student", "sets=2+1,seeds=2,teachers=4")
    assert (config.preprocess, config.window, config.evaluation.train_only) == ("monitor", 2048, ("ptb-xl-filtered",))
    assert (config.windows_per_record, config.teacher_logits) == (0, "record")
    assert len(networks) == 4 + 2 * 2 * 2
    teachers = [networks[f"teacher{seed}"] for seed in range(4)]
    assert {teacher.seed for teacher in teachers} == {0, 1, 2, 3}
    assert all(teacher.leads == LEADS and teacher.options == {"width": 2} for teacher in teachers)
    taught, alone = networks["taught1_1"], networks["alone1_1"]
    assert taught.teachers == {f"teacher{seed}": 0.25 for seed in range(4)} and not alone.teachers
    assert taught.leads == alone.leads == ("I",) and taught.seed == alone.seed == 1
    assert taught.train["epochs"] == alone.train["epochs"]
    assert taught.train["mean_logits"] and taught.train["logit_kl"] == "sigmoid"
    assert taught.train["cross_fit"] == 4  # and what would learn from records that its teachers saw is refused
    check.cross_fitting(taught, list(networks.values()), config.teacher_logits)
    _, shorter = parse("af", "methods=alone,student_epochs=7")
    assert [(n.name, n.train["epochs"]) for n in shorter.values()] == [("alone_0", 7)]


def test_the_proof_differs_in_nothing_but_what_students_learn_from():
    config, networks = parse("student_proof", "models=lrhnet_wide+lrhnet,seeds=2,student_epochs=7")
    assert len(networks) == 4 + 2 * 2 * 2 * 6 and config.train.keep == "last"
    rows = [
        networks[f"seed1_{method}2_lrhnet"] for method in ("alone", "vanilla", "pmlkd", "semckd", "cross_fit", "start")
    ]
    learned_from = ("alpha", "kl_weight", "temperature", "t_squared", "logit_kl", "mean_logits", "cross_fit", "method")
    for row in rows:
        assert (row.model, row.leads, row.seed) == ("lrhnet", ("I", "II"), 1) and row.train["epochs"] == 7
        same = {key: value for key, value in row.train.items() if key not in learned_from}
        assert same == {key: rows[0].train[key] for key in same}
        check.cross_fitting(row, list(networks.values()), config.teacher_logits)
    assert rows[2].teachers == {"teacher0": 0.6, "own2": 0.4} and networks["own2"].leads == ("I", "II")
    assert [row.recipe for row in rows] == ["alone", "vanilla", "pmlkd", "semckd", "cross_fit", "start"]
    assert rows[5].start == "teacher0_lrhnet" and networks["seed0_start1_lrhnet_wide"].start == "teacher0"
    _, default = parse("student_proof")
    assert {network.leads for network in default.values()} == {LEADS, ("I", "II"), ("I",)}
    assert {network.model for network in default.values()} == {"lrhnet_wide"}


def test_the_chain_gives_every_level_all_teachers_above_it():
    _, networks = parse("chain")
    assert [len(n.leads) for n in networks.values()] == [12, 6, 3, 2, 1]
    assert [len(n.teachers) for n in networks.values()] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("lead=2", "'lead=2' is not KEY=VALUE with a key among leads, data, preset, fold"),
        ("leads", "'leads' is not KEY=VALUE"),
        ("leads=5", "no lead set of 5 leads; choose 12, 6, 3, 2, 1"),
        ("leads=I+X", "unknown lead 'X'"),
        ("data=mitbih", "unknown data 'mitbih'; choose auto, physionet2020, synthetic"),
        ("preset=fast", "unknown preset 'fast'; choose paper, reference, demo"),
        ("fold=5", "unknown fold '5'; choose 0, 1, 2, 3, 4, all"),
        ("leads=12", "leaves no second level"),
    ],
)
def test_config_strings_are_strict(arg, message):
    with pytest.raises(ConfigError, match=message.replace("+", r"\+")):
        parse("pmlkd", arg)


def test_the_tables_have_every_method_on_every_lead_set_with_every_seed():
    _, networks = parse("tables", "seeds=2,teacher_epochs=4,student_epochs=7")
    assert len(networks) == 5 + 2 * (8 + 8 + 6)  # no second level on 12 leads
    assert networks["smlkd3_1"].teachers == {"teacher12": 0.6, "teacher3_taught": 0.4}
    assert networks["pmlkd2_0"].teachers == {"teacher12": 0.6, "teacher2": 0.4}
    assert networks["teacher3_taught"].teachers == {"teacher12": 1.0} and networks["teacher3"].teachers == {}
    assert networks["alone2_0"].teachers == {} and networks["alone2_0"].train["epochs"] == 7
    assert networks["teacher12"].train["epochs"] == 4 and networks["cnn1d3_1"].model == "cnn1d"
    assert networks["alone2_0"].train["learning_rate"] == networks["teacher12"].train["learning_rate"] == 1e-3
    for method in ("fitnet", "semckd", "pskd"):  # as in the config of its own
        ours, own = networks[f"{method}3_0"], parse(method, "leads=3")[1]["student"]
        assert (ours.train | {"epochs": 90}, ours.teachers) == (own.train, own.teachers)
    _, faster = parse("tables", "student_rate=3e-3,preset=demo")
    assert faster["alone2_0"].train["learning_rate"] == 3e-3 and faster["teacher12"].train["epochs"] == 6
    assert parse("tables", "preset=reference")[1]["fitnet2_0"].train["method"]["name"] == "random_map"


def test_the_tables_train_no_teacher_that_nothing_asks_for():
    def names(arg):
        return set(parse("tables", f"seeds=1,{arg}")[1])

    assert names("methods=alone+pskd,sets=3+2") == {"alone3_0", "alone2_0", "pskd3_0", "pskd2_0"}
    assert names("methods=vanilla+smlkd,sets=2") == {"teacher12", "teacher2_taught", "vanilla2_0", "smlkd2_0"}
    assert names("methods=seresnet+pmlkd,sets=12+2") == {"teacher12", "teacher2", "pmlkd2_0"}


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("seeds=none", "seeds=none: not a whole number above zero"),
        ("student_rate=-1", "student_rate=-1: not a number above zero"),
        ("teacher_epochs=2.5", "teacher_epochs=2.5: not a whole number above zero"),
        ("methods=alone+kd", r"methods=alone\+kd: unknown 'kd'; join with '\+' any of seresnet, cnn1d, alone"),
        ("sets=", r"sets=: unknown ''; join with '\+' any of 12, 3, 2"),
        ("leads=2", "'leads=2' is not KEY=VALUE with a key among data, preset, fold, methods, sets, seeds"),
        ("methods=smlkd,sets=12", "leaves s- and p-MLKD no second level"),
    ],
)
def test_the_tables_keys_are_strict(arg, message):
    with pytest.raises(ConfigError, match=message):
        parse("tables", arg)


def test_leads_by_name():
    assert parse("lrhnet", "leads=V1+II")[1]["lrhnet"].leads == ("II", "V1")
    assert parse("lrhnet", "leads=6")[1]["lrhnet"].leads == LEADS[:6]
