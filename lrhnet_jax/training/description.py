"""What describes a trained network, network.json or model.json: one schema, checked before it is believed."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lrhnet_jax import models
from lrhnet_jax.ecg.leads import RATES, LeadError, check_leads
from lrhnet_jax.errors import CheckpointError
from lrhnet_jax.models import names
from lrhnet_jax.training.card import is_card
from lrhnet_jax.training.json_types import has_fields, is_names, is_number, is_table, is_text, is_whole

if TYPE_CHECKING:
    import flax.linen as nn

WINDOWS = (16, 2**22)  # samples
OWN_OPTIONS = ("num_classes", "dtype", "axis_name")  # arguments of `models.create` that are not the network's to choose


def _leads(value: Any) -> bool:
    try:
        return isinstance(value, list) and list(check_leads(value)) == value
    except (LeadError, TypeError):
        return False


def _model(value: Any) -> bool:
    return isinstance(value, str) and value in names.MODELS


def _options(value: Any) -> bool:
    return isinstance(value, dict) and not set(value) & set(OWN_OPTIONS)


def _file(value: Any) -> bool:
    return has_fields(value, {"bytes": is_whole, "sha256": is_text})


def _held_out(value: Any) -> bool:
    return has_fields(
        value,
        {
            "protocol": is_text,
            "fold": lambda fold: is_whole(fold, 0, 4),
            "train_only": lambda sources: isinstance(sources, list) and all(map(is_text, sources)),
        },
    )


# Field -> what it has to be, in words, and whether it is. The first ones are in every description.
REQUIRED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a text", is_text),
    "model": (f"one of {', '.join(models.NAMES)}", _model),
    "options": (f"a table of the model's options, without {', '.join(OWN_OPTIONS)}", _options),
    "leads": ("a list of leads, in the order of a 12-lead ECG", _leads),
    "classes": ("a list of different texts", is_names),
    "window": (f"a whole number of samples from {WINDOWS[0]} to {WINDOWS[1]}", lambda value: is_whole(value, *WINDOWS)),
    "preprocess": ("a text", is_text),
}
OPTIONAL: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "task": ("a text", is_text),
    "rate": (f"a number from {RATES[0]:g} to {RATES[1]:g} (Hz)", lambda value: is_number(value, *RATES)),
    "preprocess_options": ("a table", lambda value: isinstance(value, dict)),
    "trained_on": ("a text", is_text),
    "synthetic": ("true or false", lambda value: isinstance(value, bool)),
    "held_out": ("a table of protocol, fold (0 to 4) and train_only (a list of sources)", _held_out),
    "parameters": ("a whole number", is_whole),
    "files": ("a table of files, each with its bytes and sha256", lambda value: is_table(value, _file)),
    "card": ("a card (lrhnet_jax/training/card.py)", is_card),
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
            raise refuse(f"{field} is {value!r:.200}, not {what}")
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


def create_model(meta: Mapping[str, Any]) -> "nn.Module":
    """Returns the module of a network that a checked description describes.

    Raises:
      ValueError or TypeError: for options that the model does not have.
    """
    return models.create(meta["model"], meta["leads"], num_classes=len(meta["classes"]), **meta["options"])
