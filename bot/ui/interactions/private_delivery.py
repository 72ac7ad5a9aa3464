"""Shows a finished job to its owner when its own reply cannot be reached: as a private message of an interaction."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import discord

from bot.core.cards import Card
from bot.jobs.delivery import FILE_SLACK, REQUEST_LIMIT, Upload
from bot.ui.cards.job import render
from bot.ui.interactions.responder import NOBODY, Interaction, Responder
from bot.ui.transport.messenger import files_of

log = logging.getLogger(__name__)

TIMEOUT = 60.0  # seconds, uploads included

Uploads = Callable[..., Awaitable[tuple[Card, Sequence[Upload]]]]  # (card, *, most), Delivery's


class PrivateDelivery:
    def __init__(self, responder: Responder, uploads: Uploads) -> None:
        """*uploads* fits a card's pictures into a message."""
        self._responder = responder
        self._uploads = uploads

    async def send(self, interaction: Interaction, card: Card) -> None:
        """Send *card* after an interaction's first answer, hidden or not; what Discord does not take is left."""
        responder = self._responder
        version = await responder.services.jobs.wanted_version(card.job.id)
        card = (await responder.services.jobs.card(card.job.id)).revealed()
        most = min(interaction.filesize_limit - FILE_SLACK, REQUEST_LIMIT)
        fitted, uploads = await self._uploads(card, most=most)
        names = [each.name for each in uploads]
        view = render(fitted, responder.words(interaction), files=names, now=responder.clock())
        try:
            async with asyncio.timeout(TIMEOUT):
                await interaction.followup.send(
                    view=view, files=files_of(uploads), ephemeral=True, allowed_mentions=NOBODY
                )
        except (discord.DiscordException, aiohttp.ClientError, OSError) as exc:
            extra = {"event": "hand_over_failed", "job_id": card.job.id}
            log.warning("A result could not be handed over: %s", exc, extra=extra)
            return
        if not fitted.withheld:
            await responder.services.jobs.delivered_privately(card.job.id, version=version)
