"""Caches a computed answer for a second, shared by all concurrent requests."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from bot.core.clock import Clock
from bot.core.jobs import SECOND

T = TypeVar("T")
CACHED_DELAY = 0.05  # seconds before a cached answer is returned: slows down only clients that request continuously


class Cached(Generic[T]):
    def __init__(self, work: Callable[[], Awaitable[T]], *, clock: Clock, lifetime: int = SECOND) -> None:
        """*lifetime*: milliseconds for which a result of *work* is reused after it was computed."""
        self._work = work
        self._clock = clock
        self._lifetime = lifetime
        self._lock = asyncio.Lock()
        self._cached: tuple[int, T] | None = None

    async def __call__(self) -> T:
        async with self._lock:
            if self._cached is None or self._clock() - self._cached[0] >= self._lifetime:
                value = await self._work()
                self._cached = self._clock(), value
                return value
            value = self._cached[1]
        await asyncio.sleep(CACHED_DELAY)
        return value
