import dataclasses

import pytest

from data_builders import build
from lrhnet_jax import tasks
from lrhnet_jax.errors import DataError
from lrhnet_jax.scoring.score import DECISION_METRICS


@pytest.mark.parametrize("task", tasks.TASKS.values(), ids=lambda task: task.name)
def test_every_metric_of_a_task_can_be_computed_and_printed(task):
    for name in (*task.metrics, task.epoch_metric):
        assert name in tasks.METRICS
        assert (name in DECISION_METRICS) != (name in tasks.RANKING_METRICS)
    assert set(task.table) <= set(task.metrics) and len(task.table) == 4


def test_the_tasks_are_those_that_were_published():
    assert {name: len(task.classes) for name, task in tasks.TASKS.items()} == {
        "physionet2020": 24,
        "physionet2017": 4,
        "ptbxl": 5,
        "cpsc2018": 9,
    }
    assert [task.name for task in tasks.TASKS.values() if task.exclusive] == ["physionet2017"]
    assert tasks.PHYSIONET2020.decision_metrics == ("challenge_metric", "micro_f1", "macro_f1")
    assert tasks.PTBXL.metrics[0] == "macro_auroc" and tasks.PTBXL.classes == ("NORM", "MI", "STTC", "CD", "HYP")
    assert tasks.PHYSIONET2017.description("~") == "too noisy to be classified"
    assert tasks.PHYSIONET2020.abbreviation("164889003") == "AF"


def test_a_built_set_has_a_task_by_its_name():
    assert tasks.of("synthetic") is tasks.of("physionet2020") is tasks.PHYSIONET2020
    assert tasks.of("synthetic_physionet2017") is tasks.PHYSIONET2017
    assert tasks.is_synthetic("synthetic_ptbxl") and not tasks.is_synthetic("ptbxl")
    with pytest.raises(
        DataError, match="no task is known for the data set 'mitbih'; the data sets are physionet2020, "
    ):
        tasks.of("mitbih")


def test_a_name_is_chosen_among_the_sets_that_an_experiment_is_for():
    assert tasks.choices(("physionet2020",)) == ("auto", "physionet2020", "synthetic")
    assert tasks.choices(("ptbxl", "cpsc2018")) == ("auto", "ptbxl", "synthetic_ptbxl", "cpsc2018")
    both = ("ptbxl", "cpsc2018")
    chosen = [tasks.choose(name, both).name for name in ("auto", "synthetic_ptbxl", "cpsc2018")]
    assert chosen == ["ptbxl", "ptbxl", "cpsc2018"]
    with pytest.raises(
        DataError, match="unknown data set 'synthetic'; choose auto, physionet2017, synthetic_physionet"
    ):
        tasks.choose("synthetic", ("physionet2017",))
    with pytest.raises(DataError, match=r"config\.datasets: unknown data set \['mitbih'\]; choose among physionet2020"):
        tasks.choose("auto", ("mitbih",))


@pytest.mark.parametrize("name", [name for name in tasks.DATASETS if name in build.BUILDERS])
def test_the_builders_have_the_same_classes_and_preprocessing(name):
    dataset, builder = tasks.DATASETS[name], build.BUILDERS[name]
    assert tuple(builder.CLASSES) == dataset.task.classes
    assert tuple(config.name for config in builder.BUILDER_CONFIGS) == dataset.preprocess
    assert builder.BUILDER_CONFIGS[0].options.rate == dataset.task.rate


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"abbreviations": ("NORM",)}, "every class needs one abbreviation"),
        ({"metrics": ("accuracy",)}, "unknown metric accuracy"),
        ({"table": ("challenge_metric",)}, "unknown metric challenge_metric"),
        ({"epoch_metric": "macro_f1"}, "macro_f1 needs thresholds, which no epoch has"),
        ({"threshold_metric": "macro_auroc"}, "thresholds cannot maximise 'macro_auroc'"),
        ({"exclusive": True}, "thresholds cannot maximise 'macro_f1'"),
    ],
)
def test_a_task_that_makes_no_sense_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(tasks.PTBXL, **changes)
