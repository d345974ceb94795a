"""Writes a trained network as files that run without this project.

    python -m lrhnet_jax.export --checkpoint=WORKDIR/networks/NAME --output=OUT [--formats=stablehlo,onnx]

    OUT/weights.npz       with --formats=model: the network itself, which with model.json is a model of this project
    OUT/model.stablehlo   jax.export: CPUs, NVIDIA GPUs and TPUs, with nothing but jax
    OUT/model.onnx        ONNX: ONNX Runtime, and what else reads it
    OUT/example.npz       inputs, and the network's answers to them, to check a port by
    OUT/c/                with --formats=c: C for a microcontroller, in integers; see docs/edge.md
    OUT/model_int8.onnx   with --formats=onnx_int8: ONNX with int8 weights and activations
    OUT/web/              with --formats=web: a page that answers in the reader's browser; see docs/web.md
    OUT/model.json        what goes in and what comes out, thresholds, checksums; written last

Each program is read back and compared with the network before model.json is written. `python -m lrhnet_jax.evaluate
--checkpoint=OUT/model.onnx` scores what was written. docs/deploy.md shows how to run it elsewhere.
"""

import contextlib
import dataclasses
import functools
import hashlib
import logging
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrhnet_jax import tasks
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.deploy import agreement, exported, integer_forms, jax_network, model_folder, shipped
from lrhnet_jax.deploy.web import runtime as web_runtime
from lrhnet_jax.deploy.web import write as web_page
from lrhnet_jax.ecg.leads import DEMOGRAPHICS, demographics_vector
from lrhnet_jax.errors import CheckpointError, ConfigError, Parser, UserError, command
from lrhnet_jax.experiment import datasets
from lrhnet_jax.kernels.conv1d import plain
from lrhnet_jax.report import model_card
from lrhnet_jax.runtime import environment, log
from lrhnet_jax.runtime.files import write_json, write_whole
from lrhnet_jax.scoring import predict
from lrhnet_jax.tasks import raw_labels
from lrhnet_jax.training import checkpoint
from lrhnet_jax.training.description import create_model

WEB = "web"  # a folder, with the network as ONNX in it
PLATFORMS = ("cpu", "cuda", "tpu")
OPSET = 17  # of 2022: edge runtimes lag behind
EXAMPLES = 3  # windows in example.npz; one and three are answered, so that the batch is seen to be free
TOLERANCE = 1e-4  # of a probability
MODEL = "model"  # the format that this project itself reads
GENERATED = 600  # records, where the set that a network was trained on is not built here

Answer = Callable[[jax.Array, jax.Array], jax.Array]


