"""Losses: pure functions of arrays that return scalars, and the distillation methods that train with them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from lrhnet_jax.errors import ConfigError, choose
from lrhnet_jax.losses import pskd
from lrhnet_jax.losses.clt import CLT, Bank, Embeddings, crd, draw_negatives, init_bank
from lrhnet_jax.losses.fitnet import FitNet, Hints, RandomMap, random_map_kl
from lrhnet_jax.losses.logits import KINDS, distillation, multi_teacher_kl, sigmoid_kl, softmax_kl
from lrhnet_jax.losses.method import Method, MethodInputs, Result
from lrhnet_jax.losses.pskd import PSKD
from lrhnet_jax.losses.semckd import CrossLayer, SemCKD
from lrhnet_jax.losses.supervised import bce, cross_entropy

METHODS: dict[str, type[Method]] = {
    "fitnet": FitNet,
    "random_map": RandomMap,
    "semckd": SemCKD,
    "pskd": PSKD,
    "clt": CLT,
}

__all__ = [
    "CLT",
    "KINDS",
    "METHODS",
    "PSKD",
    "Bank",
    "CrossLayer",
    "Embeddings",
    "FitNet",
    "Hints",
    "Method",
    "MethodInputs",
    "RandomMap",
    "Result",
    "SemCKD",
    "bce",
    "crd",
    "cross_entropy",
    "distillation",
    "draw_negatives",
    "init_bank",
    "make_method",
    "method_fields",
    "multi_teacher_kl",
    "pskd",
    "random_map_kl",
    "sigmoid_kl",
    "softmax_kl",
]


def method_fields(name: str) -> dict[str, Any]:
    """Returns the fields of a method with their defaults.

    Raises:
      ConfigError: for an unknown name.
    """
    choose("", name, ("none", *METHODS), noun="method")
    return {} if name == "none" else {field.name: field.default for field in dataclasses.fields(METHODS[name])}


def make_method(fields: Mapping[str, Any]) -> Method | None:
    """Returns the method that a config's `train.method` describes by its "name" and its fields; None for "none".

    Raises:
      ConfigError: for an unknown name or field.
    """
    if fields["name"] == "none":
        return None
    own = {key: value for key, value in fields.items() if key != "name"}
    known = method_fields(fields["name"])
    unknown = sorted(set(own) - set(known))
    if unknown:
        has = f"has {', '.join(known)}" if known else "has none"
        raise ConfigError(f"method {fields['name']} has no field {', '.join(unknown)}; it {has}")
    return METHODS[fields["name"]](**own)
