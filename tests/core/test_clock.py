"""The clock: it never jumps, and follows another one slowly."""

from bot.core.clock import SLEW, SteadyClock
from bot.core.jobs import HOUR, MINUTE, SECOND
from tests.kit import NOON


class Passed:
    seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def test_it_advances_with_the_time_that_has_passed_only() -> None:
    passed = Passed()
    clock = SteadyClock(NOON, elapsed=passed)
    assert clock() == NOON
    passed.seconds += 3_600
    assert clock() == NOON + HOUR


def test_another_clock_that_jumps_is_followed_slowly_and_never_back() -> None:
    for jump in (HOUR, -HOUR):
        passed = Passed()
        clock = SteadyClock(NOON, elapsed=passed)
        theirs = NOON + jump
        before = clock()
        for _ in range(600):
            passed.seconds += 1
            theirs += SECOND
            clock.correct(theirs)
            assert (1 - SLEW) * SECOND - 1 <= clock() - before <= (1 + SLEW) * SECOND + 1
            before = clock()
        assert abs(clock() - (NOON + 600 * SECOND)) - 600 * SECOND * SLEW <= 1


def test_a_small_difference_is_gone_after_some_time_and_stays_so() -> None:
    passed = Passed()
    clock = SteadyClock(NOON, elapsed=passed)
    clock.correct(NOON + 300)
    passed.seconds += 60
    assert clock() == NOON + MINUTE + 300
    clock.correct(NOON + MINUTE + 300)
    passed.seconds += 60
    assert clock() == NOON + 2 * MINUTE + 300
