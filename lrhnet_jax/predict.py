"""Answers for recordings of any ECG device, with a page for each that a person can read.

    lrhnet-jax predict FILE... [--model=NAME_OR_PATH] [--output=FOLDER]

FILE is a recording of any format that `lrhnet_jax.ecg.readers` reads, a folder of them, or a pattern as 'ecgs/*.edf'.
Without --model, each is answered by the shipped model that reads most of its leads (`lrhnet-jax models` lists them);
--model may name one of these, WORKDIR/networks/NAME of a run, or what `lrhnet-jax export` has written. Prints a table,
and writes below FOLDER predictions.csv, a row a recording, and for each NAME.json, NAME.png and NAME.html.

Recordings of more than five minutes are answered along time: NAME-windows.csv has a row a window, NAME.json and
NAME.html the episodes of atrial fibrillation, NAME.png the course of the answers.

A recording that cannot be used is named, with the reason, and does not stop the others; the exit status is then 1.
"""

import functools
import glob
import logging
import os
import pathlib
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import tqdm

from lrhnet_jax.deploy import answer_page, answer_tables, shipped, timeline, timeline_page
from lrhnet_jax.deploy.answer_tables import Answered
from lrhnet_jax.deploy.model import NOT_A_DEVICE, SYNTHETIC, Answer, Model, check_answers, load
from lrhnet_jax.deploy.timeline import Timeline
from lrhnet_jax.ecg import readers
from lrhnet_jax.ecg.files import printable
from lrhnet_jax.ecg.lead_names import parse_renames
from lrhnet_jax.ecg.leads import LeadError
from lrhnet_jax.ecg.recording import RecordError
from lrhnet_jax.errors import ConfigError, Parser, command
from lrhnet_jax.report.formats import columns
from lrhnet_jax.runtime import log
from lrhnet_jax.runtime.files import write_json

SHOWN = 3  # classes of the table, the most probable ones
_DECISION = 60  # characters of the table
_OF_EVERY_ANSWER = (SYNTHETIC, NOT_A_DEVICE)
_SIDE_FILES = (".dat", ".mat")  # of a WFDB record, whose header stands for it
_Path = str | os.PathLike[str]


def predict(
    paths: Iterable[_Path],
    network: _Path | None,
    output: _Path,
    rename: Mapping[str, str] | None = None,
    pages: bool = True,
) -> list[Answered]:
    """Answers for recordings; writes predictions.csv, and JSON, PNG and HTML of each, below `output`.

    Args:
      paths: files, folders and patterns.
      network: what `deploy.model.load` takes; None: for each recording, the shipped model that fits its leads.
      output: a folder; made if need be.
      rename: name of a signal in the files -> the lead that it counts as.
      pages: write PNG and HTML too, which take far longer than the answers.

    Returns:
      What was found for each file, in the order of `paths`; before them, the failures of paths that name no file.

    Raises:
      UserError: if the network is missing or answers NaN, or `output` cannot be written or holds the recordings.
    """
    results = answer(paths, network, output, rename)
    if pages:
        write_pages(results, output, rename)
    return results


def answer(
    paths: Iterable[_Path], network: _Path | None, output: _Path, rename: Mapping[str, str] | None = None
) -> list[Answered]:
    """Does what `predict` does, without pages."""
    output = pathlib.Path(output)
    files, results = _find(paths, output)
    fixed = None if network is None else load(network)
    for path, name in zip(tqdm.tqdm(files, desc="predict", unit="file", disable=None), _names(files), strict=True):
        try:  # one after another: two threads take longer, since most of the work holds Python's lock
            results.append(_answer(path, name, fixed, output, rename))
        except RecordError as error:
            results.append(Answered(error.path, None, error.reason))
    answer_tables.write_table(output / "predictions.csv", results)
    return results


def write_pages(results: Sequence[Answered], output: _Path, rename: Mapping[str, str] | None = None) -> None:
    """Writes PNG and HTML of what was answered; recordings are read again, so that memory need not hold them all."""
    answered = [result for result in results if result.answer is not None]
    for result in tqdm.tqdm(answered, desc="pages", unit="page", disable=None):
        assert result.model and result.file
        path = pathlib.Path(output, result.name)
        if isinstance(result.answer, Timeline):
            timeline_page.write(path, result.model, result.file, result.answer)
        elif isinstance(result.answer, Answer):
            recording = readers.read(result.file, rename=rename)
            answer_page.write(path, result.model, recording, result.answer)


