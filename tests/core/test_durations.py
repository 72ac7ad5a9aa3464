"""How long runs take is learnt from few of them, follows a change of speed, and is not misled by one that hangs."""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from math import exp, log
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from bot.core.durations import Distribution, Durations, mixed_quantile

examples = settings(max_examples=150, deadline=None, derandomize=True, database=None)
PRICE = 0.1


def watched(durations: Durations, seconds: float) -> int:
    """Poll one run that takes so long, as the product does, and learn from it; returns the number of polls."""
    age, polls = 0.0, 0
    while True:
        at = durations.distribution.next_look(age, price=PRICE)
        polls += 1
        if at >= seconds:
            durations.ended(age, at, before=age)
            return polls
        durations.unfinished(at, before=age)
        age = at


def after(runs: int, *, median: float, spread: float = 0.2, start: Durations | None = None, seed: int = 1) -> Durations:
    durations, draw = start or Durations.expected((10, 30)), Random(seed)
    for _ in range(runs):
        watched(durations, median * draw.lognormvariate(0, spread))
    return durations


@examples
@given(st.floats(0.05, 2), st.floats(0.5, 300), st.floats(0, 10_000), st.floats(0.1, 1_000))
def test_the_next_look_is_later_and_not_out_of_reach(spread: float, median: float, age: float, price: float) -> None:
    at = Distribution(log(median), spread).next_look(age, price=price)
    assert age < at < 1e9


@examples
@given(st.floats(0.1, 0.6), st.floats(1, 300), st.floats(0.1, 50))
def test_a_dearer_poll_comes_later(spread: float, median: float, price: float) -> None:
    known = Distribution(log(median), spread)
    assert known.next_look(0, price=price) <= known.next_look(0, price=2 * price)


def test_polls_are_densest_where_runs_end_most_often() -> None:
    known = Distribution(log(20), 0.1)
    looks, age = [], 0.0
    while age < 26:
        looks.append(age := known.next_look(age, price=PRICE))
    gaps = [later - earlier for earlier, later in zip([0.0, *looks], looks, strict=False)]
    assert gaps[0] > 15  # none is ready before
    assert max(gaps[2:]) < 1


@pytest.mark.parametrize("usual", [(2, 4), (100, 300), None])
def test_a_wrong_expectation_is_overcome_within_ten_runs(usual: tuple[int, int] | None) -> None:
    durations = after(10, median=20, start=Durations.expected(usual))
    assert durations.distribution.quantile(0.5) == pytest.approx(20, rel=0.2)
    assert durations.distribution.spread < 0.45


@pytest.mark.parametrize("factor", [0.5, 2, 3])
def test_a_host_that_changes_speed_is_followed_within_eight_runs(factor: float) -> None:
    durations = after(40, median=20)
    after(8, median=20 * factor, start=durations, seed=2)
    assert durations.distribution.quantile(0.5) == pytest.approx(20 * factor, rel=0.15)


def together(durations: Durations, begins: Sequence[float], *, median: float, spread: float = 0.25) -> float:
    """Poll runs that begin at such times; returns their mean cost."""
    draw = Random(1)
    due = [(begin, begin, -1.0, median * draw.lognormvariate(0, spread)) for begin in begins]
    heapify(due)
    cost, among = 0.0, 0
    while due:
        now, begin, before, end = heappop(due)
        age = now - begin
        among += before < 0
        if before >= 0:
            cost += PRICE
            if age >= end:
                durations.ended(before, age, before=before, among=among)
                cost += age - end
                among -= 1
                continue
            durations.unfinished(age, before=before, among=among)
        following = begin + durations.distribution.next_look(age, price=PRICE)
        heappush(due, (max(following, now + 0.25), begin, age, end))
    return cost / len(begins)


def test_the_first_runs_to_end_do_not_speak_for_those_that_began_with_them() -> None:
    # 1.04 if everything were known, 1.7 with the fastest taken for all
    assert together(Durations.expected((10, 30)), [0.0] * 300, median=12) < 1.45


def test_many_unfinished_runs_do_not_outweigh_those_that_have_ended() -> None:
    durations = Durations.expected((10, 30))
    together(durations, [n / 20 for n in range(2000)], median=40)  # 800 at a time
    assert durations.distribution.quantile(0.5) == pytest.approx(40, rel=0.1)


@examples
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1e4), st.floats(0, 1), st.floats(0, 1)), max_size=60))
def test_whatever_is_seen_the_next_look_is_later_and_not_out_of_reach(
    seen: list[tuple[bool, float, float, float]],
) -> None:
    durations = Durations.expected((10, 30))
    for has_ended, age, one, other in seen:
        if has_ended:
            durations.ended(age * max(one, other), age, before=age * min(one, other))
        else:
            durations.unfinished(age, before=age * one)
    for age in (0, 1, 1e4):
        assert age < durations.distribution.next_look(age, price=PRICE) < 1e9


def test_a_slowdown_is_noticed_before_the_slow_runs_end() -> None:
    durations = after(40, median=20)
    for _ in range(5):
        durations.unfinished(40)
    assert durations.distribution.quantile(0.5) > 33


def test_one_run_that_hangs_changes_little() -> None:
    durations = after(30, median=20)
    before = durations.distribution
    watched(durations, 600)
    assert durations.distribution.quantile(0.5) == pytest.approx(before.quantile(0.5), rel=0.1)
    assert durations.distribution.spread < 1.5 * before.spread


@examples
@given(st.floats(0.5, 100), st.floats(0, 1))
def test_half_of_the_runs_left_end_before_the_time_said(median: float, share: float) -> None:
    known = Distribution(log(median), 0.3)
    age = known.quantile(max(0.001, min(0.99, share)))
    said = known.median_after(age)
    left = Distribution(log(median), 0.3)
    assert said >= age
    ended = [left.quantile(n / 1000) for n in range(1, 1000)]
    later = [each for each in ended if each > age]
    if len(later) > 20:
        assert sum(each <= said for each in later) == pytest.approx(len(later) / 2, rel=0.1, abs=2)


def test_what_was_learnt_is_the_same_after_it_was_stored() -> None:
    durations = after(12, median=20)
    again = Durations.load(durations.dump())
    assert again.distribution.mean == pytest.approx(durations.distribution.mean, abs=0.01)
    assert again.distribution.spread == pytest.approx(durations.distribution.spread, rel=0.1)
    assert exp(again.distribution.mean) == pytest.approx(20, rel=0.2)


def test_a_quantile_of_several_kinds_counts_each_by_its_weight() -> None:
    fast, slow = Distribution(log(10), 0.1), Distribution(log(100), 0.1)

    assert mixed_quantile([(7.0, slow)], 0.95) == pytest.approx(slow.quantile(0.95), rel=1e-6)
    assert mixed_quantile([(9.0, fast), (1.0, slow)], 0.5) == pytest.approx(fast.quantile(5 / 9), rel=1e-3)
    assert mixed_quantile([(9.0, fast), (1.0, slow)], 0.95) == pytest.approx(slow.quantile(0.5), rel=1e-3)
