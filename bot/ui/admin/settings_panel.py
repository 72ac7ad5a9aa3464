"""`/settings panel`: a server's defaults, each with a select that changes it at once."""

from collections.abc import Sequence
from typing import Any

from discord import app_commands, ui

from bot.core.errors import UserError
from bot.core.server_settings import ServerSettings
from bot.ui.admin.permissions import Admin, AdminAction
from bot.ui.cards.escape import show
from bot.ui.cards.settings_panel import DEFAULT, settings_panel
from bot.ui.interactions.parsing import chosen_in
from bot.ui.interactions.timeouts import database_timeout
from bot.ui.transport.channels import may_write

BOOLEANS = frozenset({"private", "prices", "web_search"})
CHANNELS = frozenset({"gallery"})


class SettingsPanel:
    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._services = admin.services

    def add_to(self, settings: app_commands.Group) -> None:
        self._admin.add(settings, "panel", self._open)
        self._admin.button("panel", self._choose)

    async def _open(self, action: AdminAction) -> None:
        async with database_timeout("busy"):
            server_settings = await self._services.store.server_settings(action.server)
        await self._admin.responder.reply_privately(action.interaction, self._page(action, server_settings))

    def _page(self, action: AdminAction, server_settings: ServerSettings, *, done: str = "") -> ui.LayoutView:
        texts, offered = self._admin.responder.texts, self._services.offered
        return settings_panel(
            server_settings,
            action.words,
            models=[(key, each.name) for key, each in offered.models.items() if key not in server_settings.models],
            languages=[(each, texts.for_locale(each).say("language")) for each in texts.locales],
            max_safety=offered.ceilings.max_safety,
            done=done,
        )

    async def _choose(self, action: AdminAction) -> None:
        """Change one setting to what was chosen, and draw the panel again in its place."""
        name = (*action.given["parts"], "")[0]
        value = self._value(name, chosen_in(action.interaction))
        if name in CHANNELS and value is not None and may_write(action.interaction.guild, value) is False:
            raise UserError("settings.unwritable")
        update = {name: value}
        shown = self._shown(action, name, value)
        async with database_timeout("settings.unsure"):
            changed = await self._services.quotas.change_server_settings(
                action.by,
                lambda now: ServerSettings(**{**now.model_dump(), **update}),
                body={"setting": "panel", "name": name, "value": shown},
            )
        done = action.words.say("panel.done", name=action.words.say(f"panel.{name}"), value=shown)
        await self._admin.responder.replace(action.interaction, self._page(action, changed, done=done))

    def _value(self, name: str, chosen: Sequence[str]) -> Any:
        """The setting's new value; `UserError` for one that the panel does not offer."""
        if name in CHANNELS:
            return int(chosen[0]) if chosen and chosen[0].isdecimal() else None
        if not chosen:
            raise UserError("button.too_old")
        if name in BOOLEANS and chosen[0] in ("yes", "no"):
            return chosen[0] == "yes"
        if name == "gallery_stars" and chosen[0].isdecimal() and 1 <= int(chosen[0]) <= 100:
            return int(chosen[0])
        if name == "max_safety" and (chosen[0] == DEFAULT or chosen[0].isdecimal()):
            return None if chosen[0] == DEFAULT else max(1, int(chosen[0]))
        if name == "default_model" and chosen[0] in (DEFAULT, *self._services.offered.models):
            return None if chosen[0] == DEFAULT else chosen[0]
        if name == "language" and chosen[0] in (DEFAULT, *self._admin.responder.texts.locales):
            return None if chosen[0] == DEFAULT else chosen[0]
        raise UserError("button.too_old")

    def _shown(self, action: AdminAction, name: str, value: Any) -> str:
        """The value as the panel and the history name it."""
        words = action.words
        if value is None:
            key = {"gallery": "none", "language": "requesters"}.get(name, "default")
            return words.say(f"panel.{key}")
        if name in CHANNELS:
            return f"<#{value}>"
        if name == "private":
            return words.say(f"preferences.private_{'yes' if value else 'no'}")
        if isinstance(value, bool):
            return words.say("panel.yes" if value else "panel.no")
        if name == "default_model":
            return show(self._services.catalog.models[value].name, max_length=60)
        return self._admin.responder.texts.for_locale(value).say("language") if name == "language" else str(value)
