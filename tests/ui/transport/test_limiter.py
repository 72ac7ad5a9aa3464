"""Limits over several processes, each with its own clock and its own delay on the way to the database."""

import asyncio
import itertools
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.budgets import Pace, RemoteClock, Slot
from bot.ui.transport.limiter import Limiter
from bot.ui.transport.rate_limits import SLOT, TOKEN_REQUESTS
from tests.ui.transport.test_rate_limits import Clock

PACE = Pace(1 / TOKEN_REQUESTS, late=SLOT)
examples = settings(max_examples=60, deadline=None, derandomize=True, database=None)


class Server:
    """The database's side of a budget: `bot.store.budgets` does the same by one statement."""

    def __init__(self, clock: Clock, pace: Pace) -> None:
        self.clock, self.pace = clock, pace
        self.asked = 0
        self._next_at = 0.0

    def take(self, units: int) -> tuple[float, float]:
        first = max(self._next_at, self.clock())
        self._next_at = first + units * self.pace.gap
        self.asked += 1
        return first, self.clock()


@dataclass
class Budget:
    server: Server
    now: Callable[[], float]
    delays: "itertools.cycle[float]"
    failures: int = 0

    def __post_init__(self) -> None:
        self.remote = RemoteClock()

    async def take(self, units: int) -> Sequence[Slot]:
        asked = self.now()
        await self.server.clock.sleep(next(self.delays))
        if self.failures:
            self.failures -= 1
            raise sqlite3.OperationalError
        first, reading = self.server.take(units)
        await self.server.clock.sleep(next(self.delays))
        self.remote.read(reading, asked=asked, answered=self.now())
        return self.remote.slots(first, units, pace=self.server.pace)


class Processes:
    """Several processes, which send requests at given times."""

    def __init__(self, count: int, *, delays: Sequence[float] = (0.001,), stalls: Sequence[float] = (0.0,)) -> None:
        """*delays*: of each way to the database, in turn; *stalls*: by which each sleep of a process is longer."""
        self.clock = Clock()
        self.server = Server(self.clock, PACE)
        self.sent: list[float] = []
        self.latencies: list[float] = []
        self._stalls = itertools.cycle(stalls)
        self.budgets = [Budget(self.server, self._clock_of(n), itertools.cycle(delays)) for n in range(count)]
        self.limiters = [Limiter(each, PACE, now=each.now, sleep=self._sleep) for each in self.budgets]

    def _clock_of(self, number: int) -> Callable[[], float]:
        return lambda: self.clock.now * (1 + number * 0.0001) - 1_000 * number

    async def _sleep(self, seconds: float) -> None:
        await self.clock.sleep(seconds + next(self._stalls))

    async def send(self, at: float, process: int) -> None:
        await self.clock.sleep(at)
        began = self.clock.now
        await self.limiters[process].acquire()
        self.sent.append(self.clock.now)
        self.latencies.append(self.clock.now - began)

    async def run(self, requests: Sequence[tuple[float, int]]) -> None:
        async with asyncio.TaskGroup() as group:
            for at, process in requests:
                group.create_task(self.send(at, process))
            group.create_task(self.clock.run())


@examples
@given(
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 3)), max_size=200),
    st.lists(st.floats(0, SLOT / 4), min_size=1, max_size=7),
    st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.002, 0.05, 0.3]), min_size=1, max_size=7),
)
def test_no_second_has_more_requests_than_the_limit_over_all_processes(
    requests: list[tuple[float, int]], delays: list[float], stalls: list[float]
) -> None:
    processes = Processes(4, delays=delays, stalls=stalls)
    asyncio.run(processes.run(requests))

    times = sorted(processes.sent)
    assert len(times) == len(requests)
    assert PACE.most(1.0) == 49
    assert all(later - at > 1 for at, later in zip(times, times[PACE.most(1.0) :], strict=False))


async def test_processes_that_are_all_busy_use_the_whole_limit_with_few_statements() -> None:
    processes = Processes(4)
    await processes.run([(0.0, n % 4) for n in range(4 * TOKEN_REQUESTS)])

    assert max(processes.sent) - 100 < 4.2
    assert processes.server.asked < len(processes.sent) / 8


@pytest.mark.parametrize(("per_second", "statements"), [(1, 1.0), (20, 0.4), (40, 0.2)])
async def test_a_process_alone_is_not_slowed(per_second: int, statements: float) -> None:
    processes = Processes(1)
    await processes.run([(n / per_second, 0) for n in range(4 * per_second)])

    assert max(processes.latencies) <= 0.03
    assert processes.server.asked <= statements * len(processes.sent)


async def test_a_quiet_process_waits_no_longer_than_for_a_chunk_of_each_busy_one() -> None:
    processes = Processes(3)
    await processes.run([(n / 30, n % 2) for n in range(300)] + [(0.31 + n, 2) for n in range(8)])
    assert max(processes.latencies) < 0.8


async def test_a_slot_that_ended_while_its_process_slept_is_not_used() -> None:
    processes = Processes(1, stalls=(0.3,))
    await processes.run([(0.0, 0)] * 3)
    assert processes.server.asked > len(processes.sent)  # slots that were missed are taken anew


async def test_a_caller_that_gives_up_takes_no_turn_and_an_error_of_the_database_only_delays() -> None:
    processes = Processes(1)
    processes.budgets[0].failures = 1

    async def give_up() -> None:
        waiting = asyncio.ensure_future(processes.limiters[0].acquire())
        await processes.clock.sleep(0.5)
        waiting.cancel()

    async with asyncio.TaskGroup() as group:
        group.create_task(give_up())
        group.create_task(processes.send(0.1, 0))
        group.create_task(processes.clock.run())
    assert processes.latencies == [pytest.approx(0.902, abs=0.01)]
