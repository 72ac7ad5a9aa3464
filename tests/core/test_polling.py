"""The price of a poll keeps the budget; retries back off."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from bot.core.polling import POLL_PRICE, backoff, poll_price, safety_delay

jitters = st.floats(0, 1, exclude_max=True)
arithmetic = settings(max_examples=200, deadline=None, derandomize=True, database=None)


def test_a_poll_is_dearer_the_later_polls_are_and_as_cheap_as_before_once_none_waits() -> None:
    assert poll_price(0) == POLL_PRICE < poll_price(1) < poll_price(60) < 10


def test_polls_for_a_callback_that_is_late_become_rarer_with_age() -> None:
    assert [safety_delay(age) for age in (10, 50, 300)] == [5, 5, 30]


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
