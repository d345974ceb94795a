"""The time of one window on one core, for benchmarks.mcu: the exported C, ONNX Runtime, XLA and PyTorch."""

import ctypes
import subprocess
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from benchmarks.mcu_subject import Subject, installed
from benchmarks.measure import Task
from lrhnet_jax import export
from lrhnet_jax.deploy import integer_forms
from lrhnet_jax.deploy.int8 import program


def on_one_core(subject: Subject, repeats: int) -> dict[str, Any]:
    """Returns the milliseconds of one window, in turns; this process has one core.

    The processor's time is the one to compare: a busy machine lengthens the other.
    """
    signal, person = subject.windows.signal[:1], subject.windows.demographics[:1]
    tasks: dict[str, Task] = {"c": _c_task(subject, signal, person)}
    inputs = jnp.asarray(signal), jnp.asarray(person)
    compiled = jax.jit(subject.logits).lower(*inputs).compile()
    tasks["xla"] = lambda: np.asarray(compiled(*inputs))
    if "onnx_int8" in subject.forms.forms:
        tasks["onnx_int8"] = _onnx_task(
            (subject.folder / integer_forms.FORMATS["onnx_int8"]).read_bytes(), signal, person
        )
        if installed("jax2onnx"):
            content = export.WRITERS["onnx"](subject.logits, *signal.shape[1:])
            tasks["onnx"] = _onnx_task(content, signal, person)
    if installed("torch"):
        tasks |= _torch_task(subject, signal, person)
    timings = measure.interleave(tasks, 10 * repeats)
    return {
        name: {"median_ms": 1e3 * measure.median(timing, "cpu_seconds"), **timing} for name, timing in timings.items()
    }


def _c_task(subject: Subject, signal: np.ndarray, person: np.ndarray) -> Task:
    library = subject.folder / "model.so"
    command = ["gcc", "-O2", "-std=c99", "-shared", "-fPIC", "-o", str(library), str(subject.c / "model.c")]
    subprocess.run(command, check=True)
    run = ctypes.CDLL(str(library)).model_run
    run.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p]
    inputs = program.quantize_inputs(signal, person)
    logits = np.zeros(subject.program.output.channels, np.int16)
    pointers = inputs[0].ctypes.data, subject.program.window, inputs[1].ctypes.data, logits.ctypes.data

    def task() -> np.ndarray:
        assert run(*pointers) == 0 and inputs[0].size
        return logits

    return task


def _onnx_task(content: bytes, signal: np.ndarray, person: np.ndarray) -> Task:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}
    inputs = {name: value for name, value in (("signal", signal), ("demographics", person)) if name in names}
    return lambda: session.run(None, inputs)[0]


def _torch_task(subject: Subject, signal: np.ndarray, person: np.ndarray) -> dict[str, Task]:
    import torch

    from benchmarks.torch_models import MODELS
    from lrhnet_jax.models import torch_weights

    meta = subject.meta
    if meta["model"] not in MODELS or meta["options"]:
        return {}
    torch.set_num_threads(1)
    network = MODELS[meta["model"]](len(meta["leads"]), num_classes=len(meta["classes"])).eval()
    weights = torch_weights.to_torch(meta["model"], subject.variables)
    network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in weights.items()}, strict=False)
    inputs = torch.from_numpy(signal.transpose(0, 2, 1).copy()), torch.from_numpy(person)

    def task() -> np.ndarray:
        with torch.inference_mode():
            return network(*inputs).numpy()

    np.testing.assert_allclose(task(), np.asarray(subject.logits(jnp.asarray(signal), jnp.asarray(person))), atol=1e-2)
    return {"torch": task}
