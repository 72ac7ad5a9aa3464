"""Sends a finished job to its owner as an ephemeral follow-up message, when the job's own reply cannot be reached."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import discord

from bot.core.cards import Card
from bot.core.errors import UserError
from bot.jobs.delivery import Upload, room_for_files
from bot.ui.cards.job import render
from bot.ui.cards.job_menu import original_files
from bot.ui.interactions.responder import NOBODY, Interaction, Responder
from bot.ui.transport.messenger import files_of

log = logging.getLogger(__name__)

TIMEOUT = 60.0  # seconds, uploads included

Uploads = Callable[..., Awaitable[tuple[Card, Sequence[Upload]]]]  # `Delivery.uploads(card, *, max_bytes)`


class PrivateDelivery:
    def __init__(self, responder: Responder, uploads: Uploads, *, originals: Uploads) -> None:
        """*uploads* loads a card's pictures and fits them into a message of a given size in bytes.

        *originals* leaves those out that do not fit unchanged.
        """
        self._responder = responder
        self._uploads = uploads
        self._originals = originals

    async def send(self, interaction: Interaction, card: Card) -> None:
        """Send *card* after the interaction's first answer, even if the job is hidden; errors are only logged.

        The job counts as delivered if all its pictures were sent.
        """
        responder = self._responder
        version = await responder.services.jobs.wanted_version(card.job.id)
        card = (await responder.services.jobs.card(card.job.id)).revealed()
        max_bytes = room_for_files(interaction.filesize_limit)
        fitted, uploads = await self._uploads(card, max_bytes=max_bytes)
        names = [each.name for each in uploads]
        view = render(fitted, responder.words(interaction), files=names, now=responder.clock())
        try:
            async with asyncio.timeout(TIMEOUT):
                await interaction.followup.send(
                    view=view, files=files_of(uploads), ephemeral=True, allowed_mentions=NOBODY
                )
        except (discord.DiscordException, aiohttp.ClientError, OSError) as exc:
            extra = {"event": "hand_over_failed", "job_id": card.job.id}
            log.warning("A result could not be delivered privately: %s", exc, extra=extra)
            return
        if not fitted.withheld:
            await responder.services.jobs.delivered_privately(card.job.id, version=version)

    async def send_originals(self, interaction: Interaction, card: Card) -> None:
        """Answer with the pictures of *card* as files, exactly as they were made, or with links to them."""
        async with self._responder.answering(interaction):
            await interaction.response.defer(ephemeral=True, thinking=True)
        max_bytes = room_for_files(interaction.filesize_limit)
        fitted, uploads = await self._originals(card, max_bytes=max_bytes)
        view = original_files(fitted, self._responder.words(interaction), files=[each.name for each in uploads])
        try:
            async with asyncio.timeout(TIMEOUT):
                await interaction.edit_original_response(
                    view=view, attachments=files_of(uploads), allowed_mentions=NOBODY
                )
        except (discord.DiscordException, aiohttp.ClientError, OSError) as exc:
            extra = {"event": "originals_failed", "job_id": card.job.id}
            log.warning("Original files could not be sent: %s", exc, extra=extra)
            await self._responder.reply_refusal(interaction, UserError("discord.down"))
