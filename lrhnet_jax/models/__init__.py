"""The networks, in Flax linen.

LRH-Net (the student), SE-ResNet (the teacher), a 1D-CNN baseline, LTH-ECG's ResNet-34, and MVKT-ECG's xresnet1d.
"""

from lrhnet_jax.models.description import Channels, Description, Fold
from lrhnet_jax.models.layers import Output
from lrhnet_jax.models.registry import (
    NAMES,
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
