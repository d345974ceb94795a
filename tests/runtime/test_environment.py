"""What results.json and the benchmarks say of the machine."""

import json
import os
import platform

import jax

from lrhnet_jax.runtime import environment, host


def test_versions_are_those_that_run_and_a_missing_package_is_named():
    versions = environment.versions("no-such-package")
    assert versions["python"] == platform.python_version() and versions["jax"] == jax.__version__
    assert versions["no-such-package"] == "not installed"
    assert list(environment.versions()) == ["python", *environment.PACKAGES]


def test_a_description_is_json_and_names_devices_and_cores():
    described = environment.describe("torch")
    assert json.loads(json.dumps(described)) == described
    assert described["device"] == environment.device() == "8 x cpu"
    assert 1 <= described["cores"] == host.cores() <= os.cpu_count()
    assert described["processor"] and described["load"] >= 0 and "torch" in described["versions"]
