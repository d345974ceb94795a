"""The training step lowers for TPUs and GPUs on a machine that has neither, and in their forms, not in the CPU's."""

import re

import jax
import jax.numpy as jnp
import pytest

from lrhnet_jax import models
from lrhnet_jax.data.batch import LeadNetwork
from lrhnet_jax.runtime.devices import make_parallel
from lrhnet_jax.training import steps
from lrhnet_jax.training.state import create_state
from tests.helpers import runs

LEADS = 2


def lower(devices, dtype, platform):
    """Returns the text of two scanned steps over a mesh of `devices`, lowered for `platform`."""
    parallel = make_parallel("jit", devices)
    lead_network = LeadNetwork(models.create("lrhnet", LEADS, dtype=dtype), tuple(range(LEADS)))
    run = runs.make_run("unused", student=lead_network, parallel=parallel)
    function = steps.make_steps(run.spec, 2)
    state = parallel.replicate_state(create_state(run.variables, run.spec.optimizer, steps.METRICS))
    inputs, order = parallel.replicate((run.step_inputs, jnp.arange(len(run.inputs.records))))
    exported = jax.export.export(parallel.transform(function), platforms=[platform])(state, inputs, order, None)
    assert exported.platforms == (platform,) and exported.nr_devices == devices
    return exported.mlir_module()


def cpu_forms(module):
    """Returns how often x == x keeps an array from fusion, and how many convolutions have a dilated input."""
    kept = re.findall(r"stablehlo\.compare\s+EQ, (%\w+), \1,", module)
    dilated = re.findall(r"lhs_dilat\w+ = (?:\[2\]|array<i64: 2>)", module)
    return len(kept), len(dilated)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_step_lowers_for_tpus_and_gpus(devices, dtype):
    for platform in ("tpu", "cuda"):
        module = lower(devices, dtype, platform)
        kept, dilated = cpu_forms(module)
        # LRH-Net's strided convolutions have XLA's own input gradient.
        assert kept == 0 and dilated > 0
        assert ("xbf16>" in module) == (dtype == "bfloat16")
        assert "tf.aliasing_output" in module  # the state is donated
        assert f'<["data"={devices}]>' in module and '[{"data"}]' in module  # the batch is shared out


@pytest.mark.slow
def test_on_cpus_the_step_has_the_cpus_forms():
    kept, dilated = cpu_forms(lower(1, "float32", "cpu"))
    assert kept > 0 and dilated == 0
