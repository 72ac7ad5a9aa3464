"""Compares the queue in memory with the rows every minute, and repairs what differs."""

import asyncio

from bot.jobs.build import Services
from bot.maintenance.periodic import periodic

EVERY = 60.0  # seconds


class QueueAudit:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def run(self, stop: asyncio.Event) -> None:
        await periodic(
            self.run_once,
            every=EVERY,
            stop=stop,
            log_message="The queue could not be audited",
            outages=self._services.outages,
        )

    async def run_once(self) -> None:
        if await self._services.queues.repair():
            self._services.availability.wake_waiting()  # it may be another job's turn
