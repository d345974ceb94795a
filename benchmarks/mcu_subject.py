"""A network under measurement by benchmarks.mcu: exported, its C compiled, its answers compared bit for bit."""

import importlib.util
import pathlib
import re
import subprocess
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from lrhnet_jax import export
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.deploy import integer_forms, jax_network, shipped
from lrhnet_jax.deploy.c import plan
from lrhnet_jax.deploy.int8 import convert, program
from lrhnet_jax.deploy.model import UNFITTED
from lrhnet_jax.tasks import raw_labels
from lrhnet_jax.training.description import create_model

ARENAS = (64 * 1024, 80 * 1024, 96 * 1024, 1 << 30)  # bytes at most, of which the last is no limit


class Subject:
    """A network under measurement, exported to a folder."""

    def __init__(
        self,
        path: pathlib.Path,
        data_dir: str,
        folder: pathlib.Path,
        window: int | None,
        arena: int | None = None,
        formats: Sequence[str] | None = None,
    ):
        path = shipped.resolve(path)
        self.meta, variables = jax_network.read(path)
        self.task, self.options = raw_labels.expected(path, self.meta)
        self.variables, self.folder, self.arena = variables, folder, arena
        if window:
            self.meta["window"] = window
        model = create_model(self.meta)

        def logits(signal: jax.Array, demographics: jax.Array) -> jax.Array:
            output: Any = model.apply(variables, signal, demographics, train=False)
            return output.logits

        self.logits = logits
        self.records = export.records_for(self.meta, data_dir)
        every = [name for name in integer_forms.FORMATS if name == "c" or installed("onnxruntime", "onnx")]
        self.forms = self.forms_of(formats or every)
        self.forms.write(folder)
        _, _, compared = convert.parts(self.records, convert.held_out(self.meta, self.records))
        self.windows = self.cut(compared, None)

    def forms_of(self, formats: Sequence[str], sparse: bool = False) -> integer_forms.Forms:
        """Returns the network in integers."""
        return integer_forms.make(
            self.logits,
            self.meta,
            self.task,
            self.options,
            self.records,
            formats,
            self.arena,
            tolerance=1.0,
            sparse=sparse,
        )

    def cut(self, records: Dataset, most: int | None) -> convert.Windows:
        """Returns windows of records, as the network reads them."""
        return convert.cut(records, tuple(self.meta["leads"]), self.meta["window"], most)

    @property
    def program(self) -> program.Program:
        return self.forms.forms["c"].converted.program

    @property
    def c(self) -> pathlib.Path:
        return self.folder / integer_forms.FORMATS["c"]

    @property
    def limits(self) -> np.ndarray:
        """The thresholds, (classes,)."""
        fitted = self.meta.get("thresholds")
        return np.full(len(self.task.classes), UNFITTED) if fitted is None else np.array(fitted)

    def build(self, target: str, **variables: str) -> str:
        """Returns what a target of the exported Makefile prints."""
        return make(self.c, target, **variables)

    @property
    def weights(self) -> tuple[int, int]:
        """How many weights there are, and how many of them are not zero."""
        linear = [step for step in self.program.steps if isinstance(step, program.Linear) and not step.shares]
        return sum(step.weights.size for step in linear), sum(int(np.count_nonzero(step.weights)) for step in linear)


def make(folder: pathlib.Path, target: str, **variables: str) -> str:
    """Returns what a target of an exported Makefile prints."""
    command = ["make", "-C", str(folder), target, *(f"{key}={value}" for key, value in variables.items())]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"make {target}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def installed(*modules: str) -> bool:
    """Whether modules can be imported."""
    return all(importlib.util.find_spec(module) for module in modules)


def bits(subject: Subject, count: int) -> dict[str, Any]:
    """Returns how many windows of records were answered bit for bit alike, plainly and under the sanitizers."""
    subject.build("test")
    windows = subject.cut(subject.records, count)  # of all folds: equal bits need no held-out records
    signal, person = program.quantize_inputs(windows.signal, windows.demographics)
    expected = program.run(subject.program, signal, person)
    found = {}
    for name, share in (("check", 1), ("check-sanitized", 10)):
        some = max(1, len(signal) // share)
        path = subject.folder / "windows"
        path.write_bytes(b"".join(a.tobytes() + b.tobytes() for a, b in zip(signal[:some], person[:some], strict=True)))
        done = subprocess.run([subject.c / name, "windows", path], capture_output=True, check=True)
        answers = np.frombuffer(done.stdout, np.int16).reshape(-1, expected.shape[1])
        found[name] = {"windows": some, "equal": int((answers == expected[:some]).all(1).sum())}
        path.unlink()
    return found


def memory(subject: Subject) -> list[dict[str, int]]:
    """Returns what a smaller arena costs: the products of weights that are computed, those computed again included."""
    least = plan.least_arena(subject.program)
    limits = [least, *(limit for limit in ARENAS if limit > least)]
    plans = [plan.make(subject.program, limit) for limit in limits]
    products = {chosen.arena_bytes: chosen.multiplications for chosen in plans}
    return [{"arena_bytes": size, "multiplications": products[size]} for size in sorted(products)]


def on_boards(subject: Subject, boards: Sequence[str]) -> dict[str, Any]:
    """Returns what each emulated board prints, also of sparse weights where most are zero."""
    found = {board: _on_board(subject.c, board) for board in boards}
    every, kept = subject.weights
    if boards and 2 * kept < every:
        folder = subject.folder / "sparse"
        subject.forms_of(["c"], sparse=True).write(folder)
        make(folder / integer_forms.FORMATS["c"], "test")
        found |= {f"{board}, sparse": _on_board(folder / integer_forms.FORMATS["c"], board) for board in boards}
    return found


def _on_board(folder: pathlib.Path, board: str) -> dict[str, Any]:
    output = make(folder, "qemu", BOARD=board)
    numbers = {key.strip(): int(value) for key, value in re.findall(r"^([^ ].*): (-?\d+)$", output, re.MULTILINE)}
    stages = {key: int(value) for key, value in re.findall(r"^  (.+): (\d+)$", output, re.MULTILINE)}
    return {
        "values_that_differ": numbers["values that differ"],
        "flash_bytes": numbers["flash of the network"],
        "ram_bytes": numbers["bytes of RAM in all"],
        "arena_bytes": numbers["bytes of arena"],
        "stack_bytes": numbers["bytes of stack"],
        "stream_bytes": numbers["bytes of an ecg_stream"],
        "stream_flash_bytes": numbers["flash of the preparation, all rates"],
        "instructions": numbers["instructions a window"],
        "stages": stages,
    }
