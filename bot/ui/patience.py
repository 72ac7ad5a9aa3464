"""Says so, instead of nothing, where the database does not answer while Discord still waits."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.core.errors import UserError
from bot.store.database import TROUBLE
from bot.store.outages import outage_of

log = logging.getLogger(__name__)

EACH = 0.7  # seconds for each of at most three looks into the database: Discord waits three


@asynccontextmanager
async def in_time(trouble: str, *, seconds: float | None = None) -> AsyncIterator[None]:
    """`UserError` *trouble* where what is inside takes longer than *seconds* (`EACH`), or the database fails."""
    try:
        async with asyncio.timeout(EACH if seconds is None else seconds):
            yield
    except TROUBLE as exc:
        named = isinstance(exc, TimeoutError) or outage_of(exc) is not None
        extra = {"event": "admin_waits"}
        log.warning("An admin's command waits for the database in vain", exc_info=None if named else exc, extra=extra)
        raise UserError(trouble) from exc
