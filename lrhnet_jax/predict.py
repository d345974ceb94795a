"""Answers for recordings of any ECG device, with a page for each that a person can read.

    lrhnet-jax predict FILE... --model=WORKDIR/networks/NAME [--output=FOLDER]

FILE is a recording of any format that `lrhnet_jax.ecg.readers` reads, a folder of them, or a pattern as 'ecgs/*.edf'.
--model may also be a file that `lrhnet_jax.export` has written. Prints a table, and writes below FOLDER
predictions.csv, a row a recording, and for each recording NAME.json, NAME.png and NAME.html. A recording that cannot be
used is named, with the reason, and does not stop the others; the exit status is then 1.
"""

import csv
import dataclasses
import glob
import logging
import os
import pathlib
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tqdm

from lrhnet_jax.deploy import answer_page
from lrhnet_jax.deploy.model import NOT_A_DEVICE, SYNTHETIC, Answer, Model, check_answers, load
from lrhnet_jax.ecg import readers
from lrhnet_jax.ecg.files import printable
from lrhnet_jax.ecg.lead_names import parse_renames
from lrhnet_jax.ecg.recording import RecordError, Recording
from lrhnet_jax.errors import ConfigError, Parser, command
from lrhnet_jax.report.formats import columns
from lrhnet_jax.runtime import log
from lrhnet_jax.runtime.files import write_json, write_whole

SHOWN = 3  # classes of the table, the most probable ones
_DECISION = 60  # characters of the table
_OF_EVERY_ANSWER = (SYNTHETIC, NOT_A_DEVICE)
_SIDE_FILES = (".dat", ".mat")  # of a WFDB record, whose header stands for it


@dataclasses.dataclass(frozen=True)
class Answered:
    """A file, and what the model says of it; or why it says nothing: then `answer` is None."""

    path: str
    answer: Answer | None
    error: str = ""


def predict(
    paths: Iterable[str | os.PathLike[str]],
    network: str | os.PathLike[str],
    output: str | os.PathLike[str],
    rename: Mapping[str, str] | None = None,
    pages: bool = True,
) -> list[Answered]:
    """Answers for recordings; writes predictions.csv, and JSON, PNG and HTML of each, below `output`.

    Args:
      paths: files, folders and patterns.
      network: WORKDIR/networks/NAME, or an exported network's file.
      output: a folder; made if need be.
      rename: name of a signal in the files -> the lead that it counts as.
      pages: write PNG and HTML too, which take far longer than the answers.

    Returns:
      What was found for each file, in the order of `paths`; before them, the failures of paths that name no file.

    Raises:
      UserError: if the network is missing or answers NaN, or `output` cannot be written or holds the recordings.
    """
    output = pathlib.Path(output)
    files, results = _find(paths, output)
    model = load(network)
    names = _names(files)
    for path, name in zip(tqdm.tqdm(files, desc="predict", unit="file", disable=None), names, strict=True):
        try:
            recording = readers.read(path, rename=rename)
            answer = model.predict_recording(recording)
        except RecordError as error:
            results.append(Answered(error.path, None, error.reason))
            continue
        check_answers(network, answer.probabilities)
        write_json(output / f"{name}.json", _described(model, recording, answer))
        if pages:
            answer_page.write(output / name, model, recording, answer)
        results.append(Answered(printable(path), answer))
    _write_table(output / "predictions.csv", model, results)
    return results


def table(results: Sequence[Answered]) -> str:
    """Returns the answers as text: a line for each file, its notes below it, and what holds for all of them last."""
    rows: list[list[str]] = [["file", "decision", "most probable"]]
    notes: list[list[str]] = []
    general: dict[str, None] = {}
    for result in results:
        answer = result.answer
        if answer is None:
            continue
        best = answer.probabilities.argsort()[::-1][:SHOWN]
        told = ", ".join(f"{answer.names[i]} {answer.probabilities[i]:.2f}" for i in best)
        rows.append([result.path, textwrap.shorten(str(answer), _DECISION, placeholder=" ..."), told])
        notes.append([note for note in answer.notes if note not in _OF_EVERY_ANSWER])
        general |= dict.fromkeys(note for note in answer.notes if note in _OF_EVERY_ANSWER)
    if not notes:
        return ""
    head, rule, *lines = columns(rows, left=3)
    body = [text for line, below in zip(lines, notes, strict=True) for text in (line, *(f"    {n}" for n in below))]
    return "\n".join([head, rule, *body, "", *general])


