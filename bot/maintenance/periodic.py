"""Does a piece of work again and again until the bot stops: a round that fails is logged and costs only itself."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from bot.jobs.outages import Outages


async def rounds(
    work: Callable[[], Awaitable[None]], *, every: float, stop: asyncio.Event, said: str, outages: Outages
) -> None:
    """Call *work*, then wait *every* seconds, until *stop*; *said* is for the log when disk or database fail it."""
    while not stop.is_set():
        with outages.outlasting(said):  # a full disk, say: the next round tries again
            await work()
        with suppress(TimeoutError):
            async with asyncio.timeout(every):
                await stop.wait()