def _answer(
    path: pathlib.Path, name: str, fixed: Model | None, output: pathlib.Path, rename: Mapping[str, str] | None
) -> Answered:
    """Answers for a file, and writes its JSON, and its table if it is long."""
    opened = readers.read_blocks(path, rename=rename)
    try:
        model = fixed or _shipped(shipped.fitting(opened.leads))
    except LeadError as error:
        raise RecordError(path, str(error)) from error
    if opened.samples is None or opened.samples > timeline.LONG * opened.rate:
        course = timeline.follow(model, opened)
        check_answers(model.name, course.probabilities[course.answered])
        answer_tables.write_windows(output / f"{name}-windows.csv", model, course)
        write_json(output / f"{name}.json", answer_tables.described(model, opened, course))
        return Answered(printable(path), course, model=model, file=path, name=name)
    recording = opened.whole or readers.read(path, rename=rename)
    answer = model.predict_recording(recording)
    check_answers(model.name, answer.probabilities)
    write_json(output / f"{name}.json", answer_tables.described(model, recording, answer), indent=None)
    return Answered(printable(path), answer, model=model, file=path, name=name)


@functools.cache
def _shipped(name: str) -> Model:
    return load(name)


def table(results: Sequence[Answered]) -> str:
    """Returns the answers as text: a line for each file, its notes below it, and what holds for all of them last."""
    rows: list[list[str]] = [["file", "decision", "most probable", "model"]]
    notes: list[list[str]] = []
    general: dict[str, None] = {}
    for result in results:
        answer = result.answer
        if answer is None:
            continue
        values = answer.means if isinstance(answer, Timeline) else answer.probabilities
        best = values.argsort()[::-1][:SHOWN]
        told = ", ".join(f"{answer.names[i]} {values[i]:.2f}" for i in best)
        named = result.model.name if result.model else ""
        rows.append([result.path, textwrap.shorten(str(answer), _DECISION, placeholder=" ..."), told, named])
        notes.append([note for note in answer.notes if note not in _OF_EVERY_ANSWER])
        general |= dict.fromkeys(note for note in answer.notes if note in _OF_EVERY_ANSWER)
    if not notes:
        return ""
    head, rule, *lines = columns(rows, left=4)
    body = [text for line, below in zip(lines, notes, strict=True) for text in (line, *(f"    {n}" for n in below))]
    return "\n".join([head, rule, *body, "", *general])


def _find(paths: Iterable[str | os.PathLike[str]], output: pathlib.Path) -> tuple[list[pathlib.Path], list[Answered]]:
    """Returns the files that `paths` name, each once, and a failure for each path that names none.

    What an earlier call has written into `output` is no recording, though a folder that is searched may hold it.
    """
    by_real_path: dict[str, pathlib.Path] = {}
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
            by_real_path.setdefault(os.path.realpath(file), file)
    headers = {file.with_suffix("") for file in by_real_path.values() if file.suffix.lower() == ".hea"}
    both = [f for f in by_real_path.values() if f.suffix.lower() not in _SIDE_FILES or f.with_suffix("") not in headers]
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


@command
def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="lrhnet-jax predict", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="a recording, a folder of recordings, or a pattern")
    parser.add_argument(
        "--model", help="a shipped model, WORKDIR/networks/NAME, or an export (the shipped one that fits)"
    )
    parser.add_argument("--output", default="predictions", help="a folder for pages and tables (predictions)")
    parser.add_argument("--rename_leads", default="", help="signals that count as leads, as in MLII=II,ECG1=I")
    parser.add_argument("--no_pages", action="store_true", help="write tables and JSON alone: many times faster")
    options = parser.parse_args(arguments)
    log.configure(logging.WARNING)
    renames = parse_renames(options.rename_leads)
    results = answer(options.files, options.model, options.output, renames)
    if printed := table(results):
        print(printed, flush=True)
    if not options.no_pages:
        write_pages(results, options.output, renames)
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
