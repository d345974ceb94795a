"""PyTorch's loops in processes of their own, one each, beside a process that runs JAX.

    python -m benchmarks.torch_worker FOLDER

A child reads its task, prepares it, runs it once, which compiles, and says that it is ready, or why not. At each line
it runs the task once and answers with the seconds that took. It ends when its input does, as when its parent dies.
Tasks and answers are lines of JSON. Neither side of this module knows JAX, and only children import PyTorch.
"""

import importlib.metadata
import importlib.util
import json
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks import measure
from lrhnet_jax.ecg.leads import DEMOGRAPHICS, LEADS
from lrhnet_jax.runtime import host
from lrhnet_jax.tasks import physionet2020

TRIES, PAUSE = 4, 5.0  # to prepare, while other children take memory; seconds between
REFERENCE_WINDOWS = 8192  # of a turn: the DataLoader would take long over twenty large batches
ROOT = pathlib.Path(__file__).parents[1]


class Task(NamedTuple):
    """What a child does in a turn: `steps` training steps; data is noise.

    Attributes:
      loop: "reference" or "best", of benchmarks.torch_training.
      student, teachers: model and leads.
      samples: of a record.
      workers: of the reference loop's DataLoader.
      bfloat16, compiled: of the best loop.
    """

    loop: str
    student: tuple[str, int]
    teachers: tuple[tuple[str, int], ...]
    batch: int
    steps: int
    window: int
    samples: int
    device: str
    workers: int = 0
    bfloat16: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        return f"{self.loop} {self.student[0]} {'bfloat16' if self.bfloat16 else 'float32'} {self.batch}"


def reference(best: Task, workers: int) -> Task:
    """Returns the reference loop beside a best loop; all dtypes have the same."""
    steps = min(best.steps, max(2, REFERENCE_WINDOWS // best.batch))
    return best._replace(loop="reference", steps=steps, workers=workers, bfloat16=False, compiled=False)


def device(backend: str) -> tuple[str | None, str]:
    """Returns PyTorch's name for the device of a JAX backend, or None, and why."""
    if importlib.util.find_spec("torch") is None:
        return None, "PyTorch is not installed"
    if backend == "cpu":
        return "cpu", ""
    if backend == "gpu":  # asked elsewhere: its CUDA libraries do not come into this process
        script = "import torch; print(torch.cuda.is_available())"
        asked = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        if asked.stdout.strip() == "True":
            return "cuda", ""
    return None, f"PyTorch {importlib.metadata.version('torch')} has no {backend}"


class Failed(RuntimeError):
    """A child could not do its task; the text is the reason that it gave."""


def reason(error: BaseException) -> str:
    """Returns an error in one short line."""
    return f"{type(error).__name__}: {str(error).strip()[:200]}".splitlines()[0]


class Worker:
    """A child, from its parent's side.

    Args:
      folder: for its files, and what it prints.
    """

    def __init__(self, task: Task, folder: pathlib.Path):
        folder.mkdir(parents=True)
        self._log, self._failed = folder / "log", ""
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.torch_worker", str(folder)],
                cwd=ROOT,
                env={"TORCHINDUCTOR_COMPILE_THREADS": "4", **os.environ},  # there are many children
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._send(task)

    def ready(self) -> str:
        """Waits until the task is prepared; returns "", or why it is not, which `run` will raise."""
        try:
            self._receive()
        except Failed as error:
            self._failed = str(error)
            self.end()
        return self._failed

    def run(self) -> measure.Seconds:
        """Runs the task once; returns the seconds that the child measured.

        Raises:
          Failed: if it cannot.
        """
        if self._failed:
            raise Failed(self._failed)
        self._send("run")
        return measure.Seconds(self._receive()["seconds"])

    def end(self) -> None:
        """Ends the child, which may have ended."""
        assert self._process.stdin
        if self._process.stdin.closed:
            return
        try:
            self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _send(self, value: Any) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: the missing answer tells

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            printed = self._log.read_text(errors="replace").split("\n")
            last = next((text for text in reversed(printed) if text.strip()), "")
            raise Failed(f"the process ended with status {self._process.wait()}: {last.strip()[:200]}")
        answer = json.loads(line)
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer


def build(task: Task, folder: pathlib.Path) -> Callable[[], float]:
    """Returns the loop of a task; its data lies in `folder` or on the device."""
    from benchmarks import torch_training

    rng = np.random.default_rng(0)
    records, leads = task.batch, len(LEADS)
    persons = rng.random((records, len(DEMOGRAPHICS)), dtype=np.float32)
    labels = (rng.random((records, len(physionet2020.CLASSES))) < 0.1).astype(np.float32)

    def signals(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32).astype(np.float16)

    if task.loop == "reference":
        windows = torch_training.write_windows(
            folder, signals(records, task.samples, leads), persons, labels, task.window, task.batch * task.steps
        )
        return torch_training.reference_loop(
            task.student, task.teachers, windows, task.batch, task.device, task.workers
        )
    return torch_training.best_loop(
        task.student,
        task.teachers,
        (signals(records, leads, task.samples), persons, labels),
        task.batch,
        task.window,
        task.steps,
        task.device,
        bfloat16=task.bfloat16,
        compiled=task.compiled,
    )


def _prepare(task: Task, folder: pathlib.Path) -> Callable[[], float]:
    import torch

    if task.device == "cpu":
        torch.set_num_threads(host.cores())
    run = build(task, folder)
    for _ in range(TRIES):
        try:
            run()
        except torch.OutOfMemoryError:  # if only for others' sake, a turn has it to itself
            torch.cuda.empty_cache()
            time.sleep(PAUSE)
        else:
            break
    _release()
    return run


def _release() -> None:
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()  # for others' turns


def _commands() -> queue.SimpleQueue[str | None]:
    """Returns the lines of the input, then None; a child that is busy then does not live on."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        lines.put(None)
        time.sleep(5)
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    return lines


def main() -> None:
    folder, commands = pathlib.Path(sys.argv[1]), _commands()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print where they like

    def answer(**fields: Any) -> None:
        print(json.dumps(fields), file=answers, flush=True)

    first = commands.get()
    if first is None:
        return
    try:
        run = _prepare(Task(*json.loads(first)), folder)
    except Exception as error:
        answer(failed=reason(error))
        commands.get()  # a thread that still reads the input would make Python end with an error
        return
    answer()
    while commands.get() is not None:
        start = time.perf_counter()
        try:
            run()
        except Exception as error:
            _release()
            answer(failed=reason(error))
        else:
            answer(seconds=time.perf_counter() - start)


if __name__ == "__main__":
    main()
