"""Fields set by flags: what is given takes effect, or is answered by what to write."""

import pytest

from lrhnet_jax.ecg.leads import LEADS, LeadError
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.experiment import config as configuration
from lrhnet_jax.experiment import graph
from lrhnet_jax.runtime import project


def networks(text, *arguments):
    config = configuration.load(text)
    assert configuration.override(config, arguments) == []
    return {n.name: n for n in graph.parse(config.networks.to_dict(), config.train.to_dict())}


def student(*arguments, text="pmlkd:preset=demo"):
    return networks(text, *arguments)["student"]


@pytest.mark.parametrize("text", ["configs/lrhnet.py:preset=paper", "lrhnet:preset=paper", "lrhnet"])
def test_a_config_is_a_file_or_a_name(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(networks(text)) == ["lrhnet"]
    (tmp_path / "mine.py").write_text("from configs import lrhnet\nget_config = lrhnet.get_config\n")
    assert networks("mine.py:leads=1")["lrhnet"].leads == ("I",)


@pytest.mark.parametrize("text", ["lrhnett", "lrhnet.txt:leads=1", "configs/lrhnett.py", "", ":leads=2"])
def test_an_unknown_config_is_answered_by_those_that_there_are(text):
    with pytest.raises(
        ConfigError, match=r"no such config; it is a file, NAME\.py, or one of .*chain, cnn1d, .*fitnet, .*vanilla_kd"
    ):
        configuration.load(text)


def test_a_windows_path_is_no_config_string(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "C:").mkdir()
    (tmp_path / "C:/mine.py").write_text("")
    assert [str(part) for part in project.find_config("C:/mine.py:leads=2")] == ["C:/mine.py", "leads=2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nowhere\n", "mine.py, line 1: ModuleNotFoundError: No module named 'nowhere'"),
        ("\ndef get_config():\n    return 1 / 0\n", "mine.py, line 3: ZeroDivisionError"),
        (
            "from configs import mine\n",
            r"cannot import name 'mine'.* \(`configs` is lrhnet_jax's package, .*rename your",
        ),
        ("def get_config():\n    return {}\n", "the config names no networks"),
        ("get_config = 3 +\n", "mine.py, line 1: SyntaxError"),
    ],
)
def test_what_goes_wrong_in_a_config_file_is_named(text, message, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        configuration.load(str(tmp_path / "mine.py"))


@pytest.mark.parametrize("text", ["configs/lrhnet.py:preset=paper", "configs/lrhnet.py:preset=demo"])
@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--config.networks.lrhnet.train.learning_rate=2e-3"], "learning_rate", 2e-3),
        (["--config.networks.lrhnet.train.learning_rate", "2e-3"], "learning_rate", 2e-3),
        (["--config.networks.lrhnet.train.kl_weight=0.5"], "kl_weight", 0.5),
        (["--config.networks.lrhnet.train.t_squared"], "t_squared", True),
        (["--noconfig.networks.lrhnet.train.t_squared"], "t_squared", False),
        (["--config.networks.lrhnet.train.keep=last"], "keep", "last"),
        (["--config.train.epochs=2"], "epochs", 2),
        (["--config.networks.lrhnet.train.epochs=3", "--config.train.epochs=2"], "epochs", 3),
    ],
)
def test_a_training_field_takes_effect_in_every_preset(text, arguments, field, value):
    assert networks(text, *arguments)["lrhnet"].train[field] == value


def leaves(fields, prefix=""):
    for field, value in fields.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{field}.")
        else:
            yield f"{prefix}{field}", value


def changed(value):
    """Another value of the type, and how it is written."""
    if isinstance(value, bool):
        return not value, str(not value)
    if isinstance(value, tuple):
        return (3, 5), "3,5"
    if isinstance(value, str):
        return "other", "other"
    return (value + 7, str(value + 7)) if isinstance(value, int) else (0.125, "0.125")


def test_every_training_field_of_a_network_can_be_set():
    plain = dict(leaves(student().train))
    assert len(plain) > 15 and "schedule.gamma" in plain
    for field, value in plain.items():
        if field != "method.name":
            wanted, text = changed(value)
            found = networks("pmlkd:preset=demo", f"--config.networks.student.train.{field}={text}")
            assert dict(leaves(found["student"].train)) == {**plain, field: wanted} and wanted != value
            assert dict(leaves(found["teacher12"].train))[field] != wanted


def test_what_a_network_leaves_out_of_its_own_schedule_can_be_set(tmp_path):
    text = """if True:
        from configs import common
        def get_config(arg=None):
            node = common.network("lrhnet", ("I",), schedule={"name": "constant"})
            return common.experiment("mine", common.parse(arg), {"n": node})
    """
    (tmp_path / "mine.py").write_text(text)
    (network,) = networks(str(tmp_path / "mine.py"), "--config.networks.n.train.schedule.warmup_epochs=2").values()
    assert network.train["schedule"] == {"name": "constant", "warmup_epochs": 2}


def test_a_flag_of_all_networks_wins_over_what_a_preset_gives_single_ones(caplog):
    caplog.set_level("INFO")
    found = networks("pmlkd:preset=demo", "--config.train.epochs=2", "--config.train.schedule.gamma=0.3")
    assert {network.train["epochs"] for network in found.values()} == {2}
    assert {network.train["schedule"]["gamma"] for network in found.values()} == {0.3}
    assert "config.train.epochs=2 also applies to networks with a value of their own: student (24)" in caplog.text
    found = networks("mvkt", "--config.train.alpha=0.5", "--config.networks.teacher12.train.alpha=0.25")
    assert (found["student"].train["alpha"], found["teacher12"].train["alpha"]) == (0.5, 0.25)


