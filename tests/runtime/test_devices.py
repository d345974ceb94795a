"""The same training on one device, on a mesh of eight, and under pmap."""

import jax
import numpy as np
import optax
import pytest

from lrhnet_jax.data.batch import Draw, LeadNetwork
from lrhnet_jax.errors import ConfigError
from lrhnet_jax.runtime.devices import PARALLEL_KINDS, make_parallel
from lrhnet_jax.training import loop, steps
from lrhnet_jax.training.state import create_state
from tests.helpers import runs, tiny


def run(folder, kind, devices, **changes):
    parallel = make_parallel(kind, devices)
    student = tiny.lead_network(0, 1)
    student = LeadNetwork(student.model.clone(axis_name=parallel.axis_name), student.columns)
    return loop.train(runs.make_run(folder, parallel=parallel, student=student, **changes))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "devices"), [("jit", 8), ("pmap", 8)])
def test_many_devices_train_the_network_of_one(tmp_path, kind, devices):
    # Plain gradient descent: Adam would hide a gradient that is a multiple of the right one, and magnify rounding.
    descent = optax.sgd(0.3)
    one = run(tmp_path / "one", "jit", 1, optimizer=descent)
    many = run(tmp_path / "many", kind, devices, optimizer=descent)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), one.variables, many.variables)
    assert [row["loss"] for row in one.history] == pytest.approx([row["loss"] for row in many.history], rel=1e-4)
    # The kept variables are of the last epoch, and far from where they began.
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), one.variables, runs.make_run(tmp_path).variables)
    assert max(jax.tree.leaves(moved)) > 1e-2


def test_a_mesh_really_shares_out_the_batch():
    parallel = make_parallel("jit", 8)
    draw = Draw(*(np.arange(16, dtype=np.int32) for _ in range(3)))
    shared = jax.jit(parallel.shard_draw)(parallel.replicate(draw))
    assert len(shared.rows.sharding.device_set) == 8
    assert {shard.data.shape for shard in shared.rows.addressable_shards} == {(2,)}


def test_the_state_comes_back_from_every_form():
    run = runs.make_run("unused")
    state = create_state(run.variables, run.spec.optimizer, steps.METRICS)
    for kind in PARALLEL_KINDS:
        parallel = make_parallel(kind, 4)
        back = parallel.unreplicate(parallel.replicate_state(state))
        jax.tree.map(np.testing.assert_array_equal, state, back)


def test_what_cannot_be_shared_out_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="a batch of 8 cannot be divided among 3 devices; choose a multiple"):
        run(tmp_path, "jit", 3)
    with pytest.raises(ConfigError, match="unknown value 'tpu'; choose jit, pmap"):
        make_parallel("tpu", 0)
    with pytest.raises(ConfigError, match=r"config\.devices: 99 devices asked for, 8 available"):
        make_parallel("jit", 99)
