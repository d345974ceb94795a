import csv
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from lrhnet_jax import evaluate, models, tasks
from lrhnet_jax.data.batch import LeadNetwork
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.deploy.model import load
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.ecg.leads import LEADS, demographics_vector
from lrhnet_jax.ecg.wfdb import read_header, read_signal
from lrhnet_jax.errors import CheckpointError, DataError, UserError
from lrhnet_jax.runtime.files import write_json
from lrhnet_jax.scoring import predict, thresholds
from lrhnet_jax.scoring.score import score
from lrhnet_jax.tasks import physionet2020
from lrhnet_jax.training import checkpoint
from lrhnet_jax.training.state import init_variables
from tests.helpers import fakes
from tests.helpers.wfdb_files import write_noise

WINDOW = 512
AF, NSR, UNSCORED = "164889003", "426783006", "55827005"
LIMITS = np.linspace(0.4, 0.6, 24)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network on leads I and V5, untrained but for its thresholds."""
    folder = tmp_path_factory.mktemp("run") / "networks" / "student"
    leads = ("I", "V5")
    variables = init_variables(models.create("lrhnet", leads), jax.random.key(0), len(leads), WINDOW)
    meta = {
        "name": "student",
        "model": "lrhnet",
        "options": {},
        "leads": list(leads),
        "classes": list(physionet2020.CLASSES),
        "window": WINDOW,
        "preprocess": "paper",
        "trained_on": "synthetic",
        "synthetic": True,
        "parameters": models.count_parameters(variables["params"]),
    }
    checkpoint.save_model(folder, variables, meta)
    write_json(folder / "thresholds.json", {"thresholds": LIMITS.tolist()})
    return folder


@pytest.fixture
def raw_dir(tmp_path):
    folder = tmp_path / "raw"
    write_noise(folder / "training" / "ptb-xl" / "g1", "HR00001", AF, seed=1)
    write_noise(folder / "training" / "ptb-xl" / "g1", "HR00002", f"{NSR},{UNSCORED}", seed=2)
    write_noise(folder / "training" / "ptb-xl" / "g1", "HR00003", UNSCORED, seed=3)
    write_noise(folder / "other", "two_leads", AF, leads=("V5", "I"), rate=257, seconds=8, seed=4)
    write_noise(folder / "other", "no_v5", NSR, leads=LEADS[:6], seed=5)
    broken = write_noise(folder / "other", "broken", NSR, seed=6)
    signal = broken.with_suffix(".dat")
    signal.write_bytes(signal.read_bytes()[:1000])
    return folder


def rows_of(output):
    with (output / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_record_is_predicted_scored_or_named(network, raw_dir, tmp_path):
    metrics = evaluate.evaluate(network, raw_dir, tmp_path / "out")
    assert metrics == json.loads((tmp_path / "out" / "metrics.json").read_text())
    counts = metrics["records"]
    assert (counts["found"], counts["predicted"], counts["scored"], counts["without_scored_class"]) == (6, 4, 3, 1)
    reasons = {row["path"]: row["reason"] for row in counts["rejected"]}
    assert reasons.keys() == {"other/no_v5.hea", "other/broken.hea"}
    assert "V5" in reasons["other/no_v5.hea"]
    assert metrics["score"]["records"] == 3
    assert metrics["thresholds"]["values"] == dict(zip(physionet2020.CLASSES, LIMITS.tolist(), strict=True))
    rows = rows_of(tmp_path / "out")
    assert [row["record"] for row in rows] == ["two_leads", "HR00001", "HR00002", "HR00003"]
    assert [row["labels"] for row in rows] == ["AF", "AF", "NSR", ""]
    assert rows[0]["path"] == "other/two_leads.hea"


def test_predictions_are_the_networks(network, raw_dir, tmp_path):
    metrics = evaluate.evaluate(network, raw_dir, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    meta, variables = checkpoint.load_model(network)
    headers = [read_header(raw_dir / row["path"]) for row in rows]
    leads = ("I", "V5")
    signals = [preprocessing.preprocess(read_signal(h, leads), h.rate) for h in headers]
    demographics = np.tile(demographics_vector(61, "Male"), (4, 1))
    packed = Dataset.from_arrays(signals, demographics=demographics, leads=leads)
    expected = predict.Predictor(
        LeadNetwork(models.create("lrhnet", leads), packed.columns(leads)), variables, meta["window"]
    ).of_dataset(packed)
    found = np.array([[float(row[f"probability_{name}"]) for name in physionet2020.ABBREVIATIONS] for row in rows])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    decided = np.array([[row[f"decision_{name}"] == "1" for name in physionet2020.ABBREVIATIONS] for row in rows])
    np.testing.assert_array_equal(decided, thresholds.decide(expected, LIMITS))
    assert decided.any() and not decided.all()
    assert [row["top1"] for row in rows] == [physionet2020.ABBREVIATIONS[i] for i in expected.argmax(axis=1)]
    labels = np.stack([physionet2020.encode_labels(header.codes) for header in headers])[:3]
    expected_score = score(labels, expected[:3], LIMITS)
    found_score = metrics["score"]
    assert found_score["headline"]["macro_auroc"] == pytest.approx(expected_score["headline"]["macro_auroc"])
    assert found_score["classes_without_positives"] == expected_score["classes_without_positives"]


@pytest.mark.slow
def test_chunks_change_nothing(network, raw_dir, tmp_path, monkeypatch):
    evaluate.evaluate(network, raw_dir, tmp_path / "whole")
    for field, value in (("CHUNK_RECORDS", 3), ("CHUNK_SAMPLES", 1000)):
        with monkeypatch.context() as patch:
            patch.setattr(evaluate, field, value)
            evaluate.evaluate(network, raw_dir, tmp_path / field, batch_size=3)
        for one, other in zip(rows_of(tmp_path / "whole"), rows_of(tmp_path / field), strict=True):
            assert one["path"] == other["path"]
            for name in physionet2020.ABBREVIATIONS:
                assert float(one[f"probability_{name}"]) == pytest.approx(float(other[f"probability_{name}"]), abs=1e-5)


def test_chunks_are_bounded_by_records_and_by_samples(monkeypatch):
    monkeypatch.setattr(evaluate, "CHUNK_RECORDS", 3)
    monkeypatch.setattr(evaluate, "CHUNK_SAMPLES", 100)
    lengths = [10, 10, 10, 10, 120, 60, 60, 5]
    found = [evaluate.Recording(None, np.zeros((length, 2), np.float16)) for length in lengths]
    chunks = list(evaluate._chunks(iter(found)))
    assert [[len(record.signal) for record in chunk] for chunk in chunks] == [[10, 10, 10], [10, 120], [60, 60], [5]]


def _ours(folder, name, signal, leads=("I", "V5")):
    """Writes a signal (time, leads) in units of 1/1000 mV."""
    values = np.asarray(signal, np.int16)
    lines = [f"{name}.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in leads]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.dat").write_bytes(values.astype("<i2").tobytes())
    text = "\n".join([f"{name} {len(leads)} 257 {len(values)}", *lines, "#Age: 61"]) + "\n"
    (folder / f"{name}.hea").write_bytes(text.encode("utf-8", "surrogateescape"))


BEATS = np.cumsum(np.random.default_rng(5).integers(-9, 10, (1500, 2)), axis=0)


def test_signals_that_carry_nothing_are_answered_and_marked(network, tmp_path):
    _ours(tmp_path / "raw", "good", BEATS)
    _ours(tmp_path / "raw", "one_flat", BEATS * [1, 0])
    _ours(tmp_path / "raw", "rail", np.full((1500, 2), 32767))
    _ours(tmp_path / "raw", "zeros", np.zeros((1500, 2)))
    metrics = evaluate.evaluate(network, tmp_path / "raw", tmp_path / "out")
    rows = {row["record"]: row for row in rows_of(tmp_path / "out")}
    marks = {name: row["quality"] for name, row in rows.items()}
    assert marks == {"good": "", "one_flat": "flat V5", "rail": "no signal", "zeros": "no signal"}
    assert all(0 <= float(v) <= 1 for row in rows.values() for k, v in row.items() if k.startswith("probability_"))
    assert metrics["records"]["quality"] == {"no signal": 2, "flat": 1, "clipped": 0, "scale": 0}
    assert "quality: 2 no signal, 1 flat" in evaluate.summary(metrics, tmp_path / "out")


def test_names_that_are_not_utf_8_cost_nothing(network, tmp_path):
    name = os.fsdecode(b"pr\xfcf")
    _ours(tmp_path / "raw", name, BEATS)
    _ours(tmp_path / "raw" / name, "short", BEATS[:5])
    _ours(tmp_path / "raw", "plain", BEATS)
    metrics = evaluate.evaluate(network, tmp_path / "raw", tmp_path / "out")
    rows = {row["path"]: row for row in rows_of(tmp_path / "out")}
    assert rows.keys() == {"plain.hea", r"pr\xfcf.hea"} and rows[r"pr\xfcf.hea"]["record"] == r"pr\xfcf"
    assert rows["plain.hea"]["probability_AF"] == rows[r"pr\xfcf.hea"]["probability_AF"]
    assert [item["path"] for item in metrics["records"]["rejected"]] == [r"pr\xfcf/short.hea"]
    assert metrics == json.loads((tmp_path / "out" / "metrics.json").read_text())


def test_the_user_may_say_which_signals_count_as_leads(network, tmp_path):
    _ours(tmp_path / "raw", "plain", BEATS)
    _ours(tmp_path / "raw", "holter", BEATS, ("ML I", "CM5"))
    metrics = evaluate.evaluate(network, tmp_path / "raw", tmp_path / "out")
    (rejected,) = metrics["records"]["rejected"]
    assert "lacks lead I, V5 (it has ML I, CM5)" in rejected["reason"] and "--rename_leads=" in rejected["reason"]
    rename = {"ML I": "I", "CM5": "V5"}
    evaluate.evaluate(network, tmp_path / "raw", tmp_path / "out", rename_leads=rename)
    first, second = rows_of(tmp_path / "out")
    assert first["probability_AF"] == second["probability_AF"]


def test_a_table_of_ptbxl_that_knows_no_record_is_an_error(network, raw_dir, tmp_path, caplog):
    table = tmp_path / "table.csv"
    table.write_text("ecg_id,patient_id\n77,1\n")
    with pytest.raises(DataError, match=r"knows none of the 6 records .3 have names of PTB-XL"):
        evaluate.evaluate(network, raw_dir, tmp_path / "out", ptbxl_database=table)
    table.write_text("ecg_id,patient_id\n1,1\n")
    evaluate.evaluate(network, raw_dir, tmp_path / "out", ptbxl_database=table)
    assert "knows 1 of 3 records of PTB-XL" in caplog.text


def test_records_without_labels_are_predicted_only(network, tmp_path):
    write_noise(tmp_path / "raw", "a")
    metrics = evaluate.evaluate(network, tmp_path / "raw", tmp_path / "out")
    assert metrics["score"] is None
    assert "nothing to score" in evaluate.summary(metrics, tmp_path)
    assert len(rows_of(tmp_path / "out")) == 1


def test_the_summary_says_what_the_network_is_and_what_was_left_out(network, raw_dir, tmp_path):
    text = evaluate.summary(evaluate.evaluate(network, raw_dir, tmp_path / "out"), tmp_path / "out")
    assert text.startswith("This network was trained on SYNTHETIC ECGs")
    assert "6 records found: 4 predicted, 2 rejected; 3 scored, 1 predicted without a scored class" in text
    assert "not to these records" in text
    assert "challenge_metric" in text


def test_a_network_without_thresholds_decides_at_a_half(network, raw_dir, tmp_path):
    limits = network / "thresholds.json"
    kept = limits.read_text()
    limits.unlink()
    try:
        metrics = evaluate.evaluate(network, raw_dir, tmp_path / "out")
    finally:
        limits.write_text(kept)
    assert set(metrics["thresholds"]["values"].values()) == {0.5}
    assert metrics["thresholds"]["source"].startswith("none were fitted")


def test_patients_of_ptbxl_are_kept_together(network, raw_dir, tmp_path):
    table = tmp_path / "ptbxl_database.csv"
    table.write_text("ecg_id,patient_id\n1,77.0\n2,77.0\n3,78.0\n")
    without = evaluate.evaluate(network, raw_dir, tmp_path / "out")
    known = evaluate.evaluate(network, raw_dir, tmp_path / "out", ptbxl_database=table)
    assert (without["score"]["patients"], known["score"]["patients"]) == (3, 2)


def test_bad_input_is_named(network, raw_dir, tmp_path):
    output = tmp_path / "out"
    with pytest.raises(CheckpointError, match="no such folder"):
        evaluate.evaluate(tmp_path / "nowhere", raw_dir, output)
    with pytest.raises(CheckpointError, match=r"no trained network here; there are .*student"):
        evaluate.evaluate(network.parent, raw_dir, output)
    with pytest.raises(DataError, match=r"raw_dir '.*nowhere' is not a folder"):
        evaluate.evaluate(network, tmp_path / "nowhere", output)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no WFDB header \(\*\.hea\) at any depth"):
        evaluate.evaluate(network, tmp_path / "empty", output)
    with pytest.raises(DataError, match="ptbxl_database"):
        evaluate.evaluate(network, raw_dir, output, ptbxl_database=tmp_path / "no.csv")
    assert not output.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"output '.*file' cannot be made a folder"):
        evaluate.evaluate(network, raw_dir, tmp_path / "file")


def test_a_lead_that_all_records_lack_is_named(network, tmp_path):
    for i in range(2):
        write_noise(tmp_path / "raw", f"limb{i}", AF, leads=LEADS[:6])
    with pytest.raises(DataError, match=r"none of the 2 records in .* can be used by this network: .*limb0.*V5"):
        evaluate.evaluate(network, tmp_path / "raw", tmp_path / "out")


def test_a_network_that_diverged_is_named(network, raw_dir, tmp_path):
    meta, variables = checkpoint.load_model(network)
    del meta["thresholds"]
    checkpoint.save_model(tmp_path / "nan", jax.tree.map(lambda leaf: leaf * np.nan, variables), meta)
    with pytest.raises(CheckpointError, match="answers NaN"):
        evaluate.evaluate(tmp_path / "nan", raw_dir, tmp_path / "out")


def test_a_network_of_another_preprocessing_or_classes_is_named(network, raw_dir, tmp_path):
    meta, variables = checkpoint.load_model(network)
    del meta["thresholds"]
    checkpoint.save_model(tmp_path / "other", variables, {**meta, "preprocess": "unheard of"})
    with pytest.raises(CheckpointError, match="preprocessing or its classes"):
        evaluate.evaluate(tmp_path / "other", raw_dir, tmp_path / "out")


@pytest.mark.slow
def test_challenge_2017_records_are_labelled_by_their_table_and_read_at_300_hz(tmp_path):
    folder = fakes.network(tmp_path / "run", "physionet2017", ("I",), WINDOW)
    raw = tmp_path / "raw"
    for i, rate in enumerate((300, 300, 300, 500)):
        write_noise(raw, f"A0000{i + 1}", leads=("ECG",), rate=rate, seed=i)
    write_noise(raw, "twelve", seed=9)
    write_noise(raw, "other", leads=("MLII",), seed=10)
    (raw / "REFERENCE.csv").write_text("A00001,N\nA00002,~\nA00003,A\nA00004,O\nA00009,O\n")
    metrics = evaluate.evaluate(folder, raw, tmp_path / "out")
    counts = metrics["records"]
    assert (counts["found"], counts["predicted"], counts["scored"], counts["without_scored_class"]) == (6, 5, 4, 1)
    assert [row["path"] for row in counts["rejected"]] == ["other.hea"]
    assert (metrics["network"]["task"], metrics["network"]["rate"]) == ("physionet2017", 300)
    assert metrics["thresholds"]["values"] is None and "highest probability" in metrics["thresholds"]["source"]
    assert np.sum(metrics["score"]["confusion"]) == 4 and metrics["score"]["headline_top1"] == {}
    rows = {row["record"]: row for row in rows_of(tmp_path / "out")}
    labels = ["N", "~", "A", "O", ""]
    assert [rows[name]["labels"] for name in ("A00001", "A00002", "A00003", "A00004", "twelve")] == labels
    _, variables = checkpoint.load_model(folder)
    model = models.create("lrhnet", ("I",), num_classes=4)
    for name, row in rows.items():
        header = read_header(raw / row["path"])
        lead = "I" if name == "twelve" else "ECG"
        signal = preprocessing.preprocess(
            read_signal(header, (lead,)), header.rate, preprocessing.Preprocess(rate=300.0)
        )
        assert len(signal) == 900
        person = demographics_vector(61, "Male")[None]
        packed = Dataset.from_arrays([signal], demographics=person, leads=("I",))
        (expected,) = predict.Predictor(
            LeadNetwork(model, packed.columns(("I",))), variables, WINDOW, exclusive=True
        ).of_dataset(packed)
        found = [float(row[f"probability_{letter}"]) for letter in "NAO~"]
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert sum(found) == pytest.approx(1, abs=1e-4)
        decided = "".join(letter for letter in "NAO~" if row[f"decision_{letter}"] == "1")
        assert decided == row["top1"] == "NAO~"[expected.argmax()]
    text = evaluate.summary(metrics, tmp_path)
    line = next(line for line in text.splitlines() if "challenge_f1_with_noise" in line)
    assert line.endswith("most probable class") and "top-1" not in text
    (raw / "REFERENCE.csv").unlink()
    assert evaluate.evaluate(folder, raw, tmp_path / "unlabelled")["score"] is None


def test_ptbxl_superclasses_come_from_its_table(tmp_path, caplog):
    folder = fakes.network(tmp_path / "run", "synthetic_ptbxl", ("I", "II"), WINDOW)
    raw = tmp_path / "raw"
    for name in ("HR00001", "00002_hr", "00003_hr", "E00001"):
        write_noise(raw, name, NSR)
    table = tmp_path / "ptbxl_database.csv"
    lines = [
        "ecg_id,patient_id,scp_codes",
        """1,7.0,"{'NORM': 100.0, 'SR': 0.0}\"""",
        """2,7.0,"{'IMI': 15.0, 'LVH': 50.0}\"""",
        """3,8.0,"{'AFIB': 0.0}\"""",
    ]
    table.write_text("\n".join(lines) + "\n")
    metrics = evaluate.evaluate(folder, raw, tmp_path / "out", ptbxl_database=table)
    labels = {row["record"]: row["labels"] for row in rows_of(tmp_path / "out")}
    assert labels == {"HR00001": "NORM", "00002_hr": "MI;HYP", "00003_hr": "", "E00001": ""}
    assert (metrics["score"]["records"], metrics["score"]["patients"]) == (2, 1)
    assert list(metrics["score"]["headline"]) == list(tasks.PTBXL.metrics)
    assert metrics["thresholds"]["values"] == dict.fromkeys(tasks.PTBXL.classes, 0.5)
    assert "SYNTHETIC" in evaluate.summary(metrics, tmp_path)
    with caplog.at_level("WARNING"):
        assert evaluate.evaluate(folder, raw, tmp_path / "out")["score"] is None
    assert "give --ptbxl_database to score its records" in caplog.text
    table.write_text("ecg_id,patient_id,scp_codes\n1,7.0,no dict\n")
    with pytest.raises(DataError, match="is not PTB-XL's table: columns ecg_id, patient_id, scp_codes expected"):
        evaluate.evaluate(folder, raw, tmp_path / "out", ptbxl_database=table)