def test_a_networks_own_schedule_starts_from_what_all_have():
    flags = ["--config.networks.student.train.schedule.gamma=0.5", "--config.train.schedule.name=step"]
    found = networks("pmlkd:preset=demo", *flags)
    assert (found["student"].train["schedule"]["gamma"], found["teacher2"].train["schedule"]["gamma"]) == (0.5, 0.1)
    assert {network.train["schedule"]["name"] for network in found.values()} == {"step"}


def test_a_method_comes_with_its_fields():
    name = "--config.networks.student.train.method.name"
    fields = student(f"{name}=semckd", "--config.networks.student.train.method.weight=3").train["method"]
    assert fields == {"name": "semckd", "teacher": "", "expansion": 2.0, "weight": 3.0}
    assert student("--config.train.method.name=none", text="fitnet").train["method"] == {"name": "none"}
    assert student("--config.train.method.name=pskd", text="fitnet").train["method"]["name"] == "pskd"
    with pytest.raises(ConfigError, match=r"method has no field 'weight'; it has name\. The method is set first: --"):
        student("--config.networks.student.train.method.weight=3")


@pytest.mark.parametrize("text", ["I,V5", "I+V5", "V5,I", "('I','V5')", "('I', 'V5')", '["I", "V5"]'])
def test_leads_of_a_network(text):
    assert student(f"--config.networks.student.leads={text}").leads == ("I", "V5")
    assert student("--config.networks.student.leads", text).leads == ("I", "V5")


def test_leads_by_their_number_and_unknown_ones():
    assert student("--config.networks.student.leads=12").leads == LEADS
    assert student("--config.networks.student.leads=I", "--config.networks.student.leads=V5").leads == ("I", "V5")
    with pytest.raises(LeadError, match="unknown lead 'X'; the leads are I, II"):
        student("--config.networks.student.leads=I,X")


def test_teachers_options_and_pruning_can_be_added():
    found = networks("pmlkd", "--config.networks.teacher2.teachers.teacher12=1")  # makes s-MLKD of p-MLKD
    assert found["teacher2"].teachers == {"teacher12": 1.0}
    assert student("--config.networks.student.options.head_relu=False").options == {"head_relu": False}
    assert student("--config.networks.student.prune.rate=0.3").pruning.rate == 0.3


def test_a_network_written_by_hand_may_leave_fields_out(tmp_path):
    config = "ConfigDict({'networks': {'n': {'model': 'lrhnet', 'leads': ('I',)}}, 'train': {'epochs': 3}})"
    (tmp_path / "mine.py").write_text(
        f"from ml_collections import ConfigDict\ndef get_config():\n    return {config}\n"
    )
    flags = ["--config.networks.n.train.epochs=5", "--config.networks.n.seed=4", "--config.networks.n.checkpoint=x"]
    (network,) = networks(str(tmp_path / "mine.py"), *flags).values()
    assert (network.train, network.seed, network.checkpoint) == ({"epochs": 5}, 4, "x")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.epochs=3", "the config has no field 'epochs'; write --config.train.epochs"),
        ("--config.batch_size=3", "write --config.evaluation.batch_size or --config.train.batch_size"),
        (
            "--config.train.window=3",
            "config.train has no field 'window'; write --config.evaluation.window or --config.window",
        ),
        ("--config.temperatur=3", "did you mean --config.train.temperature?"),
        (
            "--config.train.learning_rat=3",
            "config.train has no field 'learning_rat'; did you mean --config.train.l",
        ),
        ("--config.networks.student.epochs=3", "write --config.networks.student.train.epochs"),
        ("--config.networks.student.train.epoch=3", "did you mean --config.networks.student.train.epochs?"),
        ("--config.networks.studnt.train.epochs=3", "no network is called 'studnt'; there are student, teacher12"),
        ("--config.networks.student.teachers.teacher=1", "teachers: no network is called 'teacher'; there are student"),
        (
            "--config.networks.student.prune.rates=1",
            "config.networks.student.prune: unknown field rates; the fields",
        ),
        ("--config.leads=2", "leads is a key of the config string: write --config=FILE.py:leads=VALUE"),
        ("--config.preset=demo", "preset is a key of the config string: write --config=FILE.py:preset=VALUE"),
        ("--config.checkpoint=x", "it is one of a network: write --config.networks.NAME.checkpoint"),
        ("--config.seed.x=3", "config.seed has no field 'x': it is a single value, 0"),
        ("--config.qqq=3", "the config has no field 'qqq'; its fields are compilation_cache, data"),
        ("--config.train.epochs=many", "--config.train.epochs=many: invalid literal"),
        ("--config.train.epochs=2.5", "--config.train.epochs=2.5: invalid literal"),
        ("--config.train.epochs", "Missing value for flag --config.train.epochs"),
        ("--config.networks.student=3", "--config.networks.student=3: Failed to parse '3' as a ConfigDict"),
    ],
)
def test_a_field_that_is_not_there_is_answered_by_what_to_write(argument, message):
    with pytest.raises(ConfigError) as raised:
        student(argument)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_what_is_no_field_is_handed_back():
    config = configuration.load("lrhnet")
    assert configuration.override(config, ["--config.seed", "3", "more", "--workdr=x"]) == ["more", "--workdr=x"]
    assert config.seed == 3
    with pytest.raises(AttributeError):  # locked
        config.sed = 3
