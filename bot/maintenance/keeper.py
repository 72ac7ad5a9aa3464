"""Runs the checks that one process at a time does: the one that holds the lock."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from bot.jobs import system_outages
from bot.jobs.system_outages import Outages
from bot.store.database import Database

LOCK = "keeper"
LOOK_EVERY = 1.0  # seconds between two looks whether the lock is free, or still ours


class Check(Protocol):
    """A loop that runs until *stop*."""

    async def run(self, stop: asyncio.Event) -> None: ...


class Keeper:
    def __init__(self, database: Database, checks: Sequence[Check], *, outages: Outages) -> None:
        self._database = database
        self._checks = checks
        self._outages = outages

    async def run(self, stop: asyncio.Event) -> None:
        """Run the checks whenever this process has the lock, until *stop*."""
        while not stop.is_set():
            if await self._is_ours():
                async with asyncio.TaskGroup() as group:
                    lost = asyncio.Event()
                    for each in self._checks:
                        group.create_task(each.run(lost))
                    while not stop.is_set() and await self._is_ours():
                        await _wait(stop)
                    lost.set()
            await _wait(stop)

    async def _is_ours(self) -> bool:
        with self._outages.outlasting(system_outages.UNREAD):
            return await self._database.try_lock(LOCK)
        return False


async def _wait(stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_EVERY):
            await stop.wait()
