"""Does a piece of work again and again until the bot stops: a round that fails is logged and costs only itself."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from bot.outages import Outages
from bot.store.database import TROUBLE

log = logging.getLogger(__name__)


async def rounds(
    work: Callable[[], Awaitable[None]], *, every: float, stop: asyncio.Event, said: str, outages: Outages
) -> None:
    """Call *work*, then wait *every* seconds, until *stop*; *said* is for the log when disk or database fail it."""
    while not stop.is_set():
        try:
            await work()
        except TROUBLE as exc:  # a full disk, say: the next round tries again
            if outages.seen(exc) is None:
                log.warning("%s", said, exc_info=True, extra={"event": "store_trouble"})
        with suppress(TimeoutError):
            async with asyncio.timeout(every):
                await stop.wait()
