"""results.json beside its schema; the runs of tests/experiment/test_systems.py hold real ones to it."""

import copy
import json

import pytest

from lrhnet_jax import tasks
from lrhnet_jax.report import schema, seed_groups
from tests.helpers.results import make_pruning, make_recipe_results, make_results
from tests.helpers.typed import mismatches


def as_read(results):
    return json.loads(json.dumps(results))


@pytest.mark.parametrize("task", tasks.TASKS.values(), ids=lambda task: task.name)
def test_results_of_every_task_are_as_the_schema_says(task):
    results = make_results(folds=("0", "1"), task=task, dataset=task.name, synthetic=True)
    row(results).update(pruning=make_pruning(), loaded_from="runs/t", test_reference=row(results)["test"])
    assert mismatches(as_read(results), schema.Results) == []


def test_a_summary_of_recipes_is_as_the_schema_says():
    assert mismatches(as_read(seed_groups.summarize(make_recipe_results())), dict[str, seed_groups.Group]) == []


def test_what_is_not_as_the_schema_says_is_found():
    whole = as_read(make_results())
    folds = "folds.0.networks.student"
    for change, expected in (
        (lambda r: r.pop("created"), "created: missing from Results"),
        (lambda r: r.update(notes=""), "notes: unknown field"),
        (lambda r: r["dataset"].update(records=1.5), "dataset.records: 1.5 is not int"),
        (lambda r: r["dataset"].update(synthetic=0), "dataset.synthetic: 0 is not bool"),
        (lambda r: r["networks"]["student"].update(leads="II"), "networks.student.leads: 'II' is not list"),
        (lambda r: r["networks"]["student"].update(bytes=True), "networks.student.bytes: True is not int"),
        (lambda r: r["folds"]["0"].update(records=[]), "folds.0.records: [] is not PartSizes"),
        (lambda r: row(r)["history"][3].update(loss=None), f"{folds}.history.3.loss: None is not float"),
        (
            lambda r: row(r)["test"]["headline"]["micro_f1"].pop("low"),
            f"{folds}.test.headline.micro_f1.low: missing from Estimate",
        ),
    ):
        results = copy.deepcopy(whole)
        change(results)
        assert mismatches(results, schema.Results) == [expected]


def row(results):
    return results["folds"]["0"]["networks"]["student"]
