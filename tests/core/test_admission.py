"""Admission: requests are begun in order of arrival, and one that would be answered too late is refused."""

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from bot.core.admission import ACTIVE_PERIOD, DEFAULT_RATE, MAX_AGE, Admission, Ticket
from bot.core.jobs import SECOND

SLOWEST = 100  # requests a second; at fewer, even the first ones together are late
FIRST = int(DEFAULT_RATE * ACTIVE_PERIOD / SECOND)  # so many begin at once
SETTLED = FIRST * SECOND // SLOWEST  # milliseconds in which those that have begun are finished at any such rate
bursts = st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 600)), min_size=1, max_size=6)  # when, how many
rates = st.integers(SLOWEST, 2000)
cases = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@dataclass
class Answered:
    """Times (milliseconds) of requests by their number in order of arrival."""

    arrived: list[int] = field(default_factory=list)
    begun: dict[int, int] = field(default_factory=dict)
    finished: dict[int, int] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)


class Simulation:
    """A bot that finishes requests at a rate, the oldest first."""

    def __init__(self) -> None:
        self.now = 0
        self.seen = Answered()
        self.admission = Admission(lambda: self.now)
        self._tickets: dict[int, Ticket] = {}
        self._active: deque[int] = deque()

    def enter(self) -> None:
        number = len(self.seen.arrived)
        self.seen.arrived.append(self.now)

        def decide(begin: bool) -> None:  # noqa: FBT001 - as the admission calls it
            (self.seen.begun if begin else self.seen.refused)[number] = self.now
            if begin:
                self._active.append(number)

        self._tickets[number] = self.admission.enter(self.now, decide)

    def finish_oldest(self) -> None:
        number = self._active.popleft()
        self.seen.finished[number] = self.now
        self.admission.leave(self._tickets[number])

    def run(self, arrivals: list[tuple[int, int]], *, before: int, after: int, changes_at: int) -> Answered:
        """*before* and *after*: requests that are finished in a second, until and from *changes_at*."""
        work = 0.0  # done and not yet spent on a request
        remaining = deque(sorted(arrivals))
        while remaining or self._active:
            while remaining and remaining[0][0] <= self.now:
                for _ in range(remaining.popleft()[1]):
                    self.enter()
            work += (before if self.now < changes_at else after) / SECOND
            while work >= 1 and self._active:
                self.finish_oldest()
                work -= 1
            work = min(work, 1.0)
            self.now += 1
        return self.seen


@cases
@given(bursts, rates, rates, st.integers(0, 3000))
@example([(0, 600)], 450, SLOWEST, 300)
@example([(0, 600)], SLOWEST, SLOWEST, 0)
def test_each_request_is_answered_in_time_in_order_of_arrival(
    arrivals: list[tuple[int, int]], before: int, after: int, changes_at: int
) -> None:
    seen = Simulation().run(arrivals, before=before, after=after, changes_at=changes_at)
    assert seen.begun.keys() | seen.refused.keys() == set(range(len(seen.arrived)))
    assert not seen.begun.keys() & seen.refused.keys()
    assert all(one < two for one, two in pairwise(seen.begun))
    for number, arrived in enumerate(seen.arrived):
        if number in seen.begun:
            assert seen.begun[number] - arrived < MAX_AGE
            assert seen.finished[number] - arrived <= MAX_AGE + SETTLED
        else:
            assert seen.refused[number] - arrived <= MAX_AGE + SETTLED


@pytest.mark.parametrize("rate", [SLOWEST, 100, 300, 450, 2000])
def test_few_are_refused_that_could_have_been_answered(rate: int) -> None:
    arrivals = [(at, 1) for at in range(SECOND)]  # a thousand in one second
    seen = Simulation().run(arrivals, before=rate, after=rate, changes_at=0)
    answerable = min(SECOND, rate + 2 * rate)  # those that arrive in a second, and wait for two
    assert len(seen.begun) >= 0.6 * answerable - FIRST


def test_the_last_ones_that_would_be_late_are_refused_at_once() -> None:
    seen = Simulation().run([(0, 1000)], before=300, after=300, changes_at=0)
    assert set(seen.refused) == set(range(len(seen.begun), 1000))
    assert set(seen.refused.values()) == {0}


def test_where_the_bot_is_slower_than_assumed_the_last_ones_are_refused_before_they_would_be_late() -> None:
    seen = Simulation().run([(0, 600)], before=50, after=50, changes_at=0)
    assert median(seen.refused.values()) < SECOND
    assert list(seen.begun) == list(range(len(seen.begun)))


def test_a_slow_burst_is_forgotten_once_the_bot_is_idle() -> None:
    simulation = Simulation()
    seen = simulation.run([(0, 600)], before=SLOWEST, after=SLOWEST, changes_at=0)
    simulation.now += 5 * SECOND
    simulation.run([(simulation.now, 300)], before=400, after=400, changes_at=0)
    assert set(range(600, 900)) <= seen.finished.keys()


def test_a_caller_that_gives_up_frees_its_turn() -> None:
    decided: list[tuple[str, bool]] = []
    admission = Admission(lambda: 0)
    active = [admission.enter(0, lambda begin: decided.append(("active", begin))) for _ in range(FIRST)]
    first = admission.enter(0, lambda begin: decided.append(("first", begin)))
    admission.enter(0, lambda begin: decided.append(("second", begin)))
    admission.leave(first)
    admission.leave(active[0])
    assert decided[FIRST:] == [("second", True)]
