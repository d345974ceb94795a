"""Losses: pure functions of arrays that return scalars."""

from lrhnet_jax.losses.logits import distillation, multi_teacher_kl, softmax_kl
from lrhnet_jax.losses.supervised import bce

__all__ = ["bce", "distillation", "multi_teacher_kl", "softmax_kl"]
