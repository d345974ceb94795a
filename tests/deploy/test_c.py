"""The C that is written: the same bits as NumPy, in the memory that it says, on this computer and on boards in QEMU."""

import dataclasses
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

from lrhnet_jax import models
from lrhnet_jax.deploy.c import plan, text, weights, write
from lrhnet_jax.deploy.c.stages import Splitter
from lrhnet_jax.deploy.int8 import program
from lrhnet_jax.ecg.preprocess import PAPER, Preprocess
from lrhnet_jax.errors import ConfigError
from tests.helpers import int8
from tests.helpers.sketch import Sketch

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to compile what is written")
needs_board = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None or shutil.which("qemu-system-arm") is None,
    reason="needs gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm",
)

# Networks, windows, leads, and the arena in bytes: None: what it takes; 0: the smallest that there is.
CASES = {
    "lrhnet": (models.create("lrhnet", 2), 512, 2, None),
    "lrhnet, streamed": (models.create("lrhnet", 2), 512, 2, 0),
    "lrhnet, pruned, of an odd window": (models.create("lrhnet", 1, inner=(5, 9, 31)), 515, 1, 0),
    "exclusive classes": (models.create("resnet34", 1, num_classes=4, width=2), 300, 1, None),
    "sketch": (Sketch(), 512, 2, None),
    "sketch of odd sizes": (
        Sketch(stem=(7, 5, 3), pool=(3, 2, 1), blocks=((7, 4, 1, False), (10, 5, 3, True), (6, 3, 2, True))),
        400,
        3,
        0,
    ),
    "sketch that leaves rows out": (Sketch(stem=(8, 5, 1), pool=(2, 3, 0), blocks=((8, 1, 4, False),)), 300, 2, 0),
    "sketch, shorter than its taps": (Sketch(blocks=((8, 15, 2, True), (8, 15, 2, True), (9, 15, 2, True))), 48, 12, 0),
}


def meaning(made: program.Program, options: Preprocess = PAPER) -> write.Meaning:
    classes = made.output.channels
    names = [f'class {index} "a\\b"' for index in range(classes)]
    exclusive = classes == 4
    leads = [str(index) for index in range(made.leads)]
    limits = None if exclusive else np.linspace(0.2, 0.8, classes).tolist()
    return write.Meaning("a network */ of a test", leads, options, names, exclusive, limits)


def thinned(made: program.Program, kept: float) -> program.Program:
    """Returns a program whose convolutions, but those whose weights others share, keep a share of their weights."""
    rng = np.random.default_rng(0)
    shared = {step.shares for step in made.steps if isinstance(step, program.Linear)}
    steps = [
        dataclasses.replace(step, weights=np.where(rng.random(step.weights.shape) < kept, step.weights, 0))
        if isinstance(step, program.Linear) and step.kind == "conv" and step.name not in shared
        else step
        for step in made.steps
    ]
    return dataclasses.replace(made, steps=tuple(steps))


def export(folder: pathlib.Path, name: str) -> int8.Made:
    model, window, leads, arena = CASES[name]
    made = int8.make(model, window, leads)
    if arena == 0:
        arena = plan.least_arena(made.program)
    chosen = plan.make(made.program, arena)
    signal, demographics = made.inputs
    write.write(folder, made.program, chosen, meaning(made.program), signal[:2], demographics[:2])
    return made


