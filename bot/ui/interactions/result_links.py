"""Finds valid links to the pictures of earlier results: Discord renews them each time a message is read."""

import asyncio
from collections.abc import Mapping, Sequence

import discord

from bot.core.jobs import Reference
from bot.store.queries import JobRecord
from bot.ui.cards.components import MAX_PICTURES
from bot.ui.interactions.parsing import picture_by_number
from bot.ui.transport.errors import DISCORD_ERRORS
from bot.ui.transport.rate_limits import RateLimits

TIMEOUT = 5.0  # seconds for all messages of one page


class ResultLinks:
    def __init__(self, client: discord.Client, limits: RateLimits) -> None:
        self._client = client
        self._limits = limits

    async def of(self, records: Sequence[JobRecord], *, seconds: float = TIMEOUT) -> Mapping[str, Sequence[Reference]]:
        """The pictures of each job that are shown in its public reply; none where that cannot be read in time."""
        found: dict[str, Sequence[Reference]] = {}

        async def read(record: JobRecord) -> None:
            found[record.job.id] = await self._read(record)

        tasks = [asyncio.create_task(read(each)) for each in records if _readable(each)]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return found

    async def _read(self, record: JobRecord) -> Sequence[Reference]:
        reply = record.reply
        assert reply.message_id is not None
        try:
            await self._limits.wait_for_token(final=False)
            channel = self._client.get_partial_messageable(reply.channel_id, guild_id=reply.guild_id)
            message = await channel.fetch_message(reply.message_id)
        except DISCORD_ERRORS:
            return ()
        numbers = range(1, MAX_PICTURES + 1)
        pictures = [picture_by_number(message, record.job.id, n) for n in numbers]
        return [each for each in pictures if each is not None]


def _readable(record: JobRecord) -> bool:
    reply = record.reply
    return reply.message_id is not None and reply.bot_can_edit and reply.is_public
