"""The forms of a network in integers: C for microcontrollers, and ONNX with int8; converted, compared, then written.

OUT/c/              a folder of C99, see its README.md
OUT/model_int8.onnx ONNX of the form that ONNX Runtime knows as QDQ

Nothing is written before every form has been compared with the network on records, and has lost no more than allowed.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.deploy import agreement, exported, onnx_int8
from lrhnet_jax.deploy.c import plan, readme, write
from lrhnet_jax.deploy.int8 import convert, prepare, program
from lrhnet_jax.deploy.model import UNFITTED
from lrhnet_jax.ecg.preprocess import Preprocess
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.runtime.files import write_json, write_text, write_whole
from lrhnet_jax.scoring import predict
from lrhnet_jax.tasks import Task

FORMATS = {"c": "c", "onnx_int8": "model_int8.onnx"}  # what each writes below OUT
EXAMPLES = 3
OPSET = 17


Report = dict[str, Any]


class Form(NamedTuple):
    """A form that is not written yet.

    Attributes:
      converted: the integer program that it is of.
      probabilities: its answers, (records, classes), for the records to compare on.
      write: (folder, report) -> the files that it has written.
    """

    converted: convert.Conversion
    probabilities: np.ndarray
    write: Callable[[pathlib.Path, Report], list[pathlib.Path]]


@dataclasses.dataclass(frozen=True)
class Forms:
    """Forms that have passed, and their reports: of `agreement.compare`, and how they were converted; by format."""

    forms: dict[str, Form]
    reports: dict[str, Report]

    def write(self, output: pathlib.Path) -> dict[str, dict[str, Any]]:
        """Writes all forms; returns size and checksum of their files, by path below `output`."""
        files = {}
        for name, form in self.forms.items():
            for path in form.write(output, self.reports[name]):
                content = path.read_bytes()
                place = path.relative_to(output).as_posix()
                files[place] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        return files


def make(
    logits: convert.Logits,
    meta: Mapping[str, Any],
    task: Task,
    options: Preprocess,
    records: Dataset | None,
    formats: Sequence[str],
    arena: int | None = None,
    tolerance: float = agreement.TOLERANCE,
    sparse: bool = False,
) -> Forms:
    """Converts a network to the given `FORMATS`, and compares the answers.

    Args:
      logits: the network.
      meta: of its checkpoint.
      task, options: what its classes mean, and how its signals are prepared.
      records: to calibrate with and to compare on, prepared as `options` say.
      arena: of C, bytes at most; see `plan.make`.
      tolerance: macro average precision that may be lost.
      sparse: of C, weights that are zero take a bit each; see `plan.make`.

    Raises:
      UserError: if integers cannot have a layer, C cannot prepare the signals, the arena is too small, there are too
        few records, or a form loses too much.
    """
    if records is None:
        raise ConfigError(f"the formats {', '.join(FORMATS)} need records to calibrate with")
    if "c" in formats:
        prepare.check(options)
    work = _Work(logits, meta, task, options, records, arena, sparse)
    forms, reports = {}, {}
    for name in formats:
        forms[name] = form = {"c": work.c, "onnx_int8": work.onnx}[name]()
        report = work.compare(form.probabilities)
        agreement.check(report, f"the form {name} of {meta['name']}", tolerance)
        converted = form.converted
        reports[name] = {
            "records_of": f"{records.name}{' (generated ECGs)' if records.synthetic else ''}",
            "windows": {"calibrate": converted.windows[0], "choose": converted.windows[1]},
            "range": converted.method,
            "logit_errors": converted.errors,
            **report,
        }
    return Forms(forms, reports)


class _Work:
    """What the forms of one network share."""

    def __init__(
        self,
        logits: convert.Logits,
        meta: Mapping[str, Any],
        task: Task,
        options: Preprocess,
        records: Dataset,
        arena: int | None,
        sparse: bool,
    ):
        self.logits, self.meta, self.task, self.options = logits, meta, task, options
        self.arena, self.sparse = arena, sparse
        leads, window = tuple(meta["leads"]), meta["window"]
        calibrating, choosing, self.compared = convert.parts(records, convert.held_out(meta, records))
        self.calibrating = convert.cut(calibrating, leads, window, convert.MOST_WINDOWS)
        self.choosing = convert.cut(choosing, leads, window, convert.MOST_WINDOWS)
        self.windows = convert.cut(self.compared, leads, window)
        own = predict.to_probabilities(convert.answers(logits, self.windows), task.exclusive)
        self.own = self.windows.average(own)
        fitted = meta.get("thresholds")
        self.limits = np.full(len(task.classes), UNFITTED) if fitted is None else np.array(fitted)

    def compare(self, answer: np.ndarray) -> dict[str, Any]:
        limits = None if self.task.exclusive else self.limits
        return agreement.compare(self.task, self.compared.labels, self.compared.patients, limits, self.own, answer)

    def c(self) -> Form:
        converted = convert.convert(self.logits, self.calibrating, self.choosing)
        made = converted.program
        chosen = plan.make(made, self.arena, self.sparse)
        meaning = write.Meaning(
            title=f"{self.meta['name']} ({self.meta['model']}, leads {', '.join(self.meta['leads'])})",
            leads=self.meta["leads"],
            options=self.options,
            class_names=[self.task.description(code) for code in self.task.classes],
            exclusive=self.task.exclusive,
            thresholds=None if self.task.exclusive else self.limits.tolist(),
        )
        examples = np.linspace(0, len(self.windows.signal) - 1, EXAMPLES).round().astype(int)
        inputs = program.quantize_inputs(self.windows.signal[examples], self.windows.demographics[examples])

        def writer(output: pathlib.Path, report: Report) -> list[pathlib.Path]:
            folder = output / FORMATS["c"]
            write.write(folder, made, chosen, meaning, *inputs)
            description = readme.describe(made, chosen, meaning) | {"agreement": report}
            write_json(folder / "model.json", description)
            write_text(folder / "README.md", readme.readme(description, agreement.summary(report, self.task)))
            return sorted(path for path in folder.iterdir() if path.is_file())

        return Form(converted, convert.probabilities(made, self.windows, self.task.exclusive), writer)

    def onnx(self) -> Form:
        converted = convert.convert(self.logits, self.calibrating, self.choosing, sums=False)
        names = exported.INPUTS, exported.OUTPUT
        try:
            content = onnx_int8.write(converted.graph, converted.program, self.task.exclusive, *names, OPSET)
            run = exported.READERS[".onnx"](content)
        except ImportError as error:
            raise ConfigError(f"the format onnx_int8 needs {error.name}: {exported.REMEDY}") from error
        signal, demographics = self.windows.signal, self.windows.demographics
        parts = [
            run(signal[start : start + convert.BATCH], demographics[start : start + convert.BATCH])
            for start in range(0, len(signal), convert.BATCH)
        ]

        def writer(output: pathlib.Path, report: Report) -> list[pathlib.Path]:
            path = output / FORMATS["onnx_int8"]
            write_whole(path, lambda scratch: scratch.write_bytes(content))
            return [path]

        return Form(converted, self.windows.average(np.concatenate(parts)), writer)
