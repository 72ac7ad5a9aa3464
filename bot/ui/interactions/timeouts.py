"""Timeouts of interactions: Discord waits three seconds for the first answer."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import discord

from bot.core.errors import UserError
from bot.core.jobs import MINUTE, SECOND
from bot.store.database import DATABASE_ERRORS
from bot.store.system_outages import outage_of

log = logging.getLogger(__name__)

# Seconds.
ACK_TIMEOUT = 2.5  # from an interaction to its first answer
DECISION_TIMEOUT = 2.2  # from an interaction to the start of its first answer
QUERY_TIMEOUT = 0.7  # for one query of at most three before the first answer
REFERENCE_TIMEOUT = 1.2  # for the first bytes of all reference pictures
OPTIONAL_TIMEOUT = 0.5  # for additions that the answer can do without
MIN_TIMEOUT = 0.3  # for an answer that is sent late

# Milliseconds.
LAST = 5  # interactions whose ages are compared, however long ago they were
MAX_AGE = int(2.5 * SECOND)  # of an interaction that is still answered
MAX_BEHIND = 30 * SECOND  # our clock, judged by an interaction from the future
MAX_AHEAD = 10 * MINUTE  # our clock; events missed by a connection may arrive some minutes late


class AckDeadline:
    """Decides which interactions arrived too late to be answered.

    An interaction's age is measured with two clocks, Discord's and ours. The smallest age of the last minute and
    of the last five interactions is taken as the difference of the clocks, so that a wrong clock does not make every
    interaction look late. An interaction wrongly taken as in time does no harm: Discord rejects the answer and the job
    is withdrawn.
    """

    def __init__(self) -> None:
        self._ages: deque[int] = deque(maxlen=LAST)
        self._smallest: deque[tuple[int, int]] = deque()  # (age, when) of those that no later one is smaller than

    @property
    def clock_is_off(self) -> bool:
        """Whether our clock is too far from Discord's; a single late interaction does not count."""
        smallest = min(self._ages, default=0)
        return smallest < -MAX_BEHIND or (smallest > MAX_AHEAD and len(self._ages) == self._ages.maxlen)

    def has_passed(self, interaction_id: int, *, now: int) -> bool:
        """Whether an interaction is too old to be answered at *now* (UTC milliseconds); records its age."""
        return self.delay(interaction_id, now=now) > MAX_AGE

    def delay(self, interaction_id: int, *, now: int) -> int:
        """Milliseconds since a member's action, beyond the quickest of the last ones; records the age."""
        age = now - int(discord.utils.snowflake_time(interaction_id).timestamp() * 1000)
        while self._smallest and self._smallest[0][1] < now - MINUTE:
            self._smallest.popleft()
        quickest = [*self._ages, self._smallest[0][0]] if self._smallest else self._ages
        difference = min(quickest, default=0)
        self._ages.append(age)
        while self._smallest and self._smallest[-1][0] >= age:
            self._smallest.pop()
        self._smallest.append((age, now))
        return max(0, age - difference)


@asynccontextmanager
async def database_timeout(error_key: str, *, seconds: float | None = None) -> AsyncIterator[None]:
    """Raise `UserError` *error_key* if the block exceeds *seconds* (`QUERY_TIMEOUT`) or the database fails."""
    try:
        async with asyncio.timeout(QUERY_TIMEOUT if seconds is None else seconds):
            yield
    except DATABASE_ERRORS as exc:
        is_known = isinstance(exc, TimeoutError) or outage_of(exc) is not None
        extra = {"event": "admin_waits"}
        log.warning(
            "The database did not answer an admin's command in time", exc_info=None if is_known else exc, extra=extra
        )
        raise UserError(error_key) from exc
