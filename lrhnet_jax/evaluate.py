"""Runs a trained network on any folder of recordings, and scores it where they carry scored diagnoses.

    python -m lrhnet_jax.evaluate --checkpoint=WORKDIR/networks/NAME --raw_dir=DIR --output=OUT

Recordings are WFDB records, or of any format that `lrhnet_jax.ecg.readers` reads. --checkpoint may also be a shipped
model, a model's folder, or a file that `lrhnet_jax.export` has written: model.onnx or model.stablehlo. Writes
OUT/predictions.csv, one row a record, and OUT/metrics.json. The data that the network was trained on is not needed;
whether DIR holds some of it, nothing here can tell.
"""

import logging
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lrhnet_jax import tasks
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.deploy import answer_tables, records
from lrhnet_jax.deploy.model import SYNTHETIC, UNFITTED, Model, check_answers, load
from lrhnet_jax.deploy.records import Recording
from lrhnet_jax.ecg import quality
from lrhnet_jax.ecg.files import printable
from lrhnet_jax.ecg.lead_names import parse_renames
from lrhnet_jax.ecg.leads import demographics_vector
from lrhnet_jax.ecg.wfdb import Header, RecordError
from lrhnet_jax.errors import ConfigError, DataError, Parser, UserError, command
from lrhnet_jax.runtime import log
from lrhnet_jax.runtime.files import write_csv, write_json
from lrhnet_jax.scoring import score as scoring
from lrhnet_jax.scoring import thresholds
from lrhnet_jax.tasks import raw_labels

CHUNK_RECORDS = 256
CHUNK_SAMPLES = 2**20  # at 257 Hz: over an hour; what bounds the memory, with the longest record

logger = logging.getLogger("lrhnet_jax.evaluate")  # not __name__, which is "__main__" on the command line


