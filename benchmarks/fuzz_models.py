"""Altered and broken files of trained networks, and what loading makes of each; for `benchmarks.fuzz`.

A run's folder is read by `checkpoint.load_model`, a model's folder by what runs it in NumPy.

Two outcomes are right: the folder is refused, naming a file of it, or it loads as the network that it was. Values that
a description may have, such as another window, are the user's to change: what loads then has the same weights.
"""

import json
import pathlib
import shutil
from typing import Any

import jax
import numpy as np

from lrhnet_jax import models
from lrhnet_jax.deploy import exported, model_folder, numpy_network
from lrhnet_jax.errors import CheckpointError
from lrhnet_jax.runtime.files import write_json
from lrhnet_jax.tasks import physionet2020
from lrhnet_jax.training import checkpoint
from lrhnet_jax.training.state import init_variables

RIGHT = ("refused", "the same weights")
LEADS, WINDOW = ("I", "II"), 256
# What people, disks and attackers put in the place of a value.
STRANGE: list[Any] = [
    *(
        None,
        True,
        0,
        -1,
        1,
        2**31,
        2**70,
        0.5,
        -0.1,
        1e308,
        float("nan"),
        float("inf"),
        "",
        "x",
        "../../etc/passwd",
        "\0",
    ),
    *([], {}, [None], [float("nan")], ["I", "II", "V2"], ["II", "I"], [["I"]], {"dtype": "bfloat16"}, {"inner": [1]}),
    "a" * 100_000,
]


def write_bases(folder: pathlib.Path) -> None:
    """Writes a trained network as a run leaves it, and one as a model that has left it."""
    variables = init_variables(models.create("lrhnet", LEADS), jax.random.key(0), len(LEADS), WINDOW)
    meta = {
        "name": "student",
        "model": "lrhnet",
        "options": {},
        "leads": list(LEADS),
        "task": "physionet2020",
        "classes": list(physionet2020.CLASSES),
        "window": WINDOW,
        "rate": 257.0,
        "preprocess": "paper",
        "preprocess_options": {"resample": "polyphase", "bandpass": "none", "rate": 257.0},
        "trained_on": "synthetic",
        "synthetic": True,
        "parameters": 83_236,
        "teachers": {},
    }
    checkpoint.save_model(folder / "lrhnet", variables, meta)
    wide = init_variables(models.create("lrhnet_wide", LEADS), jax.random.key(0), len(LEADS), WINDOW)
    thresholds = [0.5] * len(physionet2020.CLASSES)
    described = {**meta, "model": "lrhnet_wide", "thresholds": thresholds}
    model_folder.write(folder / "wide", described, checkpoint.flatten(wide))
    write_json(folder / "lrhnet" / "thresholds.json", {"thresholds": [0.5] * len(physionet2020.CLASSES)})


def mutate(rng: np.random.Generator, base: pathlib.Path, case: pathlib.Path) -> str:
    """Copies a network to `case` and alters it; returns what was done."""
    shutil.copytree(base, case)
    files = ["network.json", "network.json", "thresholds.json", str(checkpoint.WEIGHTS)]
    if model_folder.is_one(case):
        files = [exported.DESCRIPTION, exported.DESCRIPTION, model_folder.WEIGHTS]
    path = case / str(rng.choice(files))
    if path.suffix == ".json" and rng.random() < 0.7:
        return f"{path.name}: {_change_json(rng, path)}"
    return f"{path.name}: {_change_bytes(rng, path)}"


def _change_json(rng: np.random.Generator, path: pathlib.Path) -> str:
    content = json.loads(path.read_text())
    key = str(rng.choice(sorted(content)))
    if rng.random() < 0.2:
        del content[key]
        done = f"{key} removed"
    else:
        value = STRANGE[int(rng.integers(len(STRANGE)))]
        inside = isinstance(content[key], list) and content[key] and rng.random() < 0.5
        if inside:
            content[key][int(rng.integers(len(content[key])))] = value
        else:
            content[key] = value
        done = f"{key} {'holds' if inside else 'is'} {value!r:.60}"
    path.write_text(json.dumps(content))
    return done


def _change_bytes(rng: np.random.Generator, path: pathlib.Path) -> str:
    data = bytearray(path.read_bytes())
    kind = str(rng.choice(["cut", "flip", "zero", "double", "empty", "remove", "folder"]))
    at = int(rng.integers(len(data)))
    if kind == "cut":
        del data[at:]
    elif kind == "flip":
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == "zero":
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    elif kind == "double":
        data += bytes(data)
    elif kind == "empty":
        data.clear()
    if kind in ("remove", "folder"):
        path.unlink()
        if kind == "folder":
            path.mkdir()
    else:
        path.write_bytes(data)
    return f"{kind} at {at}"


def attempt(case: pathlib.Path) -> Any:
    """Loads the network in a folder; returns its variables, or the error, with the folder."""
    try:
        return case, _load(case)
    except CheckpointError as error:
        return case, error


def _load(folder: pathlib.Path) -> Any:
    """Returns a network's variables, a tree or arrays by their paths."""
    if not model_folder.is_one(folder):
        return checkpoint.load_model(folder)[1]
    meta, arrays = model_folder.read(folder)
    try:
        numpy_network.make(arrays, len(meta["leads"]), len(meta["classes"]), exclusive=False)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return arrays


def judge(result: tuple[pathlib.Path, Any], base: pathlib.Path) -> tuple[str, str]:
    """Returns the outcome of an attempt, one of `RIGHT` or a fault, and what to say of it."""
    case, found = result
    if isinstance(found, CheckpointError):
        text = str(found)
        plain = "\n" not in text and len(text) < 1000
        return ("refused" if str(case) in text and plain else "refused without naming the file"), text[:300]
    expected = _load(base)
    same = jax.tree.map(np.array_equal, found, expected)
    return ("the same weights" if all(jax.tree.leaves(same)) else "other weights"), ""
