"""A small training on made-up records, and how trainings are compared."""

import dataclasses

import jax
import numpy as np

from lrhnet_jax.data.store import make_store
from lrhnet_jax.training import optim
from lrhnet_jax.training.run import Run
from lrhnet_jax.training.state import init_variables
from lrhnet_jax.training.steps import StepSpec
from tests.helpers import fakes, tiny

WINDOW, BATCH, EPOCHS = 256, 8, 3
FIELDS = {
    "optimizer": "adam",
    "learning_rate": 3e-3,
    "weight_decay": 5e-4,
    "epochs": EPOCHS,
    "schedule": {"name": "constant"},
}


def make_run(folder, score=None, n=32, resident=True, student=None, **changes):
    """A run of `student` on leads I and II, by default the tiny network, with other values of its fields."""
    store = make_store(fakes.records(40), WINDOW, resident=resident)
    student = student or tiny.lead_network(0, 1)
    run = Run(
        spec=StepSpec(student, optim.make(FIELDS, 4), BATCH, WINDOW),
        name="student",
        variables=init_variables(student.model, jax.random.key(0), 2, WINDOW),
        inputs=fakes.inputs(store, n),
        key=jax.random.key(3),
        epochs=EPOCHS,
        schedule=optim.schedule(FIELDS, 4),
        score=score,
        score_name="validation_score",
        folder=folder,
    )
    return change(run, **changes)


def change(run, **fields):
    """Returns the run with other values of its fields, and of its spec's."""
    own = {name: value for name, value in fields.items() if name in {f.name for f in dataclasses.fields(StepSpec)}}
    rest = {name: value for name, value in fields.items() if name not in own}
    return dataclasses.replace(run, spec=dataclasses.replace(run.spec, **own), **rest)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def without_rates(history):
    return [{key: value for key, value in row.items() if key != "samples_per_second"} for row in history]
