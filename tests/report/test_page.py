import copy
import importlib
import json

import numpy as np
import pytest

from lrhnet_jax import tasks
from lrhnet_jax.report import figures, page, paper
from lrhnet_jax.tasks import physionet2020
from tests.helpers.results import make_results, section


def row(text, name):
    return next(line for line in text.splitlines() if line.lstrip("| ").startswith(name))


def percent(value):
    return f"{100 * value:.1f}"


def test_a_synthetic_run_says_so_first():
    results = make_results(synthetic=True)
    assert page.table(results).splitlines()[0].startswith("SYNTHETIC DATA: every number")
    title, _, banner = page.markdown(results).splitlines()[:3]
    assert title == "# pmlkd (paper preset)"
    assert banner.startswith("> **SYNTHETIC DATA: every number")
    del results["dataset"]["notice"]
    assert page.table(results).startswith("SYNTHETIC DATA")
    real = make_results()
    assert "SYNTHETIC" not in page.table(real) + page.markdown(real)


def test_numbers_of_other_data_are_not_set_against_the_papers():
    results = make_results()
    for text in (page.table(results), page.markdown(results)):
        assert "not a comparison" in text
        assert "120 of ptb-xl, georgia" in text
    results["dataset"]["records"] = 37749
    assert "not a comparison" not in page.table(results) + page.markdown(results)
    results["dataset"]["synthetic"] = True
    assert "not a comparison" in page.markdown(results)


def test_table_holds_scores_and_the_papers_numbers():
    results = make_results()
    text = page.table(results)
    headline = results["folds"]["0"]["networks"]["student"]["test"]["headline"]
    line = row(text, "student")
    metric = headline["challenge_metric"]
    assert f"{percent(metric['value'])} [{percent(metric['low'])}, {percent(metric['high'])}]" in line
    assert percent(headline["macro_average_precision"]["value"]) in line
    assert "83,236" in line
    assert line.endswith("57.27 (71.18)")
    assert row(text, "teacher12").endswith("67.43 (76.65)")
    assert all(len(line) <= page.WIDTH for line in text.splitlines())


def test_the_decision_rule_of_the_config_is_the_headline():
    results = make_results()
    test = results["folds"]["0"]["networks"]["student"]["test"]
    by_rule = {"threshold": test["headline"], "threshold_or_top1": test["headline_top1"]}
    for rule, other in (("threshold", "threshold_or_top1"), ("threshold_or_top1", "threshold")):
        results["config"]["evaluation"]["decision"] = rule
        first, second = section(page.markdown(results), "Scores").split("Under the other rule")
        assert percent(by_rule[rule]["micro_f1"]["value"]) in row(first, "student")
        assert percent(by_rule[other]["micro_f1"]["value"]) in row(second, "student")
    assert by_rule["threshold"] != by_rule["threshold_or_top1"]


def test_all_folds_give_mean_and_standard_deviation():
    results = make_results(folds=("0", "1", "2"))
    values = [f["networks"]["student"]["test"]["headline"]["micro_f1"]["value"] for f in results["folds"].values()]
    expected = f"{percent(np.mean(values))} ± {percent(np.std(values, ddof=1))}"
    assert expected in row(page.table(results), "student")
    text = page.markdown(results)
    assert expected in row(section(text, "Scores"), "student")
    assert "mean and standard deviation over 3 folds" in text
    differences = [f["comparisons"][0]["differences"]["micro_f1"]["difference"] for f in results["folds"].values()]
    *rows, last = [line for line in section(text, "Differences").splitlines() if "| teacher12 - student |" in line]
    assert len(rows) == 3
    assert last.startswith("| all |")
    assert f"{100 * np.mean(differences):+.1f} ± {percent(np.std(differences, ddof=1))}" in last


def test_report_describes_the_run():
    results = make_results()
    text = page.markdown(results, [("figures/training.png", "Training.")])
    assert "| student | lrhnet | 2 | 83,236 | 328.0 | 95.7 | 1.23 | 1 teacher12 | 9 of 12 | 812 |" in text
    assert "one pass over the validation part, 44 records, in batches of 64, compiled, on 1 x cpu." in text
    assert "Recipes over seeds" not in text
    difference = results["folds"]["0"]["comparisons"][0]["differences"]["micro_f1"]
    assert f"+{percent(difference['difference'])} [" in section(text, "Differences")
    assert f", p {difference['p']:.3f}" in section(text, "Differences")
    entry = results["folds"]["0"]["networks"]["student"]["test"]["per_class"]["10370003"]
    line = row(section(text, "Per class"), "PR ")
    assert f"{percent(entry['f1'])} / {percent(entry['auroc'])} / {percent(entry['average_precision'])}" in line
    assert row(section(text, "Per class"), "LPR").endswith("| 0 | - / - / - | - / - / - |")
    assert "leave out the classes without a positive in a test fold: LPR" in text
    assert "shares no patient with the scored fold" in text
    assert "400 records to train, 44 to validate, 120 scored" in text
    assert "for lack of a scored class: 31" in text
    assert "`g1/A1.hea`: short" in text
    assert "![Training.](figures/training.png)" in text
    assert results["command"] in section(text, "Reproduce")
    assert "jax 0.10.2" in text


