"""Half an hour of a Holter recording, sample by sample through an exported network's C, and what is answered.

    python -m benchmarks.holter CHECKPOINT [--data_dir=DATA] [--seconds=1800] [--window=SAMPLES] [--output=FILE.json]
        [--smoke]

The recording is made up: five minutes of sinus rhythm and five of atrial fibrillation in turns, at 360 Hz, in whole
microvolts. ecg_push takes it one sample at a time; whenever a window is full, ecg_answer prepares it and the network
answers. The same windows are resampled, filtered and z-scored in floating point, as records are everywhere else in this
project, and answered by the network in floating point; and by NumPy in integers, whose every bit the C must have.
"""

import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks import measure
from benchmarks.mcu_subject import Subject
from data_builders import synthetic
from lrhnet_jax.deploy.int8 import convert, prepare, program
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.runtime import environment
from lrhnet_jax.scoring import predict, thresholds

Array = np.ndarray

RATE = 360
SECONDS, TURN = 1800.0, 300.0
RHYTHMS = {"sinus rhythm": (), "atrial fibrillation": ("164889003",)}


class Answers(NamedTuple):
    """What a recording's windows were answered.

    Attributes:
      c, integers: logits, (windows, classes) int16.
      c_probabilities, probabilities: of the C, and of the network in floating point.
    """

    c: Array
    integers: Array
    c_probabilities: Array
    probabilities: Array


def record(leads: Sequence[str], seconds: float) -> Array:
    """Returns the recording, (samples, leads) int32 microvolts."""
    columns = [LEADS.index(lead) for lead in leads]
    parts: list[Array] = []
    while (left := seconds - TURN * len(parts)) >= 1:
        codes = list(RHYTHMS.values())[len(parts) % len(RHYTHMS)]
        part = synthetic.generate(codes, (0, len(parts)), min(left, TURN), RATE, patient=0)
        parts.append(part[:, columns])
    return np.rint(1000 * np.concatenate(parts)).astype(np.int32)


def answer(subject: Subject, counts: Array) -> Answers:
    """Returns the answers of a network's C (`make check` has been run), of NumPy's integers, and of the network."""
    path = subject.folder / "holter"
    path.write_bytes(counts.tobytes())
    done = subprocess.run([subject.c / "check", "stream", str(RATE), path], capture_output=True, check=True)
    found = np.frombuffer(done.stdout, np.int16).reshape(-1, subject.program.output.channels)
    exclusive = subject.task.exclusive
    answered = program.probabilities(found, exclusive) / program.PROBABILITY_ONE
    read = _in_floating_point(subject, counts)
    people = np.zeros((len(read), 5), np.float32)
    windows = convert.Windows(read, people, np.arange(len(read)), len(read))
    expected = predict.to_probabilities(convert.answers(subject.logits, windows), exclusive)
    return Answers(found, _in_integers(subject, counts), answered, expected)


def _in_integers(subject: Subject, counts: Array) -> Array:
    window, options = subject.meta["window"], subject.options
    resampled = prepare.resample(counts, prepare.resampler(RATE, round(options.rate)))
    pieces = [resampled[start : start + window] for start in range(0, len(resampled), window)]
    prepared = np.stack([prepare.place(prepare.prepare(piece, options), window) for piece in pieces])
    return program.run(subject.program, prepared, np.zeros((len(prepared), 5), np.int16))


def _in_floating_point(subject: Subject, counts: Array) -> Array:
    """Returns the windows as they are read in floating point: each prepared as a record of its own."""
    window, options = subject.meta["window"], subject.options
    signal = preprocessing.resample(counts.astype(np.float32) / 1000, RATE, options)
    starts = range(0, len(signal), window)
    read = np.zeros((len(starts), window, signal.shape[1]), np.float32)
    for row, start in zip(read, starts, strict=True):
        piece = preprocessing.zscore(preprocessing.bandpass(signal[start : start + window], options))
        before = (window - len(piece)) // 2
        row[before : before + len(piece)] = piece
    return read


def compare(subject: Subject, found: Answers) -> dict[str, Any]:
    """Returns how the answers differ, for JSON."""
    differences = np.abs(found.c_probabilities - found.probabilities)
    limits = None if subject.task.exclusive else subject.limits
    same = thresholds.decide(found.c_probabilities, limits) == thresholds.decide(found.probabilities, limits)
    return {
        "windows": len(found.c),
        "equal_to_integers": int((found.c == found.integers).all(1).sum())
        if len(found.c) == len(found.integers)
        else 0,
        "largest_difference": float(differences.max()),
        "mean_difference": float(differences.mean()),
        "decisions_equal": float(same.mean()),
    }


def table(subject: Subject, found: Answers) -> str:
    """Returns a line for each window: when it begins, the rhythm, what the C and the network say is present."""
    task, limits = subject.task, None if subject.task.exclusive else subject.limits
    said = [
        [", ".join(np.array(task.abbreviations)[row]) or "-" for row in thresholds.decide(probabilities, limits)]
        for probabilities in (found.c_probabilities, found.probabilities)
    ]
    differences = np.abs(found.c_probabilities - found.probabilities).max(1)
    rows: list[Sequence[Any]] = [("begins", "made as", "C", "network", "largest difference")]
    for index, (by_c, by_network) in enumerate(zip(*said, strict=True)):
        at = index * subject.meta["window"] / subject.options.rate
        rhythm = list(RHYTHMS)[int(at // TURN) % len(RHYTHMS)]
        rows.append((f"{int(at // 60):02d}:{at % 60:04.1f}", rhythm, by_c, by_network, f"{differences[index]:.3f}"))
    return measure.table(rows)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = measure.parser(__doc__)
    parser.add_argument("checkpoint", type=pathlib.Path, help="WORKDIR/networks/NAME, or a model")
    parser.add_argument("--data_dir", default="data", help="where the set is that it was trained on")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the recording")
    parser.add_argument("--window", type=int, help="samples, instead of the network's own")
    options = parser.parse_args(arguments)
    if missing := [tool for tool in ("gcc", "make") if shutil.which(tool) is None]:
        parser.error(f"{' and '.join(missing)} must be installed")
    with tempfile.TemporaryDirectory() as scratch:
        subject = Subject(options.checkpoint, options.data_dir, pathlib.Path(scratch), options.window, formats=["c"])
        subject.build("check")
        seconds = 30.0 if options.smoke else options.seconds
        found = answer(subject, record(subject.meta["leads"], seconds))
        print(table(subject, found))
        compared = compare(subject, found)
    print(", ".join(f"{key.replace('_', ' ')}: {value:.4g}" for key, value in compared.items()))
    result = {"benchmark": "holter", **environment.describe(), "seconds": seconds, **compared}
    measure.write(result, options.output)
    return result


if __name__ == "__main__":
    main()
