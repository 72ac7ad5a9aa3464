"""A limit of events a second holds in every window, whatever the times at which it is asked."""

import hypothesis.strategies as st
from hypothesis import given, settings

from bot.core.rate_limit import RateLimit

examples = settings(max_examples=150, deadline=None, derandomize=True, database=None)


@examples
@given(st.sampled_from([0.2, 0.5, 1, 3, 20, 2.5]), st.lists(st.integers(0, 700), max_size=120))
def test_no_window_of_a_second_has_more_events_than_allowed(per_second: float, pauses: list[int]) -> None:
    limit, now, times = RateLimit(per_second), 1_000_000, []
    for pause in pauses:
        now += pause
        if limit.next_at(now) == now:
            limit.count(now)
            times.append(now)
    window = 1000 * max(1, int(per_second)) / per_second
    for n, start in enumerate(times):
        assert sum(1 for each in times[n:] if each < start + window) <= max(1, int(per_second))


@examples
@given(st.sampled_from([0.5, 1, 20]), st.integers(1, 60))
def test_an_event_may_happen_as_soon_as_it_is_said_that_it_may(per_second: float, events: int) -> None:
    limit, now = RateLimit(per_second), 0
    for _ in range(events):
        now = limit.next_at(now)
        assert limit.next_at(now) == now
        limit.count(now)
    assert now <= 1000 * events / per_second


@examples
@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from([1, 3, 20])), max_size=80))
def test_a_limit_that_changes_counts_the_events_before(steps: list[tuple[int, int]]) -> None:
    limit, now, times = RateLimit(20), 0, list[int]()
    for pause, per_second in steps:
        now += pause
        limit.change(per_second)
        if limit.next_at(now) == now:
            limit.count(now)
            times.append(now)
            assert sum(each > now - 1000 for each in times) <= per_second


def test_a_clock_that_is_set_back_does_not_stop_everything() -> None:
    limit = RateLimit(1)
    limit.count(10_000_000)
    assert limit.next_at(5_000) == 5_000
