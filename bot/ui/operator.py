"""Tells the operator what only they can put right, in the channel they chose, and in the log where there is none."""

import asyncio
import logging
from collections.abc import Mapping

import aiohttp
import discord

from bot.ui.parts import sentence
from bot.ui.render_notes import notice
from bot.ui.texts import ENGLISH, Texts, Words

log = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds


class OperatorChannel:
    def __init__(self, client: discord.Client, texts: Texts, *, channel_id: int) -> None:
        """*channel_id* is 0 where the operator named none."""
        self._client = client
        self._texts = texts
        self._channel_id = channel_id

    async def tell(self, key: str, values: Mapping[str, object]) -> None:
        """Post the sentence for *key*; the log has it whatever happens, and nothing is raised."""
        english = self._texts.for_locale(ENGLISH)
        log.warning("%s", sentence(english, key, values), extra={"event": "operator", "key": key})
        if not self._channel_id or self._client.is_closed() or self._client.user is None:
            return
        channel = self._client.get_partial_messageable(self._channel_id)
        try:
            async with asyncio.timeout(PATIENCE):
                await channel.send(
                    view=notice(key, self._words(), **values), allowed_mentions=discord.AllowedMentions.none()
                )
        except (discord.DiscordException, aiohttp.ClientError, OSError, RuntimeError) as exc:
            log.warning("The operator's channel cannot be reached: %s", exc, extra={"event": "operator_unreached"})

    def _words(self) -> Words:
        """In the language of the server that the channel is in, where that is known."""
        guild = getattr(self._client.get_channel(self._channel_id), "guild", None)
        return self._texts.for_locale(str(guild.preferred_locale) if guild else ENGLISH)
