"""`/preferences` and `/privacy`, and the controls of their pages."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import discord
from discord import ui

from bot.core.errors import UserError
from bot.core.jobs import Verb
from bot.core.preferences import Notify, Preferences
from bot.core.server_settings import resolutions
from bot.jobs.delivery import room_for_files
from bot.ui.cards.notices import notice
from bot.ui.cards.preferences import (
    NO_PREFERENCE,
    confirm_erasure,
    exported,
    preferences_page,
    privacy_page,
)
from bot.ui.interactions.parsing import chosen_in
from bot.ui.interactions.responder import NOBODY, Interaction, Responder

EXPORT_FILE = "darkroom-data.zip"


class MemberPages:
    def __init__(self, responder: Responder, *, provider_names: Sequence[str], keep_hours: int, keep_days: int) -> None:
        """*provider_names*: display names of the providers. Pictures are kept *keep_hours*, prompts *keep_days*."""
        self._responder = responder
        self._services = responder.services
        self._terms: dict[str, Any] = {
            "keep_hours": keep_hours,
            "keep_days": keep_days,
            "provider_names": provider_names,
        }

    # --- preferences

    async def preferences(self, interaction: Interaction) -> None:
        """Handle `/preferences`."""
        found = await self._services.preferences.get(interaction.user.id)
        await self._responder.reply_privately(interaction, self._page(interaction, found))

    def _page(self, interaction: Interaction, preferences: Preferences) -> ui.LayoutView:
        texts = self._responder.texts
        languages = [(each, texts.for_locale(each).say("language")) for each in texts.locales]
        words = self._responder.words(interaction)
        return preferences_page(preferences, words, choices=self._choices(), languages=languages)

    def _choices(self) -> Mapping[str, Sequence[tuple[str, str]]]:
        """What may be preferred: of every model that is offered."""
        catalog = self._services.offered
        endpoints = [endpoint for each in catalog.models.values() for verb in Verb if (endpoint := each.endpoint(verb))]
        ratios = [choice for each in endpoints if (spec := each.options.aspect_ratio) for choice in spec.choices]
        formats = [choice for each in endpoints if (spec := each.options.format) for choice in spec.choices]
        return {
            "model": [(key, each.name) for key, each in catalog.models.items()],
            "resolution": [(each, each) for each in resolutions(catalog)],
            "aspect_ratio": [(each, each) for each in dict.fromkeys(ratios)],
            "format": [(each, each) for each in dict.fromkeys(formats)],
        }

    # --- privacy

    async def privacy(self, interaction: Interaction) -> None:
        """Handle `/privacy`."""
        kept = await self._services.privacy.kept(interaction.user.id)
        page = privacy_page(kept, self._responder.words(interaction), **self._terms)
        await self._responder.reply_privately(interaction, page)

    # --- controls

    async def press(self, interaction: Interaction, subject: str, action: str) -> None:
        """Handle a control of either page; it is about the member who uses it."""
        if subject == "preferences":
            await self._choose(interaction, action)
        elif action == "export":
            await self._export(interaction)
        elif action == "erase":
            kept = await self._services.privacy.kept(interaction.user.id)
            await self._responder.replace(interaction, confirm_erasure(kept, self._responder.words(interaction)))
        elif action == "erase_all":
            await self._erase(interaction)
        else:
            raise UserError("button.too_old")

    async def _choose(self, interaction: Interaction, name: str) -> None:
        chosen = chosen_in(interaction)
        if not chosen or name not in Preferences.model_fields:
            raise UserError("button.too_old")
        value: object = None if chosen[0] == NO_PREFERENCE else chosen[0]
        if name == "private":
            value = {"yes": True, "no": False}.get(chosen[0])
        if name == "notify":
            value = Notify(chosen[0])
        before = await self._services.preferences.get(interaction.user.id)
        after = before.model_copy(update={name: value})
        await self._services.preferences.put(interaction.user.id, after)
        await self._responder.replace(interaction, self._page(interaction, after))

    async def _export(self, interaction: Interaction) -> None:
        async with self._responder.answering(interaction):
            await interaction.response.defer(ephemeral=True, thinking=True)
        max_bytes = room_for_files(interaction.filesize_limit)
        packed = await self._services.privacy.export(interaction.user.id, max_bytes=max_bytes)
        file = discord.File(io.BytesIO(packed), filename=EXPORT_FILE)
        view = exported(self._responder.words(interaction), file=EXPORT_FILE)
        await interaction.edit_original_response(view=view, attachments=[file], allowed_mentions=NOBODY)

    async def _erase(self, interaction: Interaction) -> None:
        async with self._responder.answering(interaction):
            await interaction.response.defer()
        count = await self._services.privacy.erase(interaction.user.id)
        view = notice("privacy.erased", self._responder.words(interaction), count=count)
        await interaction.edit_original_response(view=view, attachments=[], allowed_mentions=NOBODY)
