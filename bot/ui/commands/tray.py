"""The tray of pictures to edit: `/tray`, *Add to tray* in the menu of a message, and the buttons of its page."""

from collections.abc import Sequence

import discord

from bot.core.errors import UserError
from bot.core.jobs import Reference, Verb
from bot.core.request_draft import RequestDraft
from bot.ui.cards.tray import tray_page
from bot.ui.commands import request_forms
from bot.ui.interactions.parsing import chosen_in
from bot.ui.interactions.responder import Interaction, Responder


class TrayCommands:
    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._services = responder.services

    @property
    def _limit(self) -> int:
        return request_forms.max_references(self._services.catalog)

    async def show(self, interaction: Interaction) -> None:
        """Handle `/tray`."""
        tray = await self._services.trays.read(interaction.user.id, now=self._responder.clock())
        page = tray_page(tray, self._responder.words(interaction), limit=self._limit)
        await self._responder.reply_privately(interaction, page)

    async def add(self, interaction: Interaction, message: discord.Message) -> None:
        """Put the pictures of *message* into the tray."""
        await self._responder.check_place(interaction)
        pictures = await self._responder.pictures_of(message)
        if not pictures:
            raise UserError("references.none_in_message")
        await self._add(interaction, pictures)

    async def _add(self, interaction: Interaction, pictures: Sequence[Reference]) -> None:
        user_id, now = interaction.user.id, self._responder.clock()
        before = len(await self._services.trays.read(user_id, now=now))
        if before >= self._limit:
            raise UserError("tray.full", limit=self._limit)
        tray = await self._services.trays.add(user_id, pictures, limit=self._limit, now=now)
        page = tray_page(tray, self._responder.words(interaction), added=len(tray) - before, limit=self._limit)
        await self._responder.reply_privately(interaction, page)

    async def press(self, interaction: Interaction, action: str) -> None:
        """Handle a button or a select of the page; it is the member's own, whoever's page it was."""
        user_id, now = interaction.user.id, self._responder.clock()
        trays, chosen = self._services.trays, _values(interaction)
        if action == "edit":
            await self._edit(interaction)
            return
        if action == "clear":
            await trays.remove(user_id)
        elif action == "remove":
            await trays.remove(user_id, chosen)
        elif action == "first" and chosen:
            await trays.move_first(user_id, chosen[0])
        else:
            raise UserError("button.too_old")
        page = tray_page(await trays.read(user_id, now=now), self._responder.words(interaction), limit=self._limit)
        await self._responder.replace(interaction, page)

    async def _edit(self, interaction: Interaction) -> None:
        await self._responder.check_form(interaction, private=False)
        draft = RequestDraft(verb=Verb.EDIT, prompt="", references=await pictures_in_tray(self._responder, interaction))
        await request_forms.open_draft(self._responder, interaction, draft, title="edit")


async def pictures_in_tray(responder: Responder, interaction: Interaction) -> tuple[Reference, ...]:
    """The pictures in the member's tray, in their order; `UserError` if it is empty."""
    tray = await responder.services.trays.read(interaction.user.id, now=responder.clock())
    if not tray:
        raise UserError("tray.empty")
    return tuple(each for _, each in tray)


def _values(interaction: Interaction) -> list[int]:
    """The numbers chosen in a select; they may be negative."""
    return [int(each) for each in chosen_in(interaction) if each.removeprefix("-").isdecimal()]
