"""Spaces the identifies at Discord's gateway over all processes."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from bot.core.budgets import Pace
from bot.store.budgets import Budgets
from bot.ui.transport.limiter import Limiter

# Seconds; Discord takes one identify in 5 s for each bucket (docs: topics/gateway, "Rate Limiting"). Half a second more
# allows for the slot and for the way to Discord.
PACE = Pace(5.5, late=0.25)


class IdentifyTurns:
    def __init__(
        self,
        budgets: Budgets,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """*now*, in seconds, is the clock of *budgets*."""
        self._budgets = budgets
        self._now = now
        self._sleep = sleep
        self._limiters: dict[int, Limiter] = {}

    async def identify_turn(self, shard_id: int, *, max_concurrency: int = 1) -> None:
        """Wait until the shard may identify; *max_concurrency* is that of Discord's `GET /gateway/bot`."""
        bucket = shard_id % max_concurrency
        if (limiter := self._limiters.get(bucket)) is None:
            budget = self._budgets.budget(f"discord:identify:{bucket}", PACE)
            limiter = self._limiters[bucket] = Limiter(budget, PACE, now=self._now, sleep=self._sleep)
        await limiter.acquire()
