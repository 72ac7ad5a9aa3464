"""Shows a finished job to its owner when its own reply cannot be reached: as a private message of an interaction."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import discord

from bot.core.cards import Card
from bot.jobs.delivery import FILE_SLACK, REQUEST_LIMIT, Upload
from bot.ui.cards.job import render
from bot.ui.interactions.responder import NOBODY, Front, Interaction
from bot.ui.transport.messenger import files_of

log = logging.getLogger(__name__)

PATIENCE = 60.0  # seconds, uploads included

Uploads = Callable[..., Awaitable[tuple[Card, Sequence[Upload]]]]  # (card, *, most), Delivery's


class HandOver:
    def __init__(self, front: Front, uploads: Uploads) -> None:
        """*uploads* fits a card's pictures into a message."""
        self._front = front
        self._uploads = uploads

    async def give(self, interaction: Interaction, card: Card) -> None:
        """Send *card* after an interaction's first answer, hidden or not; what Discord does not take is left."""
        front = self._front
        version = await front.service.version_wanted(card.job.id)
        card = (await front.service.card(card.job.id)).revealed()
        most = min(interaction.filesize_limit - FILE_SLACK, REQUEST_LIMIT)
        fitted, uploads = await self._uploads(card, most=most)
        names = [each.name for each in uploads]
        view = render(fitted, front.words(interaction), files=names, now=front.clock())
        try:
            async with asyncio.timeout(PATIENCE):
                await interaction.followup.send(
                    view=view, files=files_of(uploads), ephemeral=True, allowed_mentions=NOBODY
                )
        except (discord.DiscordException, aiohttp.ClientError, OSError) as exc:
            extra = {"event": "hand_over_failed", "job_id": card.job.id}
            log.warning("A result could not be handed over: %s", exc, extra=extra)
            return
        if not fitted.withheld:
            await front.service.handed_over(card.job.id, version=version)
