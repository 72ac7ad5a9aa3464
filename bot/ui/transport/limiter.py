"""Lets requests to Discord wait for the slots of a limit, the urgent ones first."""

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Awaitable, Callable

from bot.core.budgets import HeldSlots, Pace, Slot
from bot.store.budgets import Budget
from bot.store.database import DATABASE_ERRORS

log = logging.getLogger(__name__)

RETRY_DELAY = 1.0  # seconds after an error of the database


class Limiter:
    """Slots are taken in chunks while requests wait, so that a request seldom waits for the database."""

    def __init__(
        self,
        budget: Budget,
        pace: Pace,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """*now*, in seconds, is the clock of *budget*."""
        self._budget = budget
        self._held = HeldSlots(pace)
        self._now = now
        self._sleep = sleep
        self._waiting: list[tuple[bool, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._serving: asyncio.Task[None] | None = None

    async def acquire(self, *, urgent: bool = False) -> None:
        """Wait until a request may be sent."""
        await self.count(urgent=urgent)

    def count(self, *, urgent: bool = True) -> asyncio.Future[None]:
        """Count a request, also one that does not wait for the returned future."""
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (not urgent, next(self._numbers), future))
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve(), name="limiter")
        return future

    async def _serve(self) -> None:
        """Give the slots to those who wait, until nobody does."""
        while self._waiting:
            slot = await self._next_slot()
            if (seconds := slot.begins - self._now()) > 0:
                await self._sleep(seconds)
            if self._now() <= slot.ends and self._admit():
                self._held.use()

    async def _next_slot(self) -> Slot:
        while (slot := self._held.next(self._now())) is None:
            try:
                self._held.add(await self._budget.take(self._held.wanted(len(self._waiting))))
            except DATABASE_ERRORS:
                log.exception("A rate limit cannot be read", extra={"event": "budget_unreadable"})
                await self._sleep(RETRY_DELAY)
        return slot

    def _admit(self) -> bool:
        """Whether somebody was waiting, who may send a request now."""
        while self._waiting:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():  # its caller was cancelled
                future.set_result(None)
                return True
        return False
