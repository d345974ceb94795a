"""Altered files of trained networks: a few hundred; `python -m benchmarks.fuzz --target=models` tries more."""

import jax
import pytest

from benchmarks import fuzz, fuzz_models
from lrhnet_jax.errors import CheckpointError


@pytest.mark.slow
def test_altered_networks_are_refused_or_load_as_they_were(tmp_path):
    outcomes = fuzz.run_here("models", tmp_path, range(300), seed=0)
    assert [outcome for outcome in outcomes if not outcome.right] == []
    counts = fuzz.summary(outcomes)["outcomes"]
    assert counts["refused"] > 150 and counts["the same weights"] > 5


@pytest.mark.parametrize(
    ("attempt", "outcome"),
    [
        (lambda case: 1 / 0, "another exception"),
        (lambda case: (case, CheckpointError("some file is broken")), "refused without naming the file"),
        (lambda case: (case, jax.tree.map(lambda leaf: leaf + 1, fuzz_models._load(case))), "other weights"),
    ],
)
def test_what_is_wrong_is_noticed(tmp_path, monkeypatch, attempt, outcome):
    monkeypatch.setattr(fuzz_models, "mutate", lambda rng, base, case: base.rename(case) and "moved")
    monkeypatch.setattr(fuzz_models, "attempt", attempt)
    judge = fuzz_models.judge
    monkeypatch.setattr(fuzz_models, "judge", lambda result, base: judge(result, result[0]))
    (found,) = fuzz.run_here("models", tmp_path, range(1), seed=0)
    assert (found.outcome, found.right) == (outcome, False)
