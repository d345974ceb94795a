"""What a program runs on, for the files that it leaves: packages, devices, processor."""

import datetime
import importlib.metadata
import os
import platform
from typing import Any

import jax

from lrhnet_jax.runtime import host

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "lrhnet-jax")


def device() -> str:
    """Returns what JAX computes on, for people: "8 x NVIDIA H200 in 2 processes"."""
    return _devices() + (f" in {jax.process_count()} processes" if jax.process_count() > 1 else "")


def versions(*more: str) -> dict[str, str]:
    """Returns the versions of Python, of `PACKAGES`, and of `more` packages; "not installed" where one is missing."""
    installed = {"python": platform.python_version()}
    for package in (*PACKAGES, *more):
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            installed[package] = "not installed"
    return installed


def describe(*more: str) -> dict[str, Any]:
    """Returns what a measurement ran on, as JSON values.

    Args:
      more: packages to name beside `PACKAGES`.

    Returns:
      "date" (ISO 8601, UTC), "device" (number and kind, of all processes), "processor", "cores" (that this process may
      use), "load" (the average over the last minute, before the measurement), "versions", "xla_flags".
    """
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": _devices(),
        "processor": _processor(),
        "cores": host.cores(),
        "load": os.getloadavg()[0],
        "versions": versions(*more),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def _devices() -> str:
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
