"""One answer for everybody who asks within a second: it is worked out once, however many wait for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from bot.core.clock import Clock
from bot.core.jobs import SECOND

T = TypeVar("T")
PACE = 0.05  # seconds that an answer from the cache waits: whoever never stops asking is slowed down, and nobody else


class Cached(Generic[T]):
    def __init__(self, work: Callable[[], Awaitable[T]], *, clock: Clock, life: int = SECOND) -> None:
        """*life*: milliseconds from its end in which the result of *work* is handed out again."""
        self._work = work
        self._clock = clock
        self._life = life
        self._one_at_a_time = asyncio.Lock()
        self._held: tuple[int, T] | None = None

    async def __call__(self) -> T:
        async with self._one_at_a_time:
            if self._held is None or self._clock() - self._held[0] >= self._life:
                found = await self._work()
                self._held = self._clock(), found
                return found
            held = self._held[1]
        await asyncio.sleep(PACE)
        return held
