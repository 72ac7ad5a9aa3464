"""Does a piece of work again and again until the bot stops: a round that fails is logged and costs only itself."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from bot.jobs.outages import Outages


async def periodic(
    work: Callable[[], Awaitable[None]], *, every: float, stop: asyncio.Event, log_message: str, outages: Outages
) -> None:
    """Call *work*, then wait *every* seconds, until *stop*; *log_message* is logged where disk or database fail it."""
    while not stop.is_set():
        with outages.outlasting(log_message):  # a full disk, say: the next round tries again
            await work()
        with suppress(TimeoutError):
            async with asyncio.timeout(every):
                await stop.wait()
