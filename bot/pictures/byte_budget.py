"""A number of bytes that may be in memory at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """First come, first served, so that large ones do not starve."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit
        self._lock = asyncio.Lock()
        self._released = asyncio.Event()

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Wait until *size* bytes are free (at most the whole budget), and hold them in the block. 0 need no wait."""
        size = min(size, self._limit)
        if size:
            await self._acquire(size)
        try:
            yield
        finally:
            self._free += size
            self._released.set()

    async def _acquire(self, size: int) -> None:
        async with self._lock:
            while self._free < size:
                self._released.clear()
                await self._released.wait()
            self._free -= size
