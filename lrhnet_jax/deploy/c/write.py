"""Writes a program as a folder of C99 that a firmware project can take as it is: see `write`."""

import pathlib
import shutil
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lrhnet_jax.deploy.c import text
from lrhnet_jax.deploy.c.model_source import ModelSource
from lrhnet_jax.deploy.c.plan import Plan
from lrhnet_jax.deploy.c.stream_source import TEMPLATES, stream_source
from lrhnet_jax.deploy.int8 import program as ints
from lrhnet_jax.deploy.int8.program import Program
from lrhnet_jax.ecg.preprocess import Preprocess
from lrhnet_jax.runtime.files import write_text

Array = np.ndarray

SOURCES = pathlib.Path(__file__).parent / "sources"


class Meaning(NamedTuple):
    """What a network's answers mean, and whose they are.

    Attributes:
      title: the network, for people.
      leads: in the order of the signal's columns.
      options: how the signal is prepared, and its rate.
      class_names: of the logits.
      exclusive: the most probable class alone is present.
      thresholds: the probability from which on a class is present; None if `exclusive`.
    """

    title: str
    leads: Sequence[str]
    options: Preprocess
    class_names: Sequence[str]
    exclusive: bool
    thresholds: Sequence[float] | None


def decide(probabilities: Array, meaning: Meaning) -> Array:
    """Returns the decisions, (windows, classes) bool, as model_decide makes them.

    Args:
      probabilities: (windows, classes) of 16 fractional bits.
    """
    if meaning.thresholds is None:
        return np.arange(probabilities.shape[1]) == probabilities.argmax(1)[:, None]
    return probabilities >= _limits(meaning.thresholds)


def _limits(thresholds: Sequence[float]) -> Array:
    return np.ceil(np.asarray(thresholds, float) * ints.PROBABILITY_ONE).astype(np.int64)


