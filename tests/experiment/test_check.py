"""What a config cannot be is told before anything is trained, and before the folder is taken for its run."""

import math

import numpy as np
import pytest

from configs import common
from lrhnet_jax.errors import CheckpointError, ConfigError, DataError, UserError
from lrhnet_jax.experiment import check, graph
from lrhnet_jax.experiment.run import run


def config_of(data_dir="nowhere", networks=None, **changes):
    networks = networks or {"n": common.network("lrhnet", ("I",))}
    config = common.experiment("test", common.parse("preset=demo,data=synthetic"), networks)
    config.data_dir, config.compilation_cache, config.window = str(data_dir), "", 256
    config.update_from_flattened_dict(changes)
    return config


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seed", -1, "config.seed: -1 is not a whole number from 0"),
        ("seed", 2**32, "config.seed: 4294967296 is not a whole number from 0 to 4294967295"),
        ("synthetic_records", 0, "config.synthetic_records: 0 is not at least 1"),
        ("steps_per_dispatch", -1, "config.steps_per_dispatch: -1 is not at least 0"),
        ("evaluation.validation_parts", 1, "config.evaluation.validation_parts: 1 is not at least 2"),
        ("evaluation.resamples", 0, "config.evaluation.resamples: 0 is not at least 1"),
        ("evaluation.batch_size", 0, "config.evaluation.batch_size: 0 is not at least 1"),
        ("evaluation.threshold_shrinkage", math.nan, "config.evaluation.threshold_shrinkage: nan is not a number"),
        ("evaluation.window", 10, "config.evaluation.window: 10 is not at least 64 samples, or 0 for config.window"),
        ("evaluation.windows", "all", "config.evaluation.windows: unknown value 'all'; choose cover, random"),
        ("data", "ptbxl", "config.data: unknown value 'ptbxl'; choose auto, physionet2020, synthetic"),
    ],
)
def test_a_field_of_the_experiment(field, value, message):
    assert check.experiment(config_of()).name == "physionet2020"
    with pytest.raises(ConfigError) as raised:
        check.experiment(config_of(**{field: value}))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("temperature", 0.0, "config.networks.n.train.temperature: 0.0 is not a number above 0"),
        ("temperature", math.inf, "config.networks.n.train.temperature: inf is not a number above 0"),
        ("epochs", 0, "config.networks.n.train.epochs: 0 is not at least 1"),
        ("batch_size", 1, "config.networks.n.train.batch_size: 1 is not at least 2"),
        ("learning_rate", 0.0, "config.networks.n.train.learning_rate: 0.0 is not a number above 0"),
        ("learning_rate", math.nan, "config.networks.n.train.learning_rate: nan is not a number above 0"),
        ("weight_decay", -1e-4, "config.networks.n.train.weight_decay: -0.0001 is not a number of at least 0"),
        ("alpha", -0.1, "config.networks.n.train.alpha: -0.1 is not from 0 to 1"),
        ("kl_weight", -0.1, "config.networks.n.train.kl_weight: -0.1 is not a number of at least 0"),
        ("keep", "first", "config.networks.n.train.keep: unknown value 'first'; choose best, last"),
        ("logit_kl", "hinge", "config.networks.n.train.logit_kl: unknown value 'hinge'; choose softmax, sigmoid"),
        ("optimizer", "sgd", "config.networks.n.train: unknown optimizer 'sgd'; choose one of adam"),
        ("schedule.name", "stairs", "config.networks.n.train: unknown schedule 'stairs'"),
        ("schedule.warmup_epochs", 99, "config.networks.n.train: schedule.warmup_epochs is 99, of 24 epochs"),
    ],
)
def test_a_training_field(field, value, message):
    def networks(**changes):
        config = config_of(**changes)
        return graph.parse(config.networks.to_dict(), config.train.to_dict())

    check.training(*networks())
    place = "networks.n.train" if field == "epochs" else "train"  # the demo gives each network its own
    with pytest.raises(ConfigError) as raised:
        check.training(*networks(**{f"{place}.{field}": value}))
    assert message in str(raised.value)


def test_alpha_beyond_one_needs_the_other_weight():
    networks = {"t": common.network("lrhnet", ("I",)), "s": common.network("lrhnet", ("I",), {"t": 1.0}, alpha=1.5)}

    def student(**changes):
        config = config_of(networks=networks, **changes)
        return graph.parse(config.networks.to_dict(), config.train.to_dict())[1]

    with pytest.raises(ConfigError, match=r"s\.train\.alpha: 1\.5 is not from 0 to 1; with kl_weight given"):
        check.training(student())
    check.training(student(**{"train.kl_weight": 1.0}))


@pytest.mark.parametrize(
    ("network", "changes", "message"),
    [
        (common.network("lrhnet", ("I",)), {"train.temperature": 0.0}, "temperature: 0.0 is not a number above 0"),
        (
            common.network("lrhnet", ("I",)),
            {"train.batch_size": 504},
            "do not fill a batch of 504; lower config.train.b",
        ),
        (
            common.network("cnn1d", ("I",)),
            {},
            "config.networks.n: cnn1d reads windows of 2146 to 6241 samples, not 256",
        ),
        (common.network("lrhnet", ("I",), checkpoint="/nowhere"), {}, "/nowhere: no such folder"),
        (common.network("lrhnet", ("I",), checkpoint="/nowhere.pth"), {}, "config.networks.n.checkpoint: "),
    ],
)
def test_a_folder_is_not_taken_for_a_run_that_cannot_be(network, changes, message, data_dir, tmp_path):
    with pytest.raises(UserError) as raised:
        run(config_of(data_dir, {"first": common.network("lrhnet", ("I",)), "n": network}, **changes), tmp_path / "run")
    assert message in str(raised.value)
    assert not (tmp_path / "run").exists()  # so that the same folder serves when the config is mended


def test_a_run_that_goes_on_does_not_look_for_what_it_has_loaded(data_dir, tmp_path):
    networks = {"n": common.network("lrhnet", ("I",), checkpoint="/nowhere")}
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds a run that differs in config, data"):
        run(config_of(data_dir, networks), tmp_path)


def test_the_smallest_fold_has_to_fill_a_batch():
    class Split:
        def __init__(self, count):
            self.train = np.arange(count)

    config = config_of(**{"train.batch_size": 8})
    networks = graph.parse(config.networks.to_dict(), config.train.to_dict())
    with pytest.raises(DataError, match="n: 7 training records do not fill a batch of 8"):
        check.records(networks, None, [Split(9), Split(7)])
