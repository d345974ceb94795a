"""Tasks and data sets: what labels mean, how answers are decided and scored, and which sets can be built."""

from lrhnet_jax.tasks.registry import (
    CPSC2018,
    DATASETS,
    METRICS,
    PHYSIONET2017,
    PHYSIONET2020,
    PTBXL,
    RANKING_METRICS,
    TASKS,
    Dataset,
    Task,
    choices,
    choose,
    is_synthetic,
    of,
)

__all__ = [
    "CPSC2018",
    "DATASETS",
    "METRICS",
    "PHYSIONET2017",
    "PHYSIONET2020",
    "PTBXL",
    "RANKING_METRICS",
    "TASKS",
    "Dataset",
    "Task",
    "choices",
    "choose",
    "is_synthetic",
    "of",
]
