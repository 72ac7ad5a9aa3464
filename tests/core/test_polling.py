"""Delays between polls and between retries."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from bot.core.polling import Timing, backoff, poll_delay
from tests.kit import catalog

arithmetic = settings(max_examples=200, deadline=None, derandomize=True, database=None)
timings = st.sampled_from([Timing(), *(model.timing for model in catalog().models.values())])
ages = st.floats(0, 7200)
jitters = st.floats(0, 1, exclude_max=True)


@arithmetic
@given(timings, ages, jitters)
def test_the_next_poll_is_neither_in_the_past_nor_far_away(timing: Timing, age: float, jitter: float) -> None:
    delay = poll_delay(timing, age=age, jitter=jitter)
    assert 0 < delay <= 1.15 * max(timing.first, timing.longest, timing.rare)


@arithmetic
@given(timings, ages, ages, jitters)
def test_an_older_run_is_polled_no_more_often(timing: Timing, one: float, other: float, jitter: float) -> None:
    younger, older = sorted((max(one, timing.first), max(other, timing.first)))
    assert poll_delay(timing, age=younger, jitter=jitter) <= poll_delay(timing, age=older, jitter=jitter)


@arithmetic
@given(timings, ages, jitters)
def test_jitter_changes_a_delay_by_fifteen_percent_at_most(timing: Timing, age: float, jitter: float) -> None:
    age = max(age, timing.first)
    middle = poll_delay(timing, age=age, jitter=0.5)
    assert poll_delay(timing, age=age, jitter=jitter) == pytest.approx(middle, rel=0.15 + 1e-9)


@arithmetic
@given(timings, st.floats(0, 1))
def test_once_a_run_may_be_ready_delays_have_a_minimum(timing: Timing, jitter: float) -> None:
    assert poll_delay(timing, age=timing.first, jitter=jitter) >= 0.85 * timing.step


def test_the_first_poll_is_when_a_run_can_be_ready_or_a_little_later() -> None:
    assert poll_delay(Timing(first=6), age=0, jitter=0) == 6
    assert 6 < poll_delay(Timing(first=6, step=2), age=0, jitter=0.99) < 6.6


def test_a_run_past_its_hard_deadline_is_polled_rarely() -> None:
    timing = Timing()
    assert poll_delay(timing, age=timing.hard - 1, jitter=0.5) == timing.longest
    assert poll_delay(timing, age=timing.hard, jitter=0.5) == timing.rare


def test_a_run_of_half_an_hour_is_polled_a_bounded_number_of_times() -> None:
    age, looks = 0.0, 0
    while age < 1800:
        age += poll_delay(Timing(), age=age, jitter=0.5)
        looks += 1
    assert 100 < looks < 130


@arithmetic
@given(timings, ages, jitters)
def test_a_run_with_a_callback_is_polled_when_it_is_slow_and_then_rarely(
    timing: Timing, age: float, jitter: float
) -> None:
    delay = poll_delay(timing.with_callbacks(), age=age, jitter=jitter)
    if age < timing.soft:
        assert timing.soft <= age + delay + 1e-9 <= timing.soft + 0.3 * timing.rare + 1e-6
    else:
        assert delay == pytest.approx(timing.rare, rel=0.15 + 1e-9)
    assert timing.with_callbacks().soft == timing.soft


@arithmetic
@given(st.integers(1, 10_000), jitters)
def test_the_backoff_grows_up_to_its_maximum(attempt: int, jitter: float) -> None:
    wait = backoff(attempt, retry_after=None, jitter=jitter)
    assert 0.75 * 2 <= wait <= 1.25 * 60
    assert wait <= backoff(attempt + 1, retry_after=None, jitter=jitter)


@arithmetic
@given(st.integers(1, 20), st.floats(0, 1e9), jitters)
def test_retry_after_is_honoured_up_to_a_quarter_of_an_hour(attempt: int, asked_for: float, jitter: float) -> None:
    wait = backoff(attempt, retry_after=asked_for, jitter=jitter)
    assert wait >= min(asked_for, 900)
    assert wait == max(min(asked_for, 900), backoff(attempt, retry_after=None, jitter=jitter))


@pytest.mark.parametrize("asked_for", [-5.0, 0.0, math.nan])
def test_a_retry_after_that_is_not_positive_changes_nothing(asked_for: float) -> None:
    assert backoff(3, retry_after=asked_for, jitter=0.5) == 8


def test_an_infinite_retry_after_is_a_quarter_of_an_hour() -> None:
    assert backoff(1, retry_after=math.inf, jitter=0.5) == 900


def test_the_maximum_delay_can_be_set() -> None:
    assert backoff(50, retry_after=None, jitter=0.5, max_delay=10) == 10
