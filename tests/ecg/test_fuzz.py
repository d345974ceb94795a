"""Broken and hostile records: a few hundred mutations; `python -m benchmarks.fuzz` tries tens of thousands."""

import sys

import pytest

from benchmarks import fuzz, fuzz_records
from lrhnet_jax.ecg.wfdb import RecordError


def test_spoilt_records_are_rejected_or_read_as_wfdb_reads_them(tmp_path):
    outcomes = fuzz.run_here("records", tmp_path, range(20_000, 20_300), seed=0)
    assert [outcome for outcome in outcomes if not outcome.right] == []
    counts = fuzz.summary(outcomes)["outcomes"]
    assert counts["rejected"] > 100 and counts["as wfdb reads it"] > 20
    assert counts["as wfdb reads it plainly written"] > 5


@pytest.mark.parametrize(
    ("attempt", "outcome"),
    [
        (lambda case: 1 / 0, "another exception"),
        (lambda case: [(case / "x", RecordError(case / "y", "of another file"))], "rejected without a reason"),
        (lambda case: [(case / "x", RecordError(case / "x", "TypeError: strange"))], "rejected without a reason"),
        (lambda case: open("/etc/hostname").close() or [], "opened outside"),
    ],
)
def test_what_is_wrong_is_noticed(tmp_path, monkeypatch, attempt, outcome):
    monkeypatch.setattr(fuzz_records, "attempt", attempt)
    (found,) = fuzz.run_here("records", tmp_path, range(1), seed=0)
    assert (found.outcome, found.right) == (outcome, False)


def test_other_values_than_wfdbs_are_noticed(tmp_path, monkeypatch):
    read = fuzz_records.read_signal
    monkeypatch.setattr(fuzz_records, "read_signal", lambda *arguments: read(*arguments) * 1.001)
    outcomes = fuzz.run_here("records", tmp_path, range(60), seed=0)
    assert {outcome.outcome for outcome in outcomes if not outcome.right} == {"other values than wfdb's"}


DYING = """
import os, sys
from benchmarks import fuzz, fuzz_records
attempt, cases = fuzz_records.attempt, []
def attempt_or_die(case):
    cases.append(case)
    return os._exit(9) if len(cases) == 3 else attempt(case)
fuzz_records.attempt = attempt_or_die
fuzz.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_process_that_ends_is_a_fault_and_the_next_goes_on():
    outcomes = fuzz.run("records", 5, seed=0, command=(sys.executable, "-c", DYING))
    assert [outcome.number for outcome in outcomes] == [0, 1, 2, 3, 4]
    assert [outcome.right for outcome in outcomes] == [True, True, False, True, True]
    assert outcomes[2].outcome == "ended the process (9)"
