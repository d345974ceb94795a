"""`lrhnet-jax predict`: the examples are answered, as `evaluate` answers; bad files are named, and stop no other."""

import base64
import csv
import dataclasses
import html.parser
import io
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

import lrhnet_jax
from lrhnet_jax import evaluate, predict, tasks
from lrhnet_jax.deploy import answer_page
from lrhnet_jax.deploy.model import NOT_A_DEVICE
from lrhnet_jax.ecg import readers
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.ecg.recording import RecordError
from tests.helpers import fakes, pages

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
TWELVE = ("HR00001", "HR09289", "HR10862")
SINGLE = ("A00002", "A00004")


@pytest.fixture(scope="module")
def diagnoses(tmp_path_factory):
    """A network of 24 diagnoses on leads I and II."""
    return fakes.network(tmp_path_factory.mktemp("networks") / "student", "physionet2020", ("I", "II"), 512)


@pytest.fixture(scope="module")
def rhythms(tmp_path_factory):
    """A network of four rhythms, which exclude each other, on lead I."""
    return fakes.network(tmp_path_factory.mktemp("networks") / "rhythm", "physionet2017", ("I",), 600)


@pytest.fixture(scope="module")
def answered(rhythms, tmp_path_factory):
    """The folder of answers to every example, and what was returned."""
    output = tmp_path_factory.mktemp("answers")
    return output, predict.predict([EXAMPLES], rhythms, output)


