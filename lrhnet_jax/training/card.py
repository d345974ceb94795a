"""The schema of a model's card: what it was trained on, what was measured, and what it must not be used for.

    title         one line
    trained_on    a list of {source, records, licence}
    command       how it was trained, with DATA for the folder of the built set
    attribution   texts that have to go wherever the weights go
    licence       of the weights
    seen          {rates: [low, high] in Hz, seconds: [low, high]} of the recordings that it learned from
    measured      a list of {on, records, patients, metrics, classes}: metrics by name as {value, low, high}, fractions
                  with a 95 % interval over patients; classes by code as {name, positives, auroc, average_precision, f1,
                  threshold}
    not_for       texts

`report.model_card` makes cards out of what a run has measured, and prints them.
"""

from typing import Any

from lrhnet_jax.ecg.leads import RATES
from lrhnet_jax.training.json_types import has_fields, is_list, is_number, is_range, is_table, is_text, is_whole

LONGEST = 10 * 86_400.0  # seconds of a recording


def is_card(value: Any) -> bool:
    """Whether a value that was read from JSON is a card."""
    return has_fields(
        value,
        {
            "title": is_text,
            "trained_on": lambda sources: is_list(sources, _is_source),
            "command": is_text,
            "attribution": lambda texts: is_list(texts, is_text),
            "licence": is_text,
            "seen": _is_seen,
            "measured": lambda parts: is_list(parts, _is_measured),
            "not_for": lambda texts: is_list(texts, is_text),
        },
    )


def _is_source(value: Any) -> bool:
    return has_fields(value, {"source": is_text, "records": is_whole, "licence": is_text})


def _is_seen(value: Any) -> bool:
    return has_fields(
        value, {"rates": lambda rates: is_range(rates, *RATES), "seconds": lambda span: is_range(span, 0, LONGEST)}
    )


def _is_measured(value: Any) -> bool:
    return has_fields(
        value,
        {
            "on": is_text,
            "records": is_whole,
            "patients": is_whole,
            "metrics": lambda metrics: is_table(metrics, _is_estimate),
            "classes": lambda classes: is_table(classes, _is_class),
        },
    )


def _is_figure(value: Any) -> bool:
    return value is None or is_number(value, -10, 1)  # the Challenge metric may be below zero


def _is_estimate(value: Any) -> bool:
    return has_fields(value, dict.fromkeys(("value", "low", "high"), _is_figure))


def _is_class(value: Any) -> bool:
    figures = dict.fromkeys(("auroc", "average_precision", "f1", "threshold"), _is_figure)
    return has_fields(value, {"name": is_text, "positives": is_whole, **figures})