def write(
    folder: pathlib.Path, program: Program, plan: Plan, meaning: Meaning, signal: Array, demographics: Array
) -> None:
    """Writes model.h, model.c, kernels.h, the examples with their answers, the check, and what builds it for a board.

    Args:
      signal, demographics: the examples, int16, as `program.run` takes them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(SOURCES.iterdir()):
        shutil.copyfile(path, folder / path.name)
    write_text(folder / "model.h", _header(program, plan, meaning))
    write_text(folder / "model.c", _source(program, plan, meaning))
    for name, source in stream_source(meaning.options, program.leads).items():
        write_text(folder / name, source)
    header, source_text = _examples(program, meaning, signal, demographics)
    write_text(folder / "examples.h", header)
    write_text(folder / "examples.c", source_text)


def _about(meaning: Meaning) -> str:
    return text.comment(f"{meaning.title}.\n\nWritten by lrhnet_jax.export; do not edit.")


def _header(program: Program, plan: Plan, meaning: Meaning) -> str:
    values = {
        "window": program.window,
        "leads": program.leads,
        "lead_names": ", ".join(meaning.leads),
        "rate": f"{meaning.options.rate:g}",
        "classes": program.output.channels,
        "arena": plan.arena_bytes,
        "stages": len(plan.stages),
        "rule": "the most probable class" if meaning.exclusive else "every class at or above its threshold",
    }
    return _about(meaning) + text.fill(TEMPLATES / "model.h", values)


def _source(program: Program, plan: Plan, meaning: Meaning) -> str:
    source = ModelSource(program, plan)
    reads_person = "demographics" in program.tensors
    person = (
        f"    memcpy(arena.vectors + {text.constant('demographics')}, demographics, 5 * sizeof(int16_t));\n"
        if reads_person
        else ""
    )
    tables = [text.array("uint16_t sigmoid_table", ints.SIGMOID_TABLE)]
    if meaning.exclusive:
        tables.append(text.array("uint16_t exp_table", ints.EXP_TABLE))
        decide = DECIDE_MOST_PROBABLE
    else:
        tables.append(text.array("int32_t thresholds", _limits(meaning.thresholds or ())))
        decide = DECIDE_THRESHOLDS
    needs_sigmoid = not meaning.exclusive or any(isinstance(step, ints.Sigmoid) for step in program.steps)
    values = {
        "about": _about(meaning),
        "tables": "\n".join(tables if needs_sigmoid else tables[1:]),
        "layers": source.layers(),
        "places": source.places(),
        "tensor_bytes": -(-plan.tensor_bytes // 4) * 4,
        "vectors": plan.vector_count + plan.vector_count % 2,
        "scratch": max(plan.scratch_count, 1),
        "stages": source.stages(),
        "stage_names": ",\n".join(f"    {text.string(', '.join(stage.sinks))}" for stage in plan.stages),
        "class_names": ",\n".join(f"    {text.string(name)}" for name in meaning.class_names),
        "input": text.constant("signal"),
        "person": person,
        "calls": textwrap.indent(source.calls(), "    "),
        "output": text.constant(program.output.name),
        "probabilities": SOFTMAX if meaning.exclusive else SIGMOID,
        "decide": decide,
    }
    return text.fill(TEMPLATES / "model.c", values)


def _examples(program: Program, meaning: Meaning, signal: Array, demographics: Array) -> tuple[str, str]:
    logits = ints.run(program, signal, demographics)
    probabilities = ints.probabilities(logits, meaning.exclusive)
    tables = {
        "int16_t example_signals[EXAMPLES][MODEL_WINDOW * MODEL_LEADS]": signal.reshape(len(signal), -1),
        "int16_t example_demographics[EXAMPLES][5]": demographics,
        "int16_t example_logits[EXAMPLES][MODEL_CLASSES]": logits,
        "uint16_t example_probabilities[EXAMPLES][MODEL_CLASSES]": probabilities,
        "uint8_t example_decisions[EXAMPLES][MODEL_CLASSES]": decide(probabilities, meaning).astype(int),
    }
    declarations = "\n".join(f"extern const {name};" for name in tables)
    header = (
        f'#ifndef EXAMPLES_H\n#define EXAMPLES_H\n\n#include "model.h"\n\n#define EXAMPLES {len(signal)}\n\n'
        f"{declarations}\n\n#endif\n"
    )
    definitions = "\n".join(f"const {name} = {{\n{text.rows(values)}}};" for name, values in tables.items())
    return (
        header,
        f'/* Prepared windows, and the answers that they must get. */\n#include "examples.h"\n\n{definitions}\n',
    )


SIGMOID = """    for (int32_t i = 0; i < MODEL_CLASSES; i++)
        probabilities[i] = sigmoid(sigmoid_table, logits[i]);
"""

SOFTMAX = """    int32_t largest = logits[0];
    uint32_t total = 0;
    for (int32_t i = 1; i < MODEL_CLASSES; i++)
        largest = most(largest, logits[i]);
    for (int32_t i = 0; i < MODEL_CLASSES; i++)
        total += look_up(exp_table, largest - logits[i]);
    for (int32_t i = 0; i < MODEL_CLASSES; i++) {
        const uint32_t share = ((look_up(exp_table, largest - logits[i]) << 16) + total / 2) / total;
        probabilities[i] = (uint16_t)(share < 65535 ? share : 65535);
    }
"""

DECIDE_THRESHOLDS = """    for (int32_t i = 0; i < MODEL_CLASSES; i++)
        decisions[i] = probabilities[i] >= thresholds[i];
"""

DECIDE_MOST_PROBABLE = """    int32_t best = 0;
    for (int32_t i = 1; i < MODEL_CLASSES; i++)
        best = probabilities[i] > probabilities[best] ? i : best;
    for (int32_t i = 0; i < MODEL_CLASSES; i++)
        decisions[i] = i == best;
"""
