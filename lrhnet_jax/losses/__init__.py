"""Losses: pure functions of arrays that return scalars, and Flax modules where a loss has parameters of its own."""

from lrhnet_jax.losses import self_distillation
from lrhnet_jax.losses.contrastive import Bank, Embeddings, crd, draw_negatives, init_bank
from lrhnet_jax.losses.features import FitNet, SemCKD, random_map_kl
from lrhnet_jax.losses.logits import KINDS, distillation, multi_teacher_kl, sigmoid_kl, softmax_kl
from lrhnet_jax.losses.supervised import bce, cross_entropy

__all__ = [
    "KINDS",
    "Bank",
    "Embeddings",
    "FitNet",
    "SemCKD",
    "bce",
    "crd",
    "cross_entropy",
    "distillation",
    "draw_negatives",
    "init_bank",
    "multi_teacher_kl",
    "random_map_kl",
    "self_distillation",
    "sigmoid_kl",
    "softmax_kl",
]
