"""The networks, in Flax linen.

LRH-Net (the student), SE-ResNet (the teacher), a 1D-CNN baseline, LTH-ECG's ResNet-34, MVKT-ECG's xresnet1d, and a
student for deployment. What needs Flax is imported when it is first asked for: names do not.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lrhnet_jax.models.description import Channels, Description, Fold
from lrhnet_jax.models.names import NAMES

if TYPE_CHECKING:
    from lrhnet_jax.models.layers import Output
    from lrhnet_jax.models.registry import (
        count_parameters,
        create,
        describe,
        head,
        multiply_accumulates,
        prunable,
    )

__all__ = [
    "NAMES",
    "Channels",
    "Description",
    "Fold",
    "Output",
    "count_parameters",
    "create",
    "describe",
    "head",
    "multiply_accumulates",
    "prunable",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{'layers' if name == 'Output' else 'registry'}"), name)