def export(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    formats: Sequence[str] = ("stablehlo", "onnx"),
    records: Dataset | None = None,
    name: str = "",
    onnxruntime_web: pathlib.Path | None = None,
    **limits: Any,
) -> dict[str, Any]:
    """Writes a trained network below `output`.

    Args:
      folder: WORKDIR/networks/NAME; or a model's folder, or the name of a shipped one.
      output: a folder; files of an earlier export in it are replaced.
      formats: `MODEL`, of `WRITERS`, of `integer_forms.FORMATS`, or `WEB`, which writes onnx, too.
      records: that integers are calibrated with, and compared on.
      name: what the model is to be called; its own, if empty.
      onnxruntime_web: where the runtime of the web page is; see `deploy.web.runtime.fetch`.
      **limits: `arena`, `tolerance` and `sparse`, as of `integer_forms.make`.

    Returns:
      What model.json holds.

    Raises:
      UserError: if there is no such network or format, a package is missing, or a written program answers otherwise
        than the network.
    """
    known = (MODEL, *WRITERS, *integer_forms.FORMATS, WEB)
    if unknown := [name for name in formats if name not in known] or not formats:
        raise ConfigError(f"formats: unknown {unknown if formats else '(none)'}; choose among {', '.join(known)}")
    ort = None
    if WEB in formats:
        ort, formats = web_runtime.fetch(onnxruntime_web), (*formats, "onnx")
    folder = shipped.resolve(folder)
    meta, variables = jax_network.read(folder)
    task, options = raw_labels.expected(folder, meta)
    leads, window = tuple(meta["leads"]), meta["window"]
    model = create_model(meta)

    def logits(signal: jax.Array, demographics: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):  # the same answers everywhere: accelerators would round products
            output: Any = model.apply(variables, signal, demographics, train=False)
        return output.logits

    def answer(signal: jax.Array, demographics: jax.Array) -> jax.Array:
        return predict.activate(logits(signal, demographics), task.exclusive)

    in_integers = [name for name in formats if name in integer_forms.FORMATS]
    forms = None
    if in_integers:
        forms = integer_forms.make(logits, meta, task, options, records, in_integers, **limits)
    output = pathlib.Path(output)
    description = output / exported.DESCRIPTION
    try:
        output.mkdir(parents=True, exist_ok=True)
        description.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"output {str(output)!r} cannot be written ({error.strerror})") from error
    if set(formats) != {MODEL}:
        example = _example(answer, window, len(leads))
        write_whole(output / "example.npz", lambda scratch: np.savez_compressed(scratch, **example))
    files = model_folder.write_weights(output, checkpoint.flatten(variables)) if MODEL in formats else {}
    for form in (form for form in WRITERS if form in formats):
        path = output / f"model.{form}"
        content = WRITERS[form](answer, window, len(leads))
        write_whole(path, functools.partial(pathlib.Path.write_bytes, data=content))
        _check(path, example)
        files[path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    if forms:
        files |= forms.write(output)
        meta["integers"] = forms.reports
    if "card" not in meta:
        with contextlib.suppress(CheckpointError):  # nothing was measured, or on data of one's own
            meta["card"] = model_card.make(folder, meta)
    meta |= {
        "name": name or meta["name"],
        "task": task.name,
        "rate": options.rate,
        "preprocess_options": dataclasses.asdict(options),
        "class_names": [task.description(code) for code in task.classes],
        "decision": "the most probable class" if task.exclusive else "every class at or above its threshold",
        "inputs": {
            "signal": {"shape": ["batch", window, len(leads)], "dtype": "float32", "leads": list(leads)},
            "demographics": {"shape": ["batch", 5], "dtype": "float32", "columns": list(DEMOGRAPHICS)},
        },
        "output": {"probabilities": {"shape": ["batch", len(task.classes)], "dtype": "float32"}},
        "files": files,
        "versions": environment.versions(),
    }
    if ort:
        program = (output / "model.onnx").read_bytes()
        web_page.write(output / WEB, program, {**meta, "files": {"model.onnx": files["model.onnx"]}}, task, ort)
    write_json(description, meta)
    if MODEL in formats:
        model_folder.read(output)
    return meta


def _example(answer: Answer, window: int, leads: int) -> dict[str, Any]:
    """Smoothed noise, of one deviation as prepared signals are, three people, and the network's answers."""
    rng = np.random.default_rng(0)
    signal = np.cumsum(rng.normal(size=(EXAMPLES, window, leads)), axis=1)
    signal = (signal - signal.mean(1, keepdims=True)) / signal.std(1, keepdims=True)
    people = [demographics_vector(*person) for person in ((61, "female"), (34, "male"), (None, None))]
    inputs = signal.astype(np.float32), np.stack(people)
    return {**dict(zip(exported.INPUTS, inputs, strict=True)), exported.OUTPUT: np.asarray(jax.jit(answer)(*inputs))}


def _check(path: pathlib.Path, example: Mapping[str, np.ndarray]) -> None:
    run = exported.READERS[path.suffix](path.read_bytes())
    for count in (1, EXAMPLES):
        answers = run(*(example[name][:count] for name in exported.INPUTS))
        worst = np.abs(answers - example[exported.OUTPUT][:count]).max()
        if not worst <= TOLERANCE:  # nor NaN
            raise UserError(f"{path}: its answers differ from the network's by up to {worst:.2g}; do not use it")


def _stablehlo(answer: Answer, window: int, leads: int) -> bytes:
    (batch,) = jax.export.symbolic_shape("batch")
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((batch, window, leads), (batch, 5))]
    try:
        return bytes(jax.export.export(jax.jit(answer), platforms=PLATFORMS)(*shapes).serialize())
    except ImportError as error:
        raise ConfigError(f"the format stablehlo needs flatbuffers: {exported.REMEDY}") from error


