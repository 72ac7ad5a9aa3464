"""When the circuit breaker of a provider allows paid requests."""

from functools import reduce

import pytest

from bot.core.circuit_breaker import FIRST_PAUSE, MAX_PAUSE, TRIAL_TIMEOUT, CircuitBreaker, Mode
from bot.core.jobs import SECOND

NOON = 1_795_176_000_000
FAST = NOON + 100  # a moment later


def failing(times: int, *, paid: bool = True, unsure: bool = False, every: int = SECOND) -> CircuitBreaker:
    """After *times* failures in a row, the last of them at NOON."""
    ages = [(times - 1 - n) * every for n in range(times)]
    return reduce(lambda seen, age: seen.on_failed(NOON - age, paid=paid, unsure=unsure), ages, CircuitBreaker())


@pytest.mark.parametrize("what", ["paid", "free"])
def test_three_failures_in_a_row_open_it(what: str) -> None:
    assert failing(2, paid=what == "paid").mode(NOON) is Mode.CLOSED
    assert failing(3, paid=what == "paid").mode(NOON) is Mode.OPEN
    assert failing(3, paid=what == "paid").outage == "down"


def test_failures_at_one_instant_do_not_open_it() -> None:
    assert failing(9, every=0).mode(NOON) is Mode.CLOSED


def test_failures_with_successes_between_them_do_not_open_it() -> None:
    paid = failing(2).on_accepted().on_failed(NOON, paid=True)
    free = failing(2, paid=False).on_answered().on_failed(NOON, paid=False)
    assert [paid.mode(NOON), free.mode(NOON)] == [Mode.CLOSED] * 2


def test_answered_free_requests_do_not_hide_failing_paid_ones() -> None:
    seen = CircuitBreaker()
    for n in range(3):
        seen = seen.on_failed(NOON + n * SECOND, paid=True).on_answered()
    assert seen.outage == "down"


def test_a_request_refused_for_its_content_is_no_failure() -> None:
    assert failing(2).on_refused().on_failed(NOON, paid=True).mode(NOON) is Mode.CLOSED
    assert failing(3).on_refused().mode(NOON) is Mode.CLOSED  # the provider is reachable
    assert CircuitBreaker().on_account_refused("balance", NOON, paid=True).on_refused().outage == "balance"


def test_a_breaker_opened_by_free_requests_closes_when_one_is_answered() -> None:
    assert failing(3, paid=False).on_answered() == CircuitBreaker()


def test_a_breaker_opened_by_paid_requests_allows_one_after_a_free_request_is_answered() -> None:
    half = failing(3).on_answered()
    assert half.mode(NOON) is Mode.HALF_OPEN
    assert half.accepts(NOON)
    trying = half.on_submit(NOON)
    assert not trying.accepts(NOON + SECOND)
    assert trying.accepts(NOON + TRIAL_TIMEOUT)  # the trial counts as ended
    assert trying.on_accepted() == CircuitBreaker()


def test_a_trial_that_fails_opens_it_again() -> None:
    again = failing(3).on_answered().on_submit(NOON).on_failed(FAST, paid=True)
    assert again.mode(FAST) is Mode.OPEN
    assert again.on_answered().accepts(FAST)


@pytest.mark.parametrize("kind", ["credentials", "balance"])
def test_a_provider_that_refuses_the_account_is_tried_again_after_a_minute(kind: str) -> None:
    refused = CircuitBreaker().on_account_refused(kind, NOON, paid=True)
    assert not refused.on_answered().accepts(NOON)
    assert refused.on_answered().accepts_at(NOON) == NOON + FIRST_PAUSE
    assert refused.on_answered().accepts(NOON + FIRST_PAUSE)
    assert not refused.accepts(NOON + FIRST_PAUSE), "nothing free has been answered"
    assert refused.accepts_at(NOON) is None


def test_requests_that_may_have_been_accepted_double_the_pause() -> None:
    seen, now, pauses = failing(3, unsure=True), NOON, []
    for _ in range(6):
        at = seen.on_answered().accepts_at(now)
        assert at is not None
        pauses.append(at - now)
        now = at
        seen = seen.on_answered().on_submit(now).on_failed(now, paid=True, unsure=True)
    assert pauses == sorted(pauses)
    assert pauses[0] == FIRST_PAUSE
    assert pauses[-1] == MAX_PAUSE


@pytest.mark.parametrize(("kind", "left"), [("down", None), ("credentials", None), ("balance", "balance")])
def test_after_a_restart_a_provider_is_tried_at_once(kind: str, left: str | None) -> None:
    remembered = CircuitBreaker.restored(kind)
    assert remembered.accepts(NOON)
    assert remembered.on_answered().outage == left


def test_one_outage_causes_one_pause_however_many_requests_fail() -> None:
    seen = CircuitBreaker()
    for n in range(8):
        seen = seen.on_failed(NOON + 400 * n, paid=True, unsure=True)
    assert seen.paused_until <= NOON + 400 * 7 + FIRST_PAUSE
