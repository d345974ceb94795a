"""What describes a trained network, network.json or model.json: one schema, checked before it is believed."""

import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn

from lrhnet_jax import models
from lrhnet_jax.ecg.leads import RATES, LeadError, check_leads
from lrhnet_jax.errors import CheckpointError, ConfigError

WINDOWS = (16, 2**22)  # samples
OWN_OPTIONS = ("num_classes", "dtype", "axis_name")  # arguments of `models.create` that are not the network's to choose


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _whole(value: Any, low: float = 0, high: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether a JSON value is a finite number in a range."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and math.isfinite(value) and low <= value <= high


def _names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_text, value)) and len(set(value)) == len(value)


def _leads(value: Any) -> bool:
    try:
        return isinstance(value, list) and list(check_leads(value)) == value
    except (LeadError, TypeError):
        return False


def _model(value: Any) -> bool:
    try:
        return isinstance(value, str) and models.describe(value) is not None
    except ConfigError:
        return False


def _options(value: Any) -> bool:
    return isinstance(value, dict) and not set(value) & set(OWN_OPTIONS)


def _held_out(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"protocol", "fold", "train_only"}:
        return False
    sources = value["train_only"]
    return (
        _text(value["protocol"])
        and _whole(value["fold"], 0, 4)
        and isinstance(sources, list)
        and all(map(_text, sources))
    )


# Field -> what it has to be, in words, and whether it is. The first ones are in every description.
REQUIRED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a text", _text),
    "model": (f"one of {', '.join(models.NAMES)}", _model),
    "options": (f"a table of the model's options, without {', '.join(OWN_OPTIONS)}", _options),
    "leads": ("a list of leads, in the order of a 12-lead ECG", _leads),
    "classes": ("a list of different texts", _names),
    "window": (f"a whole number of samples from {WINDOWS[0]} to {WINDOWS[1]}", lambda value: _whole(value, *WINDOWS)),
    "preprocess": ("a text", _text),
}
OPTIONAL: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "task": ("a text", _text),
    "rate": (f"a number from {RATES[0]:g} to {RATES[1]:g} (Hz)", lambda value: is_number(value, *RATES)),
    "preprocess_options": ("a table", lambda value: isinstance(value, dict)),
    "trained_on": ("a text", _text),
    "synthetic": ("true or false", lambda value: isinstance(value, bool)),
    "held_out": ("a table of protocol, fold (0 to 4) and train_only (a list of sources)", _held_out),
    "parameters": ("a whole number", _whole),
}


def check(meta: Any, where: str | pathlib.Path) -> dict[str, Any]:
    """Returns a description, read from JSON, if it is one.

    Args:
      where: its file, for the message.

    Raises:
      CheckpointError: for a field that is missing, or is not of its type or in its range.
    """

    def refuse(problem: str) -> CheckpointError:
        return CheckpointError(
            f"{where}: does not describe a network: {problem}; it was altered, or is of another version"
        )

    if not isinstance(meta, dict):
        raise refuse("it is not a table")
    for field, (what, holds) in {**REQUIRED, **OPTIONAL}.items():
        value = meta.get(field)
        if field in REQUIRED and field not in meta:
            raise refuse(f"{field} is missing")
        if field in meta and not (field in OPTIONAL and value is None) and not _holds(holds, value):
            raise refuse(f"{field} is {value!r}, not {what}")
    if meta.get("thresholds") is not None:
        check_thresholds(meta["thresholds"], meta["classes"], where)
    return meta


def _holds(holds: Callable[[Any], bool], value: Any) -> bool:
    try:
        return holds(value)
    except TypeError:  # a value that cannot be looked up or compared
        return False


def check_thresholds(values: Any, classes: Sequence[str], where: str | pathlib.Path) -> list[float]:
    """Returns thresholds, read from JSON: a probability for each class.

    Raises:
      CheckpointError: for anything else.
    """
    if not (isinstance(values, list) and len(values) == len(classes) and all(is_number(v, 0, 1) for v in values)):
        raise CheckpointError(
            f"{where}: thresholds has to be {len(classes)} numbers from 0 to 1, one for each class, not {values!r:.200}"
        )
    return values


def create_model(meta: Mapping[str, Any]) -> nn.Module:
    """Returns the module of a network that a checked description describes.

    Raises:
      ValueError or TypeError: for options that the model does not have.
    """
    return models.create(meta["model"], meta["leads"], num_classes=len(meta["classes"]), **meta["options"])
