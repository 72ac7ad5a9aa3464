"""Messages that moderation needs outside of answers: in a server's log channel, and to a member directly."""

import asyncio
import logging
from collections.abc import Awaitable

import discord
from discord import ui

from bot.ui.transport.errors import DISCORD_ERRORS
from bot.ui.transport.rate_limits import RateLimits

log = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds
POST_TIMEOUT = 1.2  # seconds for a message that a member's answer waits for
NOBODY = discord.AllowedMentions.none()


class ModerationLog:
    """Every method is tried once; a failure is only logged."""

    def __init__(self, client: discord.Client, limits: RateLimits) -> None:
        self._client = client
        self._limits = limits

    async def post(self, channel_id: int, view: ui.LayoutView, *, seconds: float = TIMEOUT) -> bool:
        """Post *view*; False if the bot could not."""
        channel = self._client.get_partial_messageable(channel_id)
        return await self._try(channel.send(view=view, allowed_mentions=NOBODY), seconds=seconds)

    async def tell(self, user_id: int, view: ui.LayoutView) -> bool:
        """Send a direct message; False if the member accepts none from the bot."""

        async def send() -> None:
            direct = await self._client.create_dm(discord.Object(user_id))
            await self._limits.wait_for_token(final=False)
            await direct.send(view=view, allowed_mentions=NOBODY)

        return await self._try(send())

    async def delete(self, channel_id: int, message_id: int) -> bool:
        channel = self._client.get_partial_messageable(channel_id)
        return await self._try(channel.get_partial_message(message_id).delete())

    async def _try(self, request: Awaitable[object], *, seconds: float = TIMEOUT) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._limits.wait_for_token(final=False)
                await request
        except DISCORD_ERRORS as exc:  # `TimeoutError` is an `OSError`
            log.warning("A message of the moderation failed: %s", exc, extra={"event": "moderation_unsent"})
            return False
        return True