def test_cpsc_2018_classes_come_from_the_headers(tmp_path):
    folder = fakes.network(tmp_path / "run", "cpsc2018", ("II",), WINDOW)
    write_noise(tmp_path / "raw", "A0001", "59118001,429622005")
    write_noise(tmp_path / "raw", "A0002", UNSCORED)
    metrics = evaluate.evaluate(folder, tmp_path / "raw", tmp_path / "out")
    assert [row["labels"] for row in rows_of(tmp_path / "out")] == ["RBBB;STD", ""]
    assert metrics["score"]["records"] == 1 and list(metrics["score"]["headline"]) == list(tasks.CPSC2018.metrics)


def run(*arguments):
    command = [sys.executable, "-m", "lrhnet_jax.evaluate", *arguments]
    root = pathlib.Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_command_line(network, raw_dir, tmp_path):
    result = run(f"--checkpoint={network}", f"--raw_dir={raw_dir}", f"--output={tmp_path / 'out'}")
    assert result.returncode == 0, result.stderr
    assert "6 records found: 4 predicted, 2 rejected" in result.stdout
    assert "rejected" in result.stderr and "no_v5" in result.stderr
    assert len(rows_of(tmp_path / "out")) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--checkpoint=/nowhere", "--raw_dir=.", "--output={out}"), "error: /nowhere: no such folder"),
        (("--checkpoint=/nowhere", "--raw_dir=.", "--output={out}", "more"), "error: unexpected argument 'more'"),
        (("--raw_dir=.", "--output={out}"), "--checkpoint"),
    ],
)
def test_the_command_line_reports_bad_input_without_a_traceback(arguments, message, tmp_path):
    result = run(*(argument.format(out=tmp_path / "out") for argument in arguments))
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_real_records(network, real_records, tmp_path):
    metrics = evaluate.evaluate(network, real_records / "challenge-2020" / "training" / "georgia", tmp_path / "out")
    counts = metrics["records"]
    assert counts["predicted"] > 20
    assert counts["rejected"] == []
    assert counts["scored"] == metrics["score"]["records"]
    assert len(rows_of(tmp_path / "out")) == counts["found"]


def test_every_format_is_evaluated_as_predict_answers_it(tmp_path):
    """The examples: WFDB, EDF, DICOM and CSV, by a shipped model; those of one lead lack what it reads."""
    examples = pathlib.Path(__file__).parents[2] / "examples"
    metrics = evaluate.evaluate("dx24-2", examples, tmp_path)
    counts = metrics["records"]
    assert (counts["found"], counts["predicted"], counts["scored"]) == (5, 3, 1)  # the header has diagnoses
    assert {row["path"] for row in counts["rejected"]} == {"A00002.csv", "A00004.hea"}
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    model = load("dx24-2")
    for name in ("HR00001.hea", "HR09289.edf", "HR10862.dcm"):
        answer = model.predict_file(examples / name)
        told = [float(rows[name][f"probability_{code}"]) for code in model.task.abbreviations]
        np.testing.assert_allclose(told, answer.probabilities, rtol=1e-5)