def evaluate(
    folder: str | os.PathLike[str],
    raw_dir: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    batch_size: int = 64,
    ptbxl_database: str | os.PathLike[str] | None = None,
    rename_leads: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Predicts and scores; writes predictions.csv and metrics.json below `output`.

    Args:
      folder: what `deploy.model.load` takes.
      raw_dir: a folder of recordings in any layout and format. They need to have the network's leads only.
      output: a folder; made if need be.
      batch_size: windows that the network sees at once.
      ptbxl_database: PTB-XL's table, for the bootstrap over patients, and for the labels of a network of its task.
      rename_leads: name of a signal in the files -> the lead that it counts as.

    Returns:
      What metrics.json holds.

    Raises:
      UserError: if the network or the records are missing, or no record can be used.
    """
    model = load(folder)
    meta, task = model.meta, model.task
    paths = records.find(raw_dir)
    label_of = raw_labels.labels(task, raw_dir, ptbxl_database)
    patient_of = raw_labels.patients(ptbxl_database)
    if ptbxl_database is not None:
        raw_labels.check_ptbxl(ptbxl_database, [path.stem for path in paths])
    output = pathlib.Path(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output {str(output)!r} cannot be made a folder ({error.strerror})") from error
    rejected: list[RecordError] = []
    recordings = records.read(paths, model, rejected, rename_leads)
    headers, marks, probabilities = _predict(model, batch_size, recordings, len(paths), rejected)
    for reason in rejected:
        logger.warning("rejected %s", reason)
    if not headers:
        reasons = "; ".join(map(str, rejected[:3]))
        raise DataError(f"none of the {len(paths)} records in {raw_dir} can be used by this network: {reasons}")
    check_answers(folder, probabilities)
    limits = model.limits
    labels = np.stack([label_of(header) for header in headers])
    labelled = np.asarray(labels.any(axis=1))
    score = None
    if labelled.any():
        patients = [patient_of(headers[i]) for i in np.flatnonzero(labelled)]
        score = scoring.score(labels[labelled], probabilities[labelled], limits, patients, task=task)
    places = [printable(os.path.relpath(header.path, raw_dir)) for header in headers]
    _write_predictions(output / "predictions.csv", task, headers, places, labels, probabilities, limits, marks)
    keys = ("name", "model", "leads", "window", "rate", "preprocess", "parameters", "trained_on", "synthetic")
    metrics = {
        "schema": 1,
        "checkpoint": str(folder),
        "network": {**{key: meta.get(key) for key in keys}, "task": task.name, "rate": model.options.rate},
        "notice": SYNTHETIC if meta.get("synthetic") else "",
        "raw_dir": printable(raw_dir),
        "records": {
            "found": len(paths),
            "predicted": len(headers),
            "scored": int(labelled.sum()),
            "without_scored_class": int((~labelled).sum()),
            "rejected": [{"path": os.path.relpath(e.path, printable(raw_dir)), "reason": e.reason} for e in rejected],
            "quality": {mark: sum(mark in found for found in marks) for mark in quality.MARKS},
        },
        "thresholds": {
            "source": _threshold_source(meta, task),
            "values": None if limits is None else dict(zip(task.classes, limits.tolist(), strict=True)),
        },
        "score": score,
    }
    write_json(output / "metrics.json", metrics)
    return metrics


def summary(metrics: Mapping[str, Any], output: str | os.PathLike[str]) -> str:
    """Returns what the command line prints."""
    counts, network = metrics["records"], metrics["network"]
    task = tasks.TASKS[network["task"]]
    lines = [metrics["notice"]] if metrics["notice"] else []
    lines += [
        f"{network['name']} ({network['model']}, leads {', '.join(network['leads'])})",
        f"{counts['found']} records found: {counts['predicted']} predicted, {len(counts['rejected'])} rejected; "
        f"{counts['scored']} scored, {counts['without_scored_class']} predicted without a scored class",
        f"thresholds: {metrics['thresholds']['source']}",
    ]
    marked = ", ".join(f"{n} {mark}" for mark, n in counts["quality"].items() if n)
    lines += [f"quality: {marked} (records; predictions.csv says which leads)"] if marked else []
    score = metrics["score"]
    if score is None:
        lines.append("no record has a scored class: nothing to score")
    else:
        first = "most probable class" if task.exclusive else "threshold"
        for key, rule in (("headline", first), ("headline_top1", "threshold or top-1")):
            for name, row in score[key].items():
                if row["value"] is not None:
                    by = rule if name in task.decision_metrics else ""
                    lines.append(f"  {name:25} {row['value']:.4f} [{row['low']:.4f}, {row['high']:.4f}]  {by}".rstrip())
        if score["classes_without_positives"]:
            absent = ", ".join(task.abbreviation(code) for code in score["classes_without_positives"])
            lines.append(f"  classes without a positive record, left out of macro figures: {absent}")
    return "\n".join([*lines, f"written: {printable(pathlib.Path(output) / 'metrics.json')}, predictions.csv"])


def _predict(
    model: Model,
    batch_size: int,
    recordings: Iterable[Recording],
    count: int,
    rejected: list[RecordError],
) -> tuple[list[Header], list[Mapping[str, tuple[str, ...]]], np.ndarray]:
    """Returns headers, marks and probabilities, (n, classes), of the recordings; reading them fills `rejected`."""
    headers: list[Header] = []
    marks: list[Mapping[str, tuple[str, ...]]] = []
    parts = [np.zeros((0, len(model.task.classes)), np.float32)]
    with tqdm.tqdm(total=count, desc="evaluate", unit="record", disable=None) as bar:
        for chunk in _chunks(recordings):
            batch = Dataset.from_arrays(
                [record.signal for record in chunk],
                demographics=np.stack([demographics_vector(r.header.age, r.header.sex) for r in chunk]),
                leads=model.leads,
                classes=model.task.classes,
            )
            parts.append(model.probabilities(batch, batch_size))
            headers += [record.header for record in chunk]
            marks += [record.marks for record in chunk]
            bar.update(len(headers) + len(rejected) - bar.n)
        bar.update(count - bar.n)
    return headers, marks, np.concatenate(parts)


def _chunks(recordings: Iterable[Recording]) -> Iterator[list[Recording]]:
    chunk: list[Recording] = []
    for record in recordings:
        chunk.append(record)
        if len(chunk) == CHUNK_RECORDS or sum(len(r.signal) for r in chunk) >= CHUNK_SAMPLES:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _threshold_source(meta: Mapping[str, Any], task: tasks.Task) -> str:
    if task.exclusive:
        return "none: each record is of the class with the highest probability"
    if meta["thresholds"] is None:
        return f"none were fitted to this network: {UNFITTED} for every class"
    return "fitted when the network was trained (the checkpoint's thresholds.json), not to these records"


def _write_predictions(
    path: pathlib.Path,
    task: tasks.Task,
    headers: list[Header],
    places: list[str],
    labels: np.ndarray,
    probabilities: np.ndarray,
    limits: np.ndarray | None,
    marks: list[Mapping[str, tuple[str, ...]]],
) -> None:
    names = task.abbreviations
    decisions = thresholds.decide(probabilities, limits)
    rows = []
    for i, header in enumerate(headers):
        own = ";".join(name for name, positive in zip(names, labels[i], strict=True) if positive)
        row = {"record": header.record_id, "path": places[i], "labels": own, "quality": quality.describe(marks[i])}
        row["top1"] = names[probabilities[i].argmax()]
        rows.append(row | answer_tables.class_values(names, probabilities[i], decisions[i]))
    write_csv(path, ["record", "path", "labels", "top1", *answer_tables.class_columns(names), "quality"], rows)


@command
def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="lrhnet-jax evaluate", description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="WORKDIR/networks/NAME, a model, or an export")
    parser.add_argument("--raw_dir", required=True, help="a folder of recordings, at any depth")
    parser.add_argument("--output", required=True, help="where metrics.json and predictions.csv go")
    parser.add_argument("--batch_size", type=int, default=64, help="windows that the network sees at once (64)")
    parser.add_argument(
        "--ptbxl_database", help="PTB-XL's ptbxl_database.csv: its superclasses, and which records share a patient"
    )
    parser.add_argument("--rename_leads", default="", help="signals that count as leads, as in MLII=II,ECG1=I")
    options = parser.parse_args(arguments)
    if options.batch_size < 1:
        raise ConfigError(f"--batch_size={options.batch_size}: must be at least 1")
    log.configure(logging.WARNING)
    with logging_redirect_tqdm(log.LOGGERS):
        metrics = evaluate(
            options.checkpoint,
            options.raw_dir,
            options.output,
            batch_size=options.batch_size,
            ptbxl_database=options.ptbxl_database,
            rename_leads=parse_renames(options.rename_leads),
        )
    print(summary(metrics, options.output))


if __name__ == "__main__":
    sys.exit(main())