def test_thresholds_of_the_scored_fold_are_reported_when_made():
    results = make_results()
    assert "optimistic" not in page.markdown(results)
    for run in results["folds"]["0"]["networks"].values():
        run["test_reference"] = copy.deepcopy(run["test"])
        run["test_reference"]["headline"]["micro_f1"]["value"] = 0.987
    assert "98.7" in section(page.markdown(results), "Scores").split("(optimistic)")[1]
    results["config"]["evaluation"]["protocol"] = "reference"
    assert "chosen on the fold that is scored" in section(page.markdown(results), "How decisions were made")


def test_numbers_that_do_not_exist_are_dashes():
    results = make_results()
    run = results["folds"]["0"]["networks"]["student"]
    run["test"]["headline"]["macro_auroc"] = {"value": None, "low": None, "high": None}
    differences = results["folds"]["0"]["comparisons"][0]["differences"]
    differences["macro_auroc"] = {"difference": None, "low": None, "high": None, "p": None}
    assert " -  " in row(page.table(results), "student")
    assert "| - |" in row(section(page.markdown(results), "Scores"), "student")


def test_a_loaded_teacher_and_optional_parts():
    results = make_results()
    results["folds"]["0"]["networks"]["teacher12"] |= {"history": [], "loaded_from": "runs/t", "best_epoch": 0}
    del results["folds"]["0"]["networks"]["teacher12"]["samples_per_second"]
    del results["folds"]["0"]["networks"]["teacher12"]["inference"]  # scored by an earlier version
    results["folds"]["0"]["comparisons"] = []
    for key in ("per_source_class", "co_occurrence", "build_report"):
        del results["dataset"][key]
    text = page.markdown(results)
    assert "loaded from runs/t" in row(section(text, "Networks"), "teacher12")
    assert "No two networks" in text
    assert "Records per source: ptb-xl" in text