class Page(html.parser.HTMLParser):
    """What a browser would fetch for a page, its text, and its pictures."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "link", "iframe", "object", "form")
        self.targets += [value for name, value in attributes if name in ("src", "href", "srcset", "action", "data")]

    def handle_data(self, data):
        self.text.append(data.strip())


def rows_of(output):
    with (output / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_example_is_answered_in_every_form(answered, rhythms):
    output, results = answered
    names = [*SINGLE, *TWELVE]
    assert [pathlib.Path(result.path).stem for result in results] == names
    wanted = {f"{name}.{suffix}" for name in names for suffix in ("json", "png", "html")}
    assert {path.name for path in output.iterdir()} == {*wanted, "predictions.csv"}
    model = lrhnet_jax.load(rhythms)
    for name, result, row in zip(names, results, rows_of(output), strict=True):
        answer = model.predict_file(result.path)
        np.testing.assert_array_equal(result.answer.probabilities, answer.probabilities)
        told = json.loads((output / f"{name}.json").read_text())
        assert told["decision"] == row["decision"] == str(answer) and told["notes"] == list(answer.notes)
        assert [one["probability"] for one in told["classes"]] == answer.probabilities.tolist()
        assert [one["decision"] for one in told["classes"]] == answer.decisions.tolist()
        in_table = [float(row[f"probability_{code}"]) for code in answer.classes]
        np.testing.assert_allclose(in_table, answer.probabilities, rtol=1e-5)
        assert NOT_A_DEVICE in row["notes"] and not row["error"]
    assert len({result.answer.probabilities.tobytes() for result in results}) == len(results)


def test_probabilities_are_those_of_evaluate(diagnoses, tmp_path):
    """On the WFDB example: one way in is `evaluate`, which reads headers itself, the other is the readers."""
    for suffix in ("hea", "mat"):
        shutil.copy(EXAMPLES / f"HR00001.{suffix}", tmp_path)
    evaluate.evaluate(diagnoses, tmp_path, tmp_path / "evaluated")
    predict.predict([tmp_path / "HR00001.hea"], diagnoses, tmp_path / "predicted")
    (one,), (other,) = rows_of(tmp_path / "evaluated"), rows_of(tmp_path / "predicted")
    keys = [f"{kind}_{name}" for kind in ("probability", "decision") for name in tasks.PHYSIONET2020.abbreviations]
    assert [one[key] for key in keys] == [other[key] for key in keys]
    assert len({one[key] for key in keys}) > 10


def test_the_page_needs_no_other_file_and_says_what_it_is(answered, rhythms):
    output, results = answered
    for result in results:
        stem = pathlib.Path(result.path).stem
        page = Page((output / f"{stem}.html").read_text(encoding="utf-8"))
        (target,) = page.targets
        assert base64.b64decode(target.removeprefix("data:image/png;base64,")) == (output / f"{stem}.png").read_bytes()
        assert {NOT_A_DEVICE, str(result.answer), *result.answer.notes, *result.answer.names} <= set(page.text)
        assert "physionet2017, 4 classes" in page.text and "the most probable class" in page.text
        assert "://" not in (output / f"{stem}.html").read_text(encoding="utf-8").replace(target, "")


def test_the_picture_is_the_recording_to_scale_with_the_models_leads_in_blue(diagnoses, monkeypatch):
    model = lrhnet_jax.load(diagnoses)
    drawn = []
    monkeypatch.setattr(answer_page.squared_paper, "page", spy(answer_page.squared_paper.page, drawn))
    recording = readers.read(EXAMPLES / "HR10862.dcm")
    answer = model.predict_recording(recording)
    picture = imread(io.BytesIO(answer_page.picture(model, recording, answer)))
    assert picture.shape[1] == pytest.approx(250 / 25.4 * answer_page.DPI, abs=1)
    (figure,) = drawn
    blue = {text.get_text() for text in figure.axes[0].texts if text.get_color() == answer_page.squared_paper.MARKED}
    assert blue == {"I", "II"} and {text.get_text() for text in figure.axes[0].texts} == set(LEADS)
    rhythm = figure.axes[0].lines[-1].get_ydata()
    np.testing.assert_allclose(np.ptp(rhythm), np.ptp(recording.signal[:, 1]), rtol=1e-5)
    title = figure.texts[0].get_text()
    assert "HR10862.dcm" in title and NOT_A_DEVICE in title and " ".join(str(answer).split()[:3]) in title


def spy(function, results):
    def call(*arguments, **options):
        results.append(function(*arguments, **options))
        return results[-1]

    return call


def test_names_in_a_page_are_text_and_not_markup(diagnoses):
    model, recording = lrhnet_jax.load(diagnoses), readers.read(EXAMPLES / "HR10862.dcm")
    recording = dataclasses.replace(
        recording, path=pathlib.Path("<script>alert(1)</script>.dcm"), notes=("<img src=x>",)
    )
    answer = model.predict_recording(recording)
    page = Page(answer_page.document(model, recording, answer, b""))
    assert "<img src=x>" in page.text and page.targets == ["data:image/png;base64,"]


@pytest.fixture
def bad(tmp_path, monkeypatch):
    """A folder with one good file, and one of each kind of bad one."""
    folder = tmp_path / "bad"
    folder.mkdir()
    shutil.copy(EXAMPLES / "A00002.csv", folder / "good.csv")
    (folder / "empty.csv").touch()
    (folder / "cut.edf").write_bytes((EXAMPLES / "HR09289.edf").read_bytes()[:3000])
    (folder / "scan.pdf").write_bytes(b"%PDF-1.4")
    shutil.copy(EXAMPLES / "HR09289.edf", folder / "wrong.txt")
    (folder / "letter.csv").write_text("dear doctor,\nthe ECG is attached\n")
    (folder / "nothing").mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_bad_files_are_named_with_the_remedy_and_stop_no_other(bad, rhythms, capsys):
    arguments = [
        "empty.csv",
        "cut.edf",
        "scan.pdf",
        "letter.csv",
        "gone.edf",
        "nothing",
        "*.q",
        "good.csv",
        "wrong.txt",
    ]
    assert predict.main([*arguments, f"--model={rhythms}", "--output=out"]) == 1
    printed = capsys.readouterr()
    lines = {line.split(": ")[1]: line for line in printed.err.splitlines() if line.startswith("error: ")}
    remedies = {
        "empty.csv": "export it again",
        "cut.edf": "export it again",
        "scan.pdf": "export these",
        "letter.csv": "",
        "gone.edf": "no such file or folder; check the path",
        "nothing": "name a file or a folder of recordings",
        "*.q": "no file matches it",
    }
    assert lines.keys() == remedies.keys()
    assert all(remedy in lines[name] for name, remedy in remedies.items())
    assert "2 of 9 recordings answered; written: out" in printed.out
    assert {path.name for path in (bad / "out").glob("*.html")} == {"good.html", "wrong.html"}  # by content, not suffix
    failed = {row["file"]: row["error"] for row in rows_of(bad / "out") if row["error"]}
    assert failed.keys() == remedies.keys()
    assert all(text in lines[name] for name, text in failed.items())


def test_a_lead_that_is_missing_is_named_and_can_be_renamed(diagnoses, tmp_path, capsys):
    csv_file = EXAMPLES / "A00002.csv"
    assert predict.main([str(csv_file), f"--model={diagnoses}", f"--output={tmp_path}"]) == 1
    assert f"error: {csv_file}: lacks lead II" in capsys.readouterr().err
    values = np.random.default_rng(0).normal(size=(2000, 2)).cumsum(0) / 50
    rows = [f"{i / 250:.3f},{a:.4f},{b:.4f}" for i, (a, b) in enumerate(values)]
    (tmp_path / "one.csv").write_text("\n".join(["time,I (mV),MLII (mV)", *rows]))
    arguments = [str(tmp_path / "one.csv"), f"--model={diagnoses}", f"--output={tmp_path / 'out'}"]
    assert predict.main(arguments) == 1
    assert predict.main([*arguments, "--rename_leads=MLII=II"]) == 0
    assert "MLII is read as lead II" in capsys.readouterr().out


def test_folders_patterns_and_repeats_name_each_recording_once(tmp_path, monkeypatch):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(EXAMPLES / "A00002.csv", tmp_path / folder)
    for suffix in ("hea", "mat"):
        shutil.copy(EXAMPLES / f"A00004.{suffix}", tmp_path / "b")
    monkeypatch.chdir(tmp_path)
    files, missing = predict._find(
        ["a", "*/A*.csv", "./a/A00002.csv", "b/A00004.mat", "b/A00004.hea"], tmp_path / "out"
    )
    assert [str(file) for file in files] == ["a/A00002.csv", "b/A00002.csv", "b/A00004.hea"] and not missing
    assert predict._names(files) == ["A00002", "A00002-2", "A00004"]


def test_recordings_are_never_overwritten_and_answers_never_read(rhythms, tmp_path, monkeypatch, capsys):
    shutil.copy(EXAMPLES / "A00002.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in (".", "A00002.csv", "./A00002.csv", "*.csv"):
        assert predict.main([name, f"--model={rhythms}", "--output=."]) == 1
        assert capsys.readouterr().err.startswith("error: --output=.: holds A00002.csv, which is to be read; choose")
    assert [path.name for path in tmp_path.iterdir()] == ["A00002.csv"]
    for _ in range(2):  # the second time, its own answers lie in the folder
        assert predict.main([".", f"--model={rhythms}"]) == 0
        assert "1 of 1 recordings answered; written: predictions" in capsys.readouterr().out


def test_the_table_says_file_decision_probabilities_and_notes(answered):
    _, results = answered
    lines = predict.table(results).splitlines()
    assert lines[0].split()[:2] == ["file", "decision"] and lines[-1] == NOT_A_DEVICE
    (line,) = [i for i, text in enumerate(lines) if "A00004.hea" in text]
    answer = next(result.answer for result in results if "A00004" in result.path)
    assert str(answer) in lines[line] and f"{answer.probabilities.max():.2f}" in lines[line]
    assert lines[line + 1].strip() == "its only signal, 'ECG', is read as lead I"
    assert sum(NOT_A_DEVICE in text for text in lines) == 1


@pytest.mark.slow
def test_without_pages_the_tables_are_the_same(answered, rhythms, tmp_path):
    output, _ = answered
    assert predict.main([str(EXAMPLES), f"--model={rhythms}", f"--output={tmp_path}", "--no_pages"]) == 0
    tables = {path.name for path in output.iterdir() if path.suffix in (".json", ".csv")}
    assert {path.name for path in tmp_path.iterdir()} == tables and len(tables) == 6
    assert all((tmp_path / name).read_bytes() == (output / name).read_bytes() for name in tables)


def test_a_network_that_is_not_there_is_one_line(tmp_path, capsys):
    assert predict.main([str(EXAMPLES), f"--model={tmp_path / 'none'}", f"--output={tmp_path / 'out'}"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and "none" in printed.err and len(printed.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_recording_that_the_model_cannot_read_is_named_by_its_file(diagnoses):
    recording = readers.read(EXAMPLES / "A00002.csv")
    with pytest.raises(RecordError, match=r"A00002\.csv: lacks lead II"):
        lrhnet_jax.load(diagnoses).predict_recording(recording)


def test_importing_the_package_loads_no_jax():
    code = "import sys, lrhnet_jax; lrhnet_jax.load; print('jax' in sys.modules)"
    before = code.replace(" lrhnet_jax.load;", "")
    told = [subprocess.run([sys.executable, "-c", c], capture_output=True, text=True).stdout for c in (before, code)]
    assert [text.strip() for text in told] == ["False", "False"]  # nor does `load`, until a network needs it
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        _ = lrhnet_jax.lode


def test_the_page_of_the_documentation_is_true(diagnoses, tmp_path, monkeypatch, capsys):
    """The command and the code of docs/predict.md, on a network with random weights."""
    page = pages.ROOT / "docs/predict.md"
    (tmp_path / "examples").mkdir()
    shutil.copy(EXAMPLES / "HR10862.dcm", tmp_path / "examples")
    (tmp_path / "runs/pmlkd/networks").mkdir(parents=True)
    (tmp_path / "runs/pmlkd/networks/student").symlink_to(diagnoses)
    monkeypatch.chdir(tmp_path)
    commands = [command.module for command in pages.commands(page)]
    ((_, arguments),) = [found for found in commands if found and found[0] == "lrhnet_jax.predict" and found[1]]
    assert predict.main(arguments) == 0
    assert (tmp_path / "answers/HR10862.html").exists()
    (code,) = pages.snippets(page)
    exec(compile(code, "docs/predict.md", "exec"), {})
    assert NOT_A_DEVICE in capsys.readouterr().out
