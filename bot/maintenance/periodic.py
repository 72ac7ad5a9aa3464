"""Runs a task at a fixed interval until the bot stops; a database or disk failure skips one run only."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from bot.jobs.system_outages import Outages


async def periodic(
    work: Callable[[], Awaitable[None]], *, every: float, stop: asyncio.Event, log_message: str, outages: Outages
) -> None:
    """Call *work*, wait *every* seconds, and repeat until *stop*. Logs *log_message* if disk or database fail."""
    while not stop.is_set():
        with outages.outlasting(log_message):  # a full disk, for example: the next run retries
            await work()
        with suppress(TimeoutError):
            async with asyncio.timeout(every):
                await stop.wait()
