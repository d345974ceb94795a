"""The search's rules, on made-up scores."""

import dataclasses
import json
import math

import pytest

from lrhnet_jax.compress import search
from lrhnet_jax.errors import ConfigError

TOTAL = 10_453_504 + 5_000  # about the size of the published network


def play(settings, score=lambda kept: 1.0, total=TOTAL):
    """The search to its end, where `score` tells the score of a network with so many units."""
    found = search.Search(settings, total)
    while (planned := found.next()) is not None:
        found = found.record(score(planned.kept))
    return found


def test_dividing_the_rate_saturates_at_36_7_times():
    found = play(search.Settings(schedule="divide", rate=0.3, floor=1e-9, max_rounds=10_000), total=10**12)
    assert 10**12 / found.best.kept == pytest.approx(36.7, abs=0.05)
    assert found.ending in ("the rate has fallen below 1e-09", "a further round would drop no unit")


def test_the_root_of_the_percentage_reaches_142_times_in_348_rounds():
    found = play(search.Settings(schedule="root", rate=0.3, goal=142, max_rounds=1000))
    assert len(found.rounds) - 1 == 348 and found.ending == "the goal is reached"
    assert found.best.kept == round(TOTAL / 142)


def test_a_constant_fifth_takes_23_rounds():
    found = play(search.Settings(rate=0.2, goal=142))
    assert len(found.rounds) - 1 == 23 and TOTAL / found.best.kept == pytest.approx(142, rel=1e-4)


@pytest.mark.parametrize("schedule", search.SCHEDULES)
def test_rates_never_rise(schedule):
    rate = 0.004
    for _ in range(50):
        following = search.next_rate(schedule, rate, 1.1)
        assert 0 < following <= rate
        rate = following


def test_every_round_keeps_its_share_of_its_parent_to_within_one():
    found = play(search.Settings(schedule="root", rate=0.3, goal=50, max_rounds=1000), total=83_108)
    for parent, child in zip(found.rounds[:-2], found.rounds[1:-1], strict=True):
        assert child.parent == parent.index
        assert abs(child.kept - parent.kept * (1 - child.rate)) <= 1
    assert found.rounds[-1].kept == round(83_108 / 50)


def test_after_two_rounds_below_the_last_good_one_is_pruned_at_half_the_rate():
    found = search.Search(search.Settings(rate=0.5, tolerance=0.1, floor=0.2), 1000)
    for score in (0.8, 0.75, 0.71, 0.73):  # 0.72 is what counts
        found = found.record(score)
    assert [r.decision for r in found.rounds] == ["dense", "good", "below", "good"]  # one round below is forgiven
    assert found.threshold == pytest.approx(0.72) and found.best.index == 3
    found = found.record(0.5).record(0.6)
    assert [(r.kept, r.decision) for r in found.rounds[4:]] == [(62, "below"), (31, "step back")]
    assert found.next() == search.Round(6, 3, 0.25, round(125 * 0.75))
    found = found.record(0.8)
    assert found.best.index == 6 and found.next().rate == 0.25
    found = found.record(math.nan).record(0.1)  # a score that is no number is below
    assert found.next() is None and found.ending == "the rate has fallen below 0.2"
    assert found.best.index == 6


def test_the_search_ends_where_it_should():
    assert play(search.Settings(max_rounds=3)).ending == "all 3 rounds have run"
    assert play(search.Settings(rate=0.4), total=3).best.kept == 1
    least = search.Search(search.Settings(rate=0.9), 100, least=40).record(1.0)
    assert least.next().kept == 40 and least.record(1.0).ending == "a further round would drop no unit"
    nothing = play(search.Settings(rate=0.3, floor=0.1), score=lambda kept: float(kept == TOTAL))
    assert nothing.best.index == 0 and [r.decision for r in nothing.rounds] == [
        "dense",
        "below",
        "step back",
        "below",
        "step back",
    ]
    # Below at the goal: no second round could drop more, so that it steps back at once.
    # The rate of .125 would be cut to the same 500 units, whose result is known.
    missed = play(search.Settings(rate=0.5, goal=2, floor=0.05), score=lambda kept: float(kept > 500), total=1000)
    assert [(r.kept, r.decision) for r in missed.rounds] == [
        (1000, "dense"),
        (500, "step back"),
        (750, "good"),
        (562, "good"),
        (500, "step back"),
        (527, "good"),
        (500, "step back"),
    ]
    assert missed.ending == "the rate has fallen below 0.05"
    with pytest.raises(ValueError, match="the search has ended"):
        missed.record(1.0)
    with pytest.raises(ValueError, match="the dense network's score is nan"):
        search.Search(search.Settings(), 10).record(math.nan)


def test_a_search_survives_json_at_every_moment():
    settings = search.Settings(rate=0.4, goal=9, tolerance=0.0)
    found = search.Search(settings, 1000)
    scores = iter([0.5, 0.6, 0.4, 0.3, 0.5, 0.5, 0.1, 0.7, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9])
    while found.next() is not None:
        again = search.Search.from_json(json.loads(json.dumps(found.to_json())))
        assert again == found
        found = again.record(next(scores))
    assert found.best.kept == 111


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rates": 0.2}, "n.prune: unknown field rates; the fields are unit, schedule, rate, alpha"),
        ({"unit": "block"}, "n.prune.unit: unknown value 'block'; choose weight, channel"),
        ({"schedule": "linear"}, "n.prune.schedule: unknown value 'linear'; choose constant, divide, root"),
        ({"control": "dense"}, "n.prune.control: unknown value 'dense'; choose none, random_mask, random_init"),
        ({"rate": 1.0}, "n.prune.rate: 1.0 is not between 0 and 1"),
        ({"alpha": 1.0}, "n.prune.alpha: 1.0 is not above 1"),
        ({"tolerance": 1.0}, "n.prune.tolerance: 1.0 is not at least 0 and below 1"),
        ({"patience": 0}, "n.prune.patience: 0 is not at least 1"),
        ({"goal": 0.5}, "n.prune.goal: 0.5 is not above 1, or 0 for none"),
        ({"floor": 0.0}, "n.prune.floor: 0.0 is not between 0 and 1"),
        ({"max_rounds": 0}, "n.prune.max_rounds: 0 is not at least 1"),
        ({"rewind": 1.0}, "n.prune.rewind: 1.0 is not at least 0 and below 1"),
        ({"unit": "channel", "rewind": 0.1}, "n.prune.rewind: only weights are rewound"),
        ({"unit": "channel", "ticket": "t"}, "n.prune.ticket: only weights are rewound"),
    ],
)
def test_impossible_settings_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        search.parse(fields, "n.prune")
    assert search.parse(dataclasses.asdict(search.Settings()), "n.prune") == search.Settings()
