"""`/style`: everybody sees the styles of a server; admins add, change and remove its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from discord import app_commands

from bot.core.catalog import Catalog
from bot.core.errors import UserError
from bot.core.jobs import Verb
from bot.core.routes import Wire
from bot.core.server_settings import ServerSettings
from bot.core.style_choice import style_name, styles_here
from bot.core.styles import MAX_NAME_LENGTH, MAX_STYLES, MAX_WORDS_LENGTH, Style
from bot.core.visible import storable, visible
from bot.ui.admin.permissions import Admin, AdminAction, Option
from bot.ui.cards import styles as cards
from bot.ui.interactions.parsing import fields_of, place_of
from bot.ui.interactions.responder import Interaction
from bot.ui.interactions.timeouts import database_timeout

Change = Callable[[ServerSettings], ServerSettings]


@dataclass(frozen=True, slots=True)
class _Filled:
    """A submitted form, checked."""

    name: str
    style: Style


class StyleCommands:
    """Registers and runs the commands and their form, whose custom id is `a1:style:<name of the changed style>`."""

    def __init__(self, admin: Admin, *, contexts: Mapping[str, Any]) -> None:
        """*contexts*: where Discord shows the commands, as the members' commands."""
        self._admin = admin
        self._services = admin.services
        self._contexts = contexts

    def add_to(self, tree: app_commands.CommandTree[Any]) -> None:
        admin = self._admin
        group = app_commands.Group(name="style", description=admin.localized("style.about"), **self._contexts)
        group.add_command(self._list_command())
        admin.add(group, "add", self._add)
        admin.add(group, "edit", self._edit, options=[Option("style", required=True, complete=self._all)])
        admin.add(group, "remove", self._remove, options=[Option("style", required=True, complete=self._own)])
        admin.form("style", self._submitted, late="style.unsure")
        tree.add_command(group)

    def _list_command(self) -> app_commands.Command[Any, ..., None]:
        async def callback(interaction: Interaction) -> None:
            await self._admin.responder.handle(interaction, lambda _: self._list(interaction))

        return app_commands.Command(
            name="list", description=self._admin.localized("style.list"), callback=callback
        )  # fmt: skip

    # --- commands

    async def _list(self, interaction: Interaction) -> None:
        responder = self._admin.responder
        place = place_of(interaction, member=responder.is_member(interaction))
        styles = styles_here(self._catalog, await self._services.requests.server_settings(place))
        page = cards.styles_page(styles, responder.words(interaction), models=self._model_names())
        await responder.reply_privately(interaction, page)

    async def _add(self, action: AdminAction) -> None:
        await self._open_form(action, "", Style())

    async def _edit(self, action: AdminAction) -> None:
        """Open the form for a style; changing one of the operator's makes an own one that overrides it."""
        styles = styles_here(self._catalog, await self._current(action))
        name = _require(action.given["style"], styles)
        await self._open_form(action, name, styles[name])

    async def _remove(self, action: AdminAction) -> None:
        name = _require(action.given["style"], (await self._current(action)).styles)

        def change(now: ServerSettings) -> ServerSettings:
            return now.model_copy(update={"styles": {each: one for each, one in now.styles.items() if each != name}})

        await self._change(action, change, setting="styles.remove", name=name)

    # --- the form

    async def _open_form(self, action: AdminAction, name: str, style: Style) -> None:
        form = cards.style_form(
            action.words,
            custom_id=f"a1:style:{name}",
            name=name,
            style=style,
            models=self._model_names(),
            ratios=self._ratios(),
        )
        await self._admin.responder.open_form(action.interaction, form)

    async def _submitted(self, action: AdminAction) -> None:
        filled, old = self._read(action), ":".join(action.given["parts"])

        def change(now: ServerSettings) -> ServerSettings:
            styles = dict(now.styles)
            before = styles.pop(style_name(old, styles) or "", None) if old else None
            if (twin := style_name(filled.name, styles)) is not None:
                raise UserError("style.exists", style=twin)
            if len(styles) >= MAX_STYLES:
                raise UserError("style.full", limit=MAX_STYLES)
            style = _changed(before or self._configured(old), filled.style)
            return now.model_copy(update={"styles": {**styles, filled.name: style}})

        setting = "styles.edit" if old else "styles.add"
        await self._change(action, change, setting=setting, name=filled.name)

    def _read(self, action: AdminAction) -> _Filled:
        fields = {name: storable(value or "") for name, value in fields_of(action.interaction).items()}
        name = visible(fields.get("name", ""))[:MAX_NAME_LENGTH].strip()
        if not name:
            raise UserError("style.nameless")
        before, after = (fields.get(each, "").strip()[:MAX_WORDS_LENGTH] for each in ("before", "after"))
        model, ratio = fields.get("model") or None, fields.get("aspect_ratio") or None
        if model is not None and model not in self._catalog.models:
            raise UserError("option.model", given=model, choices=list(self._model_names().values()))
        options: dict[str, Wire] = {"aspect_ratio": ratio} if ratio and ratio in self._ratios() else {}
        if not (before or after or model or options):
            raise UserError("style.empty")
        return _Filled(name, Style(before=before, after=after, model=model, options=options))

    def _configured(self, name: str) -> Style | None:
        """The operator's style called *name*."""
        styles = styles_here(self._catalog, ServerSettings())
        return styles.get(style_name(name, styles) or "")

    # --- shared

    @property
    def _catalog(self) -> Catalog:
        return self._services.catalog

    async def _current(self, action: AdminAction) -> ServerSettings:
        async with database_timeout("busy"):
            return await self._services.store.server_settings(action.server)

    async def _change(self, action: AdminAction, change: Change, *, setting: str, name: str) -> None:
        entry = {"setting": setting, "style": name}
        async with database_timeout("style.unsure"):
            now = await self._services.quotas.change_server_settings(action.by, change, body=entry)
        key = setting.replace(".", "_")
        page = cards.changed(
            f"style.done.{key}", action.words, name=name, style=now.styles.get(name), models=self._model_names()
        )
        await self._admin.responder.reply_privately(action.interaction, page)

    def _model_names(self) -> dict[str, str]:
        return {key: each.name for key, each in self._catalog.models.items()}

    def _ratios(self) -> list[str]:
        """The aspect ratios of all models, without duplicates."""
        endpoints = [model.endpoint(verb) for model in self._catalog.models.values() for verb in Verb]
        specs = [each.options.aspect_ratio for each in endpoints if each and each.options.aspect_ratio]
        return list(dict.fromkeys(choice for each in specs for choice in each.choices))

    # --- completions

    async def _all(self, action: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        return self._choices(styles_here(self._catalog, await self._current(action)), typed)

    async def _own(self, action: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        return self._choices((await self._current(action)).styles, typed)

    def _choices(self, styles: Mapping[str, Style], typed: str) -> Sequence[tuple[str, str]]:
        models, wanted = self._model_names(), typed.strip().casefold()
        return [(cards.choice(name, each, models), name) for name, each in styles.items() if wanted in name.casefold()]


def _require(typed: str, styles: Mapping[str, Style]) -> str:
    """The name of the style in *styles* that is meant; `UserError` where there is none."""
    if (name := style_name(typed, styles)) is None:
        raise UserError("style.not_here", given=typed)
    return name


def _changed(before: Style | None, filled: Style) -> Style:
    """The style of a form, with the options of *before* that the form does not show."""
    hidden = {name: value for name, value in (before.options if before else {}).items() if name != "aspect_ratio"}
    return filled.model_copy(update={"options": {**hidden, **filled.options}})