def _onnx(answer: Answer, window: int, leads: int) -> bytes:
    try:
        import jax2onnx
        import onnx
        import onnxruntime  # noqa: F401  # what was written is run
    except ImportError as error:
        remedy = f"{exported.REMEDY}, or give --formats=stablehlo"
        raise ConfigError(f"the format onnx needs {error.name}: {remedy}") from error
    logging.getLogger("jax2onnx").setLevel(logging.ERROR)  # it tells of every example of its own that it cannot import
    names = {"input_names": exported.INPUTS, "output_names": (exported.OUTPUT,)}
    with plain():
        model = jax2onnx.to_onnx(answer, [("batch", window, leads), ("batch", 5)], opset=OPSET, **names)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


WRITERS: dict[str, Callable[[Answer, int, int], bytes]] = {"stablehlo": _stablehlo, "onnx": _onnx}


def records_for(meta: Mapping[str, Any], data_dir: str) -> Dataset:
    """Returns the set that a network was trained on, or generated records of its task if that is not built here."""
    name = next((key for key, one in tasks.DATASETS.items() if meta.get("trained_on") in (key, one.synthetic)), None)
    if name is None:
        raise ConfigError(f"the data set {meta.get('trained_on')!r} is not one of {', '.join(tasks.DATASETS)}")
    return datasets.resolve("auto", data_dir, meta["preprocess"], GENERATED, (name,))


@command
def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="lrhnet-jax export", description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="WORKDIR/networks/NAME, or a model")
    parser.add_argument("--output", required=True, type=pathlib.Path, help="a folder; made if need be")
    parser.add_argument("--formats", default=",".join(WRITERS), help="what to write; also model, c, onnx_int8, web")
    parser.add_argument("--name", default="", help="what the model is to be called (as the network)")
    parser.add_argument("--data_dir", default="data", help="where built sets are, of which c and onnx_int8 need one")
    parser.add_argument("--arena", type=int, help="of c: bytes of memory at most; more is computed twice for less")
    parser.add_argument(
        "--tolerance", type=float, default=agreement.TOLERANCE, help="macro average precision that integers may lose"
    )
    where = f"of web: the package {web_runtime.PACKAGE} {web_runtime.VERSION}, or a folder with its files; npm gets it"
    parser.add_argument("--onnxruntime_web", type=pathlib.Path, metavar="PATH", help=where)
    parser.add_argument(
        "--sparse", action="store_true", help="of c: weights that are zero take a bit each; less flash, more memory"
    )
    options = parser.parse_args(arguments)
    log.configure(logging.WARNING)
    formats = options.formats.split(",")
    records, limits = None, {}
    if set(formats) & set(integer_forms.FORMATS):
        records = records_for(jax_network.read(shipped.resolve(options.checkpoint))[0], options.data_dir)
        limits = {"arena": options.arena, "tolerance": options.tolerance, "sparse": options.sparse}
    meta = export(options.checkpoint, options.output, formats, records, options.name, options.onnxruntime_web, **limits)
    for name, file in meta["files"].items():
        if name == model_folder.WEIGHTS:
            print(f"{options.output / name}: {file['bytes']:,} bytes, for lrhnet-jax predict --model={options.output}")
        elif name in (f"model.{one}" for one in WRITERS):
            print(f"{options.output / name}: {file['bytes']:,} bytes, answers as the network does")
    for name, report in meta.get("integers", {}).items():
        change = 100 * report["metrics"][agreement.HEADLINE]["difference"]
        print(
            f"{options.output / integer_forms.FORMATS[name]}: {change:+.2f} points of macro average precision, "
            f"{100 * report['decisions_equal']:.2f} % of decisions equal, on {report['records']} records of "
            f"{report['records_of']}"
        )
    if WEB in formats:
        served = f"python -m http.server --directory {options.output / WEB}"
        print(f"{options.output / WEB}: a page that runs it in the browser; to look at it: {served}")
    print(f"described in {options.output / exported.DESCRIPTION}")


if __name__ == "__main__":
    sys.exit(main())
