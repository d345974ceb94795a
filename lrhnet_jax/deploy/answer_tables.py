"""Answers for programs and spreadsheets: the JSON of a recording, the table of all, and the windows of a long one."""

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lrhnet_jax.deploy.model import Answer, Model
from lrhnet_jax.deploy.timeline import Timeline
from lrhnet_jax.ecg.files import printable
from lrhnet_jax.ecg.recording import BlockRecording, Recording
from lrhnet_jax.runtime.files import write_csv


@dataclasses.dataclass(frozen=True)
class Answered:
    """A file, and what a model says of it; or why nothing is said: then `answer` and `model` are None.

    Attributes:
      path: the file, for people.
      file: the file itself; None where a path named none.
      name: what its files of answers are called, without a suffix.
    """

    path: str
    answer: Answer | Timeline | None
    error: str = ""
    model: Model | None = None
    file: pathlib.Path | None = None
    name: str = ""


def described(model: Model, recording: Recording | BlockRecording, answer: Answer | Timeline) -> dict[str, Any]:
    """Returns what a recording's JSON file holds; of a long one, its windows are in a table of their own."""
    keys = ("name", "model", "task", "leads", "window", "parameters", "trained_on", "synthetic")
    head = {
        "schema": 1,
        "file": printable(recording.path),
        "network": {**{key: model.meta.get(key) for key in keys}, "task": model.task.name, "rate": model.options.rate},
        "recording": {
            "rate": recording.rate,
            "seconds": _seconds(recording, answer),
            "leads": list(recording.leads),
            "age": recording.age,
            "sex": recording.sex,
        },
        "decision": str(answer),
    }
    limits = [None] * len(answer.classes) if answer.thresholds is None else answer.thresholds.tolist()
    if isinstance(answer, Timeline):
        shares, means = answer.shares.tolist(), answer.means.tolist()
        rows = zip(answer.classes, answer.names, means, limits, shares, strict=True)
        return {
            **head,
            "classes": _tables(("code", "name", "mean_probability", "threshold", "share_of_windows"), rows),
            "episodes": [dataclasses.asdict(episode) for episode in answer.episodes],
            "windows": {"count": len(answer.starts), "answered": int(answer.answered.sum()), "seconds": answer.window},
            "notes": list(answer.notes),
        }
    values = answer.probabilities.tolist(), limits, answer.decisions.tolist()
    rows = zip(answer.classes, answer.names, *values, strict=True)
    return {
        **head,
        "classes": _tables(("code", "name", "probability", "threshold", "decision"), rows),
        "windows": {"starts": answer.starts.tolist(), "probabilities": answer.window_probabilities.tolist()},
        "notes": list(answer.notes),
    }


def write_table(path: pathlib.Path, results: Sequence[Answered]) -> None:
    """Writes a row for each file, with the columns of the classes of all models that have answered."""
    models = {result.model.name: result.model for result in results if result.model}
    names = list(dict.fromkeys(name for model in models.values() for name in model.task.abbreviations))
    rows: list[dict[str, Any]] = []
    for result in results:
        row: dict[str, Any] = {"file": result.path, "error": result.error}
        if result.answer is not None and result.model is not None:
            row |= {"model": result.model.name, "decision": str(result.answer), "notes": "; ".join(result.answer.notes)}
            own, answer = result.model.task.abbreviations, result.answer
            if isinstance(answer, Timeline):
                row |= class_values(own, answer.means)
            else:
                row |= class_values(own, answer.probabilities, answer.decisions)
        rows.append(row)
    write_csv(path, ["file", "model", "decision", *class_columns(names), "notes", "error"], rows)


def write_windows(path: pathlib.Path, model: Model, timeline: Timeline) -> None:
    """Writes a row for each window of a long recording: when it is, and what is said of it."""
    names = model.task.abbreviations
    inside = np.zeros(len(timeline.starts), int)
    for number, episode in enumerate(timeline.episodes, 1):
        inside[(timeline.starts >= episode.start) & (timeline.starts < episode.end)] = number
    rows = []
    places = zip(
        timeline.starts.tolist(), timeline.probabilities, timeline.decisions, timeline.unanswered, inside, strict=True
    )
    for start, probabilities, decisions, why, number in places:
        row: dict[str, Any] = {"start": f"{start:.3f}", "end": f"{start + timeline.window:.3f}", "not_answered": why}
        row["episode"] = number or ""
        if not why:
            row |= class_values(names, probabilities, decisions)
        rows.append(row)
    write_csv(path, ["start", "end", *class_columns(names), "episode", "not_answered"], rows)


def _tables(fields: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(fields, row, strict=True)) for row in rows]


def _seconds(recording: Recording | BlockRecording, answer: Answer | Timeline) -> float:
    if isinstance(answer, Timeline):
        return answer.seconds
    assert isinstance(recording, Recording)  # what is not long was read whole
    return len(recording.signal) / recording.rate


def class_columns(names: Sequence[str]) -> list[str]:
    """Returns the columns of a table that tell of classes, by their short names."""
    return [f"{prefix}_{name}" for prefix in ("probability", "decision") for name in names]


def class_values(
    names: Sequence[str], probabilities: np.ndarray, decisions: np.ndarray | None = None
) -> dict[str, Any]:
    """Returns what a row has in these columns; of a long recording there are means, and no decision for all of it."""
    values: dict[str, Any] = {
        f"probability_{name}": f"{value:.6g}" for name, value in zip(names, probabilities, strict=True)
    }
    if decisions is not None:
        values |= {f"decision_{name}": int(value) for name, value in zip(names, decisions, strict=True)}
    return values