def _find(paths: Iterable[str | os.PathLike[str]], output: pathlib.Path) -> tuple[list[pathlib.Path], list[Answered]]:
    """Returns the files that `paths` name, each once, and a failure for each path that names none.

    What an earlier call has written into `output` is no recording, though a folder that is searched may hold it.
    """
    found: dict[str, pathlib.Path] = {}
    missing = []
    own = output.resolve()
    for given in paths:
        path = os.fspath(given)
        pattern = glob.has_magic(path) and not os.path.exists(path)
        named = sorted(glob.glob(path, recursive=True)) if pattern else [path]
        files = readers.find(named)
        inside = [file for file in files if file.resolve().parent == own]
        if inside and {own, *(file.resolve() for file in inside)} & {pathlib.Path(name).resolve() for name in named}:
            raise ConfigError(
                f"--output={printable(output)}: holds {printable(inside[0].name)}, which is to be read; "
                "choose another folder, so that no recording is overwritten"
            )
        files = [file for file in files if file not in inside]
        if not pattern and not os.path.lexists(path):
            missing.append(Answered(printable(path), None, "no such file or folder; check the path"))
            continue
        if not files:
            what = "no file matches it" if pattern else "holds no recording of a format that is read (docs/formats.md)"
            missing.append(Answered(printable(path), None, f"{what}; name a file or a folder of recordings"))
        for file in files:
            found.setdefault(os.path.realpath(file), file)
    headers = {file.with_suffix("") for file in found.values() if file.suffix.lower() == ".hea"}
    both = [f for f in found.values() if f.suffix.lower() not in _SIDE_FILES or f.with_suffix("") not in headers]
    return both, missing


def _names(files: Sequence[pathlib.Path]) -> list[str]:
    """Returns what the files of each recording are called: as the recording, numbered where that is taken."""
    taken: set[str] = set()
    names = []
    for file in files:
        plain = re.sub(r"[^\w.-]", "_", printable(file.stem)).lstrip(".") or "recording"
        number, name = 1, plain
        while name.casefold() in taken:  # some file systems do not tell cases apart
            number += 1
            name = f"{plain}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _described(model: Model, recording: Recording, answer: Answer) -> dict[str, Any]:
    """What a recording's JSON file holds."""
    limits = [None] * len(answer.classes) if answer.thresholds is None else answer.thresholds.tolist()
    rows = zip(
        answer.classes, answer.names, answer.probabilities.tolist(), limits, answer.decisions.tolist(), strict=True
    )
    fields = ("code", "name", "probability", "threshold", "decision")
    keys = ("name", "model", "task", "leads", "window", "parameters", "trained_on", "synthetic")
    return {
        "schema": 1,
        "file": printable(recording.path),
        "network": {**{key: model.meta.get(key) for key in keys}, "task": model.task.name, "rate": model.options.rate},
        "recording": {
            "rate": recording.rate,
            "seconds": len(recording.signal) / recording.rate,
            "leads": list(recording.leads),
            "age": recording.age,
            "sex": recording.sex,
        },
        "decision": str(answer),
        "classes": [dict(zip(fields, row, strict=True)) for row in rows],
        "windows": {"starts": answer.starts.tolist(), "probabilities": answer.window_probabilities.tolist()},
        "notes": list(answer.notes),
    }


def _write_table(path: pathlib.Path, model: Model, results: Sequence[Answered]) -> None:
    names = model.task.abbreviations
    prefixed = [f"{prefix}_{name}" for prefix in ("probability", "decision") for name in names]
    rows: list[list[Any]] = [["file", "decision", *prefixed, "notes", "error"]]
    for result in results:
        if result.answer is None:
            rows.append([result.path, "", *[""] * len(prefixed), "", result.error])
            continue
        values = [f"{probability:.6g}" for probability in result.answer.probabilities]
        decisions = result.answer.decisions.astype(int)
        rows.append([result.path, str(result.answer), *values, *decisions, "; ".join(result.answer.notes), ""])

    def write(scratch: pathlib.Path) -> None:
        with scratch.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)

    write_whole(path, write)


@command
def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="lrhnet-jax predict", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="a recording, a folder of recordings, or a pattern")
    parser.add_argument("--model", required=True, help="a trained network, WORKDIR/networks/NAME, or its export")
    parser.add_argument("--output", default="predictions", help="a folder for pages and tables (predictions)")
    parser.add_argument("--rename_leads", default="", help="signals that count as leads, as in MLII=II,ECG1=I")
    parser.add_argument("--no_pages", action="store_true", help="write tables and JSON alone: many times faster")
    options = parser.parse_args(arguments)
    log.configure(logging.WARNING)
    renames = parse_renames(options.rename_leads)
    results = predict(options.files, options.model, options.output, renames, not options.no_pages)
    if printed := table(results):
        print(printed)
    failed = [result for result in results if result.answer is None]
    for result in failed:
        print(f"error: {result.path}: {result.error}", file=sys.stderr)
    print(
        f"{len(results) - len(failed)} of {len(results)} recordings answered; "
        f"written: {printable(pathlib.Path(options.output))}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
