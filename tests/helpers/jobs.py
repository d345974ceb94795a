"""A small training of LRH-Net on made-up records, and how trainings are compared."""

import dataclasses

import jax
import numpy as np

from lrhnet_jax.data.store import make_store
from lrhnet_jax.training import optim, steps
from lrhnet_jax.training.job import Job
from lrhnet_jax.training.state import init_variables
from tests.helpers import fakes

WINDOW, BATCH, EPOCHS = 256, 8, 3
FIELDS = {
    "optimizer": "adam",
    "learning_rate": 3e-3,
    "weight_decay": 5e-4,
    "epochs": EPOCHS,
    "schedule": {"name": "constant"},
}


def make_job(folder, score=None, n=32, resident=True, **changes):
    store = make_store(fakes.records(40), WINDOW, resident=resident)
    lead_network = fakes.lead_network()
    job = Job(
        name="student",
        lead_network=lead_network,
        variables=init_variables(lead_network.model, jax.random.key(0), 2, WINDOW),
        teachers=(),
        inputs=fakes.inputs(store, n),
        optimizer=optim.make(FIELDS, 4),
        schedule=optim.schedule(FIELDS, 4),
        distillation=steps.Distillation(),
        epochs=EPOCHS,
        batch_size=BATCH,
        window=WINDOW,
        key=jax.random.key(3),
        score=score,
        score_name="validation_score",
        folder=folder,
    )
    return dataclasses.replace(job, **changes)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def without_rates(history):
    return [{key: value for key, value in row.items() if key != "samples_per_second"} for row in history]
