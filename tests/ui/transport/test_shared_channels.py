"""A channel in which several processes post at the same time, against a limit of five requests in five seconds."""

import asyncio
import itertools

import pytest

from bot.core.budgets import Pace
from bot.store.budgets import Budget, Budgets
from bot.ui.transport.rate_limits import CONTENDED, RateLimits
from tests.ui.transport.test_limiter import Budget as RemoteBudget
from tests.ui.transport.test_limiter import Server
from tests.ui.transport.test_rate_limits import Clock

ROUTE = "POST channels 6 messages"
LIMIT, WINDOW = 5, 5.0
WAY = 0.05  # seconds to Discord, and back


class Channel:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.ends_at = 0.0
        self.used = 0
        self.taken: list[float] = []
        self.refused: list[float] = []
        self.servers: dict[str, Server] = {}

    async def post(self, limits: RateLimits) -> bool:
        with limits.sending(ROUTE):
            await self.clock.sleep(WAY)
            if self.clock.now >= self.ends_at:
                self.ends_at, self.used = self.clock.now + WINDOW, 0
            self.used += 1
            (self.taken if self.used <= LIMIT else self.refused).append(self.clock.now)
            left, ends_in, ok = max(0, LIMIT - self.used), self.ends_at - self.clock.now, self.used <= LIMIT
            await self.clock.sleep(WAY)
            headers = {"X-RateLimit-Remaining": str(left), "X-RateLimit-Reset-After": str(ends_in)}
            limits.note(ROUTE, headers, refused=not ok)
        return ok


class Shared(Budgets):
    """The budgets of one process on a server."""

    shared = True

    def __init__(self, clock: Clock, servers: dict[str, Server]) -> None:
        super().__init__(now=clock)
        self._time, self._servers = clock, servers

    def budget(self, name: str, pace: Pace) -> Budget:
        server = self._servers.setdefault(name, Server(self._time, pace))
        return RemoteBudget(server, self._time, itertools.cycle((0.002,)))


async def run(processes: int, *, cards: int) -> Channel:
    clock = Clock()
    channel = Channel(clock)

    async def deliver(limits: RateLimits) -> None:
        while (delay := limits.delay(ROUTE, final=True)) > 0 or not await channel.post(limits):
            await clock.sleep(delay)

    async with asyncio.TaskGroup() as group:
        for _ in range(processes):
            limits = RateLimits(Shared(clock, channel.servers), now=clock, sleep=clock.sleep)
            for _ in range(cards):
                group.create_task(deliver(limits))
        await asyncio.sleep(0)
        group.create_task(clock.run())
    return channel


@pytest.mark.parametrize("processes", [2, 4, 8])
async def test_only_the_first_window_of_a_busy_channel_has_refused_requests(processes: int) -> None:
    channel = await run(processes, cards=64 // processes)

    first_window = channel.taken[0] + WINDOW
    assert len(channel.taken) == 64
    assert len([each for each in channel.refused if each < first_window]) < 2 * processes + 2
    assert [each for each in channel.refused if first_window <= each < channel.taken[0] + CONTENDED] == []
    assert channel.taken[-1] - channel.taken[0] < 1.4 * 64 * WINDOW / LIMIT


async def test_a_channel_that_one_process_uses_costs_no_statement() -> None:
    channel = await run(1, cards=30)
    assert channel.refused == []
    assert [each.asked for each in channel.servers.values()] == [0, 0]  # those of the token