def build(folder: pathlib.Path, target: str, **variables: str) -> str:
    command = ["make", "-C", str(folder), target, *(f"{key}={value}" for key, value in variables.items())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@needs_gcc
@pytest.mark.parametrize("name", CASES)
def test_host_gives_the_same_bits_and_the_sanitizers_find_nothing(name, tmp_path):
    made = export(tmp_path, name)
    assert build(tmp_path, "test").count("values that differ: 0") == 2
    signal, demographics = made.inputs
    extreme = np.random.default_rng(0).choice(np.array([-32768, 32767], np.int16), signal[:1].shape)
    signal, demographics = np.concatenate([signal, extreme]), np.concatenate([demographics, demographics[:1]])
    windows = b"".join(a.tobytes() + b.tobytes() for a, b in zip(signal, demographics, strict=True))
    (tmp_path / "windows").write_bytes(windows)
    found = subprocess.run(
        [tmp_path / "check-sanitized", "windows", tmp_path / "windows"], capture_output=True, check=True
    ).stdout
    expected = program.run(made.program, signal, demographics)
    np.testing.assert_array_equal(np.frombuffer(found, np.int16).reshape(expected.shape), expected)


@needs_gcc
@pytest.mark.slow
@pytest.mark.parametrize("arena", [None, 4000], ids=["enough memory", "streamed"])
def test_sparse_weights_give_the_same_bits_from_fewer_bytes(arena, tmp_path):
    made = int8.make(CASES["sketch"][0], 512, 2)
    thin = thinned(made.program, 0.2)
    chosen = plan.make(thin, arena, sparse=True)
    assert {"conv1", "layer1_0/conv1", "layer2_0/conv1"} <= chosen.packed
    assert chosen.arena_bytes > plan.make(thin, arena).arena_bytes
    signal, demographics = made.inputs
    write.write(tmp_path, thin, chosen, meaning(thin), signal, demographics)
    assert build(tmp_path, "test").count("values that differ: 0") == 2
    packed, dense = (sum(weights.stored_bytes(step, each) for step in thin.steps) for each in (True, False))
    assert packed < 0.75 * dense
    assert plan.make(made.program, sparse=True).packed == set()  # nothing to gain: no zeros


def test_packed_weights_come_back():
    values = np.random.default_rng(0).integers(-2, 3, 1003).astype(np.int8)
    mask, kept = weights.pack(values)
    assert len(mask) == 126 and len(kept) == np.count_nonzero(values)
    np.testing.assert_array_equal(weights.unpack(mask, kept, 1003), values)


@needs_board
@pytest.mark.slow
@pytest.mark.parametrize("board", ["netduino2", "mps2-an386"])
@pytest.mark.parametrize("name", ["lrhnet, streamed", "sketch of odd sizes", "exclusive classes"])
def test_board_gives_the_same_bits(name, board, tmp_path):
    export(tmp_path, name)
    output = build(tmp_path, "qemu", BOARD=board)
    numbers = {key.strip(): int(value) for key, value in re.findall(r"^(.+): (-?\d+)$", output, re.MULTILINE)}
    assert numbers["values that differ"] == 0
    assert abs(numbers["instructions of a loop of 2,000,000"] - 2_000_000) < 200
    assert 0 < numbers["bytes of stack"] < 2048
    assert numbers["bytes of RAM in all"] < numbers["bytes of arena"] + numbers["bytes of stack"] + 1024
    assert numbers["instructions a window"] > 10_000


def test_a_smaller_arena_costs_more_products_and_a_too_small_one_is_refused():
    made = int8.make(models.create("lrhnet", 2), 512, 2).program
    least = plan.least_arena(made)
    large, small = plan.make(made, 10**6), plan.make(made, least)
    assert small.arena_bytes <= least < large.arena_bytes
    assert sum(made.multiplications(step) for step in made.steps) == large.multiplications < small.multiplications
    with pytest.raises(
        ConfigError, match=rf"an arena of {least - 1:,} bytes is too small: this network needs {least:,}"
    ):
        plan.make(made, least - 1)


def test_blocks_that_are_in_use_together_lie_apart():
    made = int8.make(models.create("lrhnet", 2), 512, 2).program
    for arena in (10**6, plan.least_arena(made)):
        chosen = plan.make(made, arena)
        splitter = Splitter(made)
        streamed = frozenset(splitter.streamable) - chosen.tensors.keys()
        assert splitter.split(streamed) == chosen.stages
        found = plan.blocks_of(made, chosen.stages, {})
        for i, a in enumerate(found.blocks):
            at = _place(chosen, a)
            assert at >= 0 and at + a.size <= chosen.tensor_bytes and at % plan.ALIGNMENT == 0
            for j, b in enumerate(found.blocks):
                if i == j or a.last < b.first or b.last < a.first:
                    continue
                bt = _place(chosen, b)
                apart = at + a.size <= bt or bt + b.size <= at
                in_front = (i, j) in found.lags and bt - at >= found.lags[i, j]
                behind = (j, i) in found.lags and at - bt >= found.lags[j, i]
                assert apart or in_front or behind, (a, b)


def _place(chosen: plan.Plan, block: plan.Block) -> int:
    return chosen.tensors[block.name] if block.stage is None else chosen.lines[block.stage, block.name]


@needs_gcc
def test_an_arena_of_another_size_does_not_compile(tmp_path):
    export(tmp_path, "sketch")
    header = (tmp_path / "model.h").read_text()
    changed = re.sub(r"(MODEL_ARENA_BYTES) (\d+)", lambda found: f"{found[1]} {int(found[2]) - 4}", header)
    (tmp_path / "model.h").write_text(changed)
    done = subprocess.run(["gcc", "-std=c99", "-c", "model.c"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "arena_is_as_large_as_said" in done.stderr


@needs_gcc
def test_the_age_sex_vector_is_the_same(tmp_path):
    from lrhnet_jax.ecg.leads import demographics_vector

    export(tmp_path, "sketch")
    (tmp_path / "people.c").write_text(
        """#include "model.h"
#include <stdio.h>
int main(void)
{
    int16_t person[5];
    if (model_demographics(121, 'f', person) != MODEL_BAD_AGE || model_demographics(-2, 0, person) != MODEL_BAD_AGE ||
        model_demographics(50, 'f', NULL) != MODEL_NULL_POINTER)
        return 1;
    for (int age = -1; age <= 120; age++) {
        model_demographics(age, age % 3 == 0 ? 'f' : age % 3 == 1 ? 'M' : 0, person);
        for (int i = 0; i < 5; i++)
            printf("%d ", person[i]);
    }
}
"""
    )
    subprocess.run(["gcc", "-std=c99", "people.c", "model.c", "-o", "people"], cwd=tmp_path, check=True)
    found = subprocess.run([tmp_path / "people"], capture_output=True, text=True, check=True).stdout
    sexes = {0: "female", 1: "male"}
    people = np.stack([demographics_vector(None if age < 0 else age, sexes.get(age % 3)) for age in range(-1, 121)])
    people[0] = demographics_vector(None, None)  # C's -1 % 3 is -1
    _, expected = program.quantize_inputs(np.zeros((1, 1, 1)), people)
    np.testing.assert_array_equal(np.array(found.split(), int).reshape(-1, 5), expected)


def test_names_and_comments_are_safe():
    assert text.name("layer1_0/conv1") == "layer1_0_conv1"
    assert text.string('a "b" \\ ?') == '"a \\042b\\042 \\134 \\077"'
    assert text.string("Brugada\u2019s µ") == '"Brugada.s \\265"'
    assert text.comment("a */ b") == "/* a * / b */\n"


def test_decisions_are_those_of_the_thresholds():
    probabilities = np.array([[0, 32768, 65535], [13107, 13108, 40000]])
    two = write.Meaning("", (), PAPER, ("a", "b", "c"), False, (0.2, 0.2, 1.0))
    np.testing.assert_array_equal(write.decide(probabilities, two), [[False, True, False], [False, True, False]])
    one = two._replace(exclusive=True, thresholds=None)
    np.testing.assert_array_equal(write.decide(probabilities, one), [[False, False, True], [False, False, True]])
