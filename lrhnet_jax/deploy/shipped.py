"""The trained models that come with the package, and which of them fits a recording."""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import lrhnet_jax
from lrhnet_jax.deploy import exported
from lrhnet_jax.ecg.lead_names import available_leads
from lrhnet_jax.ecg.leads import LeadError
from lrhnet_jax.errors import CheckpointError
from lrhnet_jax.runtime.files import read_json
from lrhnet_jax.training import description

FOLDER = pathlib.Path(lrhnet_jax.__file__).parent / "shipped"
RHYTHM_TASK = "physionet2017"  # of recordings of one lead, by devices that are held in two hands


@functools.cache
def models() -> dict[str, dict[str, Any]]:
    """Returns the descriptions of the shipped models by name, those that read the most leads first."""
    paths = sorted(FOLDER.glob(f"*/{exported.DESCRIPTION}"))
    described = {path.parent.name: description.check(read_json(path), path) for path in paths}
    return dict(sorted(described.items(), key=lambda item: -len(item[1]["leads"])))


def resolve(name: str | os.PathLike[str]) -> pathlib.Path:
    """Returns where a model lies that is called by the name of a shipped one, or else by its path.

    Raises:
      CheckpointError: if there is neither.
    """
    path = pathlib.Path(name).expanduser()
    if path.exists():
        return path
    if str(name) in models():
        return FOLDER / str(name)
    if path.name == str(name) and not path.suffix:
        raise CheckpointError(
            f"{path}: no such file or folder, and not the name of a shipped model; these are {', '.join(models())}"
        )
    return path


def fitting(leads: Sequence[str]) -> str:
    """Returns the shipped model for a recording: the one that reads most of its leads.

    Of two that read one lead, a recording that has no other is given the one that learned from such recordings.

    Args:
      leads: as the file names them; limb leads that are missing are derived from I and II.

    Raises:
      LeadError: if none fits; it says what they need.
    """
    there = available_leads(leads)
    alone = len(leads) == 1
    fit = [name for name, meta in models().items() if set(meta["leads"]) <= set(there)]
    if not fit:
        needs = "; ".join(f"{name} reads {'+'.join(meta['leads'])}" for name, meta in models().items())
        listed = ", ".join(leads[:20])
        raise LeadError(
            f"has the leads {listed}, and no shipped model reads these alone ({needs}); if one of them is to count as "
            f"another, say so: --rename_leads={leads[0]}=I"
        )
    return min(fit, key=lambda name: (-len(models()[name]["leads"]), (_task(name) == RHYTHM_TASK) != alone))


def _task(name: str) -> Any:
    return models()[name].get("task")
