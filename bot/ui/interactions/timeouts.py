"""Says so, instead of nothing, where the database does not answer while Discord still waits."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import discord

from bot.core.errors import UserError
from bot.core.jobs import MINUTE, SECOND
from bot.store.database import DATABASE_ERRORS
from bot.store.outages import outage_of

log = logging.getLogger(__name__)

QUERY_TIMEOUT = 0.7  # seconds for each of at most three looks into the database: Discord waits three


ACK_TIMEOUT = 2.5  # seconds from an interaction to its first answer; Discord gives three
MIN_TIMEOUT = 0.3  # what an answer gets even when little time is left
REFERENCE_TIMEOUT = 1.2
OPTIONAL_TIMEOUT = 0.5  # for what is good to have but not worth the answer


TOO_OLD = int(2.5 * SECOND)  # Discord gives three
BEHIND = 30 * SECOND  # our clock, by an interaction from the future
AHEAD = 10 * MINUTE  # our clock; what a connection missed may come some minutes late


DECISION_TIMEOUT = 2.2  # seconds until a first answer is begun, or what it waits for is broken off


class AckDeadline:
    """Tells which interactions reached us too late to be answered.

    Their age is the difference of two clocks, Discord's and ours. The smallest of the last few is taken for
    the clocks' difference, so that a clock that is off does not make every interaction look old. Taking one
    for young by mistake does no harm: Discord refuses the answer and the job is withdrawn.
    """

    def __init__(self) -> None:
        self._seen: deque[int] = deque(maxlen=5)

    @property
    def clock_is_off(self) -> bool:
        """Whether the clocks are so far apart that it matters; late interactions alone do not look like that."""
        least = min(self._seen, default=0)
        return least < -BEHIND or (least > AHEAD and len(self._seen) == self._seen.maxlen)

    def has_passed(self, interaction_id: int, *, now: int) -> bool:
        age = now - int(discord.utils.snowflake_time(interaction_id).timestamp() * 1000)
        difference = min(self._seen, default=0)
        self._seen.append(age)
        return age - difference > TOO_OLD


@asynccontextmanager
async def database_timeout(trouble: str, *, seconds: float | None = None) -> AsyncIterator[None]:
    """`UserError` *trouble* where the block takes longer than *seconds* (`QUERY_TIMEOUT`) or the database fails."""
    try:
        async with asyncio.timeout(QUERY_TIMEOUT if seconds is None else seconds):
            yield
    except DATABASE_ERRORS as exc:
        named = isinstance(exc, TimeoutError) or outage_of(exc) is not None
        extra = {"event": "admin_waits"}
        log.warning("An admin's command waits for the database in vain", exc_info=None if named else exc, extra=extra)
        raise UserError(trouble) from exc
