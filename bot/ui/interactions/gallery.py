"""Posts a copy of a result in the server's gallery channel once enough members have it among their favorites."""

import asyncio
import logging

import discord

from bot.jobs.delivery import REQUEST_LIMIT, room_for_files
from bot.store.queries import JobRecord
from bot.ui.cards.history import gallery_copy
from bot.ui.cards.texts import discord_url
from bot.ui.interactions.private_delivery import Uploads
from bot.ui.interactions.responder import NOBODY, Responder
from bot.ui.transport.errors import DISCORD_ERRORS
from bot.ui.transport.messenger import files_of
from bot.ui.transport.rate_limits import RateLimits

log = logging.getLogger(__name__)

TIMEOUT = 60.0  # seconds, uploads included


class Gallery:
    def __init__(self, client: discord.Client, responder: Responder, limits: RateLimits, uploads: Uploads) -> None:
        """*uploads* loads a card's pictures and fits them into a message of a given size in bytes."""
        self._client = client
        self._responder = responder
        self._services = responder.services
        self._limits = limits
        self._uploads = uploads

    async def consider(self, record: JobRecord) -> None:
        """Post a copy of a public result if it has enough favorites and no copy yet; errors are only logged."""
        job, reply = record.job, record.reply
        if not (reply.is_public and job.place.server and record.pictures) or job.hidden_at is not None:
            return
        settings = await self._services.store.server_settings(job.place.server)
        if settings.gallery is None or settings.gallery == job.place.channel_id:
            return
        stars = await self._services.favorites.count(job.id)
        if stars < settings.gallery_stars:
            return
        copies, now = self._services.gallery, self._responder.clock()
        if not await copies.claim(job.id, guild=job.place.server, channel=settings.gallery, now=now):
            return
        try:
            async with asyncio.timeout(TIMEOUT):
                message_id = await self._post(record, channel=settings.gallery, stars=stars, language=settings.language)
        except DISCORD_ERRORS as exc:
            log.warning("A copy for the gallery could not be posted: %s", exc, extra={"event": "gallery_failed"})
            await copies.forget(job.id)
        else:
            await copies.posted(job.id, message=message_id)

    async def _post(self, record: JobRecord, *, channel: int, stars: int, language: str | None) -> int:
        card, reply = await self._services.jobs.card_of(record), record.reply
        guild = self._client.get_guild(record.job.place.server)
        max_bytes = room_for_files(guild.filesize_limit if guild is not None else REQUEST_LIMIT)
        _, uploads = await self._uploads(card, max_bytes=max_bytes)
        words = self._responder.texts.for_locale(language or card.locale)
        view = gallery_copy(
            card, words, url=discord_url(reply.address), stars=stars, files=[each.name for each in uploads]
        )
        await self._limits.wait_for_token(final=False)
        target = self._client.get_partial_messageable(channel, guild_id=record.job.place.guild_id)
        nonce = record.job.id[-25:]
        posted = await target.send(view=view, files=files_of(uploads), nonce=nonce, allowed_mentions=NOBODY)
        return posted.id