@pytest.mark.slow
def test_write_makes_the_report_and_its_figures(tmp_path):
    results = json.loads(json.dumps(make_results(folds=("0", "1"))))
    path = page.write(results, tmp_path / "run")
    assert path == tmp_path / "run" / "report.md"
    text = path.read_text()
    names = ["training", "per_class", "classes", "co_occurrence"]
    assert sorted(p.stem for p in (tmp_path / "run" / "figures").iterdir()) == sorted(names)
    for name in names:
        assert f"](figures/{name}.png)" in text
        assert (tmp_path / "run" / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_figures_show_the_numbers():
    results = make_results()
    (axes,) = figures.per_class(results).axes
    by_class = results["folds"]["0"]["networks"]["student"]["test"]["per_class"]
    shown = [code for code in physionet2020.CLASSES if by_class[code]["positives"]]
    assert sorted(bar.get_height() for bar in axes.containers[1]) == pytest.approx(
        sorted(by_class[code]["f1"] for code in shown)
    )
    (axes,) = figures.class_counts(results).axes
    widths = sum(bar.get_width() for container in axes.containers for bar in container)
    assert widths == sum(results["dataset"]["per_class"].values())
    loss, *_ = figures.training_curves(results).axes
    history = results["folds"]["0"]["networks"]["teacher12"]["history"]
    assert loss.lines[0].get_ydata() == pytest.approx([entry["loss"] for entry in history])


def test_figures_without_their_data_are_left_out(tmp_path):
    results = make_results()
    for run in results["folds"]["0"]["networks"].values():
        run["history"] = []
    del results["dataset"]["co_occurrence"], results["dataset"]["per_source_class"]
    assert [path for path, _ in figures.write(results, tmp_path)] == [
        f"{tmp_path.name}/per_class.png",
        f"{tmp_path.name}/classes.png",
    ]


def test_a_window_is_given_in_seconds_at_the_sets_own_rate():
    assert "one window of 4,096 samples (15.9 s at 257 Hz)" in page.markdown(make_results())
    results = make_results(task=tasks.PHYSIONET2017, dataset="physionet2017")
    assert "one window of 4,096 samples (13.7 s at 300 Hz)" in page.markdown(results)
    del results["dataset"]["rate"]
    assert "one window of 4,096 samples." in page.markdown(results)


def test_classes_that_exclude_each_other_have_no_thresholds_but_a_confusion_matrix(tmp_path):
    results = make_results(folds=("0", "1"), task=tasks.PHYSIONET2017, dataset="physionet2017")
    text = page.markdown(results)
    first, second = (f["networks"]["student"]["test"]["confusion"] for f in results["folds"].values())
    table = section(text, "Labels and decisions").split("| student | N | A | O | ~ |")[1]
    assert row(table, "A |") == f"| A | {' | '.join(str(a + b) for a, b in zip(first[1], second[1], strict=True))} |"
    scores = section(text, "Scores")
    assert "| network | Challenge F1 | F1 with noise | macro AUROC | macro AP |" in scores
    assert "the class with the highest probability" in scores and "other rule" not in scores
    assert "No threshold is fitted" in text and "Leak-free: the epoch was chosen on a validation part" in text
    assert "highest validation Challenge F1" in text
    assert "| ~ | too noisy to be classified |" in section(text, "Data")
    assert "paper" not in scores + page.table(results)
    assert all(len(line) <= page.WIDTH for line in page.table(results).splitlines())
    drawn = [path.split("/")[1] for path, _ in figures.write(results, tmp_path)]
    assert drawn == ["training.png", "per_class.png", "confusion.png", "classes.png"]
    total = np.add(first, second)
    shares = 100 * total / total.sum(axis=1, keepdims=True)
    shown = [cell.get_text() for cell in figures.confusion(results).axes[1].texts]
    assert shown == [f"{share:.0f}" for share in shares.ravel()]


@pytest.mark.parametrize("task", [tasks.PTBXL, tasks.CPSC2018], ids=lambda task: task.name)
def test_other_tasks_have_their_own_columns(task, tmp_path):
    results = make_results(task=task, dataset=task.name)
    text, table = page.markdown(results), page.table(results)
    scores = section(text, "Scores")
    assert f"| network | {' | '.join(tasks.METRICS[metric] for metric in task.metrics)} |" in scores
    headline = results["folds"]["0"]["networks"]["student"]["test"]["headline"]
    for metric in task.table:
        assert percent(headline[metric]["value"]) in row(table, "student")
    first = headline[task.metrics[0]]
    assert f"{percent(first['value'])} [{percent(first['low'])}, {percent(first['high'])}]" in row(table, "student")
    assert "Challenge" not in scores + table and "paper" not in scores + table and "Labels and decisions" not in text
    assert "maximise the F1 of their class" in text
    captions = dict(figures.write(results, tmp_path))
    assert len(captions) == 4 and not any("Fig." in caption for caption in captions.values())
    assert all(len(line) <= page.WIDTH for line in table.splitlines())


def graph_of(config: str, arg: str) -> dict:
    networks = importlib.import_module(f"configs.{config}").get_config(arg).networks.to_dict()
    return {
        name: {
            **fields,
            "leads": list(fields["leads"]),
            "method": fields["train"].get("method", {"name": "none"})["name"],
        }
        for name, fields in networks.items()
    }


@pytest.mark.parametrize(
    ("config", "leads", "name", "expected"),
    [
        ("pmlkd", "3", "student", (60.36, 72.51)),
        ("smlkd", "2", "student", (58.36, 71.43)),
        ("vanilla_kd", "12", "student", (60.67, 73.41)),
        ("pmlkd", "2", "teacher2", (63.34, 74.86)),
        ("cnn1d", "3", "cnn1d", (56.92, 67.61)),
        ("tables", "", "smlkd3_1", (60.39, 73.44)),
        ("tables", "", "alone2_0", (56.66, 70.21)),
        ("tables", "", "teacher12", (67.43, 76.65)),
        ("tables", "", "semckd12_2", (60.17, 73.34)),
        ("tables", "", "pskd2_0", (55.58, 68.03)),
        ("tables", "", "teacher2_taught", None),
        ("fitnet", "3", "student", (58.88, 72.61)),
        ("semckd", "12", "student", (60.17, 73.34)),
        ("pskd", "2", "student", (55.58, 68.03)),
        ("smlkd", "3", "teacher3", None),  # a taught teacher has no number in the paper
        ("pmlkd", "I+V5", "student", None),
        ("pmlkd", "1", "student", None),
        ("chain", "2", "student", None),
    ],
)
def test_paper_numbers_belong_to_method_and_leads(config, leads, name, expected):
    assert paper.result(graph_of(config, f"leads={leads}" if leads else ""), name) == expected
