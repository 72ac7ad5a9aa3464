"""The commands with which admins say how their server wants it: channels, models, calendar, alerts: `/settings`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import discord
from discord import app_commands

from bot.core.catalog import Catalog
from bot.core.errors import UserError
from bot.core.jobs import Verb
from bot.core.server_settings import ChannelCeiling, ServerSettings, resolutions
from bot.core.zones import check_zone, names
from bot.ui.admin.base import CHANNEL, Admin, AdminAction, Option
from bot.ui.cards import settings as settings_cards
from bot.ui.cards.escape import show
from bot.ui.cards.settings import SettingsView
from bot.ui.interactions.timeouts import database_timeout
from bot.ui.transport.channels import may_write, missing, open_somewhere, title

NO_MESSAGES = frozenset({discord.ChannelType.forum, discord.ChannelType.media})
NO_CAP = "none"
OFTEN = ("UTC", "Europe/London", "Europe/Paris", "Europe/Berlin", "Europe/Madrid", "Europe/Istanbul", "Europe/Moscow",
         "Asia/Dubai", "Asia/Kolkata", "Asia/Jakarta", "Asia/Shanghai", "Asia/Seoul", "Asia/Tokyo", "Australia/Sydney",
         "Pacific/Auckland", "America/Sao_Paulo", "America/Argentina/Buenos_Aires", "America/Bogota",
         "America/New_York", "America/Mexico_City", "America/Chicago",
         "America/Denver", "America/Los_Angeles", "Africa/Lagos")  # fmt: skip

Change = Callable[[ServerSettings], ServerSettings]


class SettingsCommands:
    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._services = admin.services

    def add_to(self, tree: app_commands.CommandTree[Any]) -> None:
        add, settings = self._admin.add, self._admin.group("settings")
        add(settings, "show", self._show)
        add(settings, "timezone", self._timezone, options=[_completed("timezone", self._zones)])
        add(settings, "alerts", self._alerts, options=[Option("alerts_channel", CHANNEL)])
        channels = self._admin.group("channels", parent=settings)
        place = Option("channel", CHANNEL, required=True)
        add(channels, "allow", self._allow, options=[place])
        add(channels, "deny", self._deny, options=[place])
        caps = [Option("max_resolution", complete=self._resolutions), Option("max_count", complete=self._counts)]
        add(channels, "limit", self._limit, options=[place, *caps])
        add(channels, "clear", self._clear, options=[Option("listed_channel", complete=self._listed)])
        add(channels, "list", self._list_channels)
        models = self._admin.group("models", parent=settings)
        add(models, "allow", self._allow_model, options=[_completed("model", self._hidden_models)])
        add(models, "deny", self._deny_model, options=[_completed("model", self._offered_models)])
        add(models, "list", self._list_models)
        tree.add_command(settings)

    @property
    def _catalog(self) -> Catalog:
        return self._services.catalog

    @property
    def _offered(self) -> Catalog:
        return self._services.offered

    # --- channels

    async def _allow(self, act: AdminAction) -> None:
        channel = _there(act.given["channel"])

        def change(server_settings: ServerSettings) -> ServerSettings:
            denied = _without(server_settings.denied, channel)
            if (
                server_settings.allowed or channel not in server_settings.denied
            ):  # with no list, what was denied is open once more
                return server_settings.model_copy(
                    update={"allowed": _with(server_settings.allowed, channel), "denied": denied}
                )
            return server_settings.model_copy(update={"denied": denied})

        await self._change_channels(act, change, setting="channels.allow", channel=channel)

    async def _deny(self, act: AdminAction) -> None:
        channel = _there(act.given["channel"])

        def change(server_settings: ServerSettings) -> ServerSettings:
            # An empty list would open every channel: the last one stays on it, and denied all the same.
            allowed = _without(server_settings.allowed, channel) or server_settings.allowed
            return server_settings.model_copy(
                update={"allowed": allowed, "denied": _with(server_settings.denied, channel)}
            )

        await self._change_channels(act, change, setting="channels.deny", channel=channel)

    async def _limit(self, act: AdminAction) -> None:
        """What is left out stays as it is."""
        channel = _there(act.given["channel"])
        given = {
            "resolution": self._resolution(act.given["max_resolution"]),
            "count": self._count(act.given["max_count"]),
        }
        wanted = {name: value for name, value in given.items() if value is not None}
        if not wanted:
            raise UserError("settings.nothing")
        asked = {name: value or None for name, value in wanted.items()}

        def change(server_settings: ServerSettings) -> ServerSettings:
            cap = server_settings.caps.get(channel, ChannelCeiling()).model_copy(update=asked)
            caps = {**server_settings.caps, channel: cap}
            return server_settings.model_copy(
                update={"caps": {each: one for each, one in caps.items() if one != ChannelCeiling()}}
            )

        await self._change_channels(act, change, setting="channels.limit", channel=channel, **asked)

    async def _clear(self, act: AdminAction) -> None:
        given = act.given["listed_channel"]
        channel = _number(given) if given else None

        def change(server_settings: ServerSettings) -> ServerSettings:
            if channel is None:
                return server_settings.model_copy(update={"allowed": (), "denied": (), "caps": {}})
            caps = {each: cap for each, cap in server_settings.caps.items() if each != channel}
            lists = {
                "allowed": _without(server_settings.allowed, channel),
                "denied": _without(server_settings.denied, channel),
            }
            return server_settings.model_copy(update={**lists, "caps": caps})

        await self._change_channels(act, change, setting="channels.clear", channel=channel)

    async def _change_channels(
        self, act: AdminAction, change: Change, *, setting: str, channel: int | None, **cap: object
    ) -> None:
        told = {"setting": setting, "channel": channel, **cap}
        server_settings, is_news = await self._changed(act, change, told=told)
        known = await self._known(act, server_settings)
        key = setting.replace(".", "_") + ("" if channel else "_none")
        named = settings_cards.channel(channel, act.words, known=known) if channel else ""
        done = act.words.say(f"settings.done.{key}", channel=named)
        lines = settings_cards.channels(server_settings, act.words, known=known)
        await self._answer(act, done if is_news else None, lines, warning=known.nowhere)

    async def _list_channels(self, act: AdminAction) -> None:
        server_settings = await self._house(act)
        known = await self._known(act, server_settings)
        await self._answer(
            act, "", settings_cards.channels(server_settings, act.words, known=known), warning=known.nowhere
        )

    # --- models

    async def _allow_model(self, act: AdminAction) -> None:
        server_settings = await self._house(act)
        model = self._model(act.given["model"], among={**dict.fromkeys(server_settings.models, ""), **self._names()})

        def change(now: ServerSettings) -> ServerSettings:
            return now.model_copy(update={"models": tuple(each for each in now.models if each != model)})

        await self._change_models(act, change, setting="models.allow", model=model)

    async def _deny_model(self, act: AdminAction) -> None:
        model = self._model(act.given["model"], among=self._names())

        def change(now: ServerSettings) -> ServerSettings:
            hidden = (*(each for each in now.models if each != model), model)
            for verb in Verb:
                for catalog in (self._catalog, self._offered):
                    offered = catalog.models_for(verb).keys()
                    if model in offered and not offered - set(hidden):
                        raise UserError("settings.last_model", model=self._names()[model], command=verb.value)
            return now if model in now.models else now.model_copy(update={"models": hidden})

        await self._change_models(act, change, setting="models.deny", model=model)

    async def _change_models(self, act: AdminAction, change: Change, *, setting: str, model: str) -> None:
        name = self._names().get(model, model)
        server_settings, is_news = await self._changed(act, change, told={"setting": setting, "model": name})
        done = act.words.say(f"settings.done.{setting.replace('.', '_')}", model=show(name, most=60))
        known = SettingsView(self._names(), absent=self._absent())
        lines = settings_cards.models(server_settings, act.words, known=known)
        await self._answer(act, done if is_news else None, lines)

    async def _list_models(self, act: AdminAction) -> None:
        known = SettingsView(self._names(), absent=self._absent())
        lines = settings_cards.models(await self._house(act), act.words, known=known)
        await self._answer(act, "", lines)

    # --- calendar, alerts, everything

    async def _timezone(self, act: AdminAction) -> None:
        zone, before = check_zone(act.given["timezone"]), (await self._house(act)).timezone
        told = {"setting": "timezone", "timezone": zone, "before": before}
        server_settings, is_news = await self._changed(
            act, lambda now: now.model_copy(update={"timezone": zone}), told=told
        )
        lines = settings_cards.calendar(server_settings, act.words, now=act.received_at)
        await self._answer(act, act.words.say("settings.done.timezone") if is_news else None, lines)

    async def _alerts(self, act: AdminAction) -> None:
        given = act.given["alerts_channel"]
        channel = _there(given) if given is not None else None
        if channel is not None and given.type in NO_MESSAGES:
            raise UserError("settings.no_messages")
        told = {"setting": "alerts", "channel": channel}
        server_settings, is_news = await self._changed(
            act, lambda now: now.model_copy(update={"alerts": channel}), told=told
        )
        known = await self._known(act, server_settings)
        done = act.words.say("settings.done.alerts" if channel else "settings.done.alerts_none")
        lines = settings_cards.alerts(server_settings, act.words, known=known)
        await self._answer(act, done if is_news else None, lines, warning=known.mute)

    async def _show(self, act: AdminAction) -> None:
        server_settings = await self._house(act)
        known = await self._known(act, server_settings)
        view = settings_cards.everything(server_settings, act.words, known=known, now=act.received_at)
        await self._admin.responder.reply_privately(act.interaction, view)

    # --- what they share

    async def _house(self, act: AdminAction) -> ServerSettings:
        async with database_timeout("busy"):
            return await self._services.store.server_settings(act.server)

    async def _changed(
        self, act: AdminAction, change: Change, *, told: Mapping[str, Any]
    ) -> tuple[ServerSettings, bool]:
        """What holds now, and whether that is new."""
        before = await self._house(act)
        async with database_timeout("settings.unsure"):
            server_settings = await self._services.quotas.change_server_settings(act.by, change, told=told)
        return server_settings, server_settings != before

    async def _answer(self, act: AdminAction, done: str | None, lines: Sequence[str], *, warning: bool = False) -> None:
        """*done* is None where everything stayed as it was."""
        done = act.words.say("settings.unchanged") if done is None else done
        view = settings_cards.changed(done, lines, act.words, warning=warning)
        await self._admin.responder.reply_privately(act.interaction, view)

    async def _known(self, act: AdminAction, server_settings: ServerSettings) -> SettingsView:
        guild = act.interaction.guild
        named = {*server_settings.allowed, *server_settings.denied, *server_settings.caps} | (
            {server_settings.alerts} if server_settings.alerts else set()
        )
        gone = await missing(act.interaction.client, guild, named)
        mute = server_settings.alerts is not None and (
            server_settings.alerts in gone or may_write(guild, server_settings.alerts) is False
        )
        nowhere = not open_somewhere(guild, server_settings, gone=gone)
        return SettingsView(self._names(), gone, nowhere=nowhere, mute=mute, absent=self._absent())

    def _names(self) -> dict[str, str]:
        return {key: each.name for key, each in self._catalog.models.items()}

    def _absent(self) -> frozenset[str]:
        return frozenset(self._names()) - self._offered.models.keys()

    def _model(self, given: str, *, among: Mapping[str, str]) -> str:
        """The key of a model, which may be typed or called by its name."""
        wanted = given.strip().casefold()
        for key, name in among.items():
            if wanted in (key.casefold(), name.casefold()):
                return key
        raise UserError("option.model", given=given, choices=list(self._names().values()))

    def _resolution(self, given: str | None) -> str | None:
        """As the catalogue spells it; empty for no cap, None where nothing was said."""
        if given is None:
            return None
        known = {each.casefold(): each for each in resolutions(self._catalog)} | {NO_CAP: ""}
        wanted = given.strip().casefold()
        if wanted not in known:
            raise UserError("settings.resolution", given=given, choices=[*resolutions(self._catalog), NO_CAP])
        return known[wanted]

    def _count(self, given: str | None) -> int | None:
        """0 for no cap, None where nothing was said."""
        if given is None:
            return None
        wanted, most = given.strip().casefold(), self._most()
        if wanted == NO_CAP:
            return 0
        if not wanted.isdecimal() or not 1 <= int(wanted) <= most:
            raise UserError("settings.count", given=given, limit=most, choice=NO_CAP)
        return int(wanted)

    def _most(self) -> int:
        """How many pictures any model makes at once."""
        found = [
            endpoint.options.count.max
            for model in self._catalog.models.values()
            for verb in Verb
            if (endpoint := model.endpoint(verb)) and endpoint.options.count
        ]
        return max(found, default=1)

    # --- what is offered

    async def _zones(self, act: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        """Without a word what is set and what is common; else those with the word in them, at its start first."""
        wanted = typed.strip().casefold().replace(" ", "_")
        if not wanted:
            found = list(dict.fromkeys([(await self._house(act)).timezone, *OFTEN]))
        else:
            found = [each for each in names() if wanted in each.casefold()]
            found.sort(key=lambda each: not any(part.startswith(wanted) for part in each.casefold().split("/")))
        return [(each.replace("_", " "), each) for each in found]

    async def _listed(self, act: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        server_settings = await self._house(act)
        listed = dict.fromkeys([*server_settings.allowed, *server_settings.denied, *server_settings.caps])
        found = [(self._title(act, each), str(each)) for each in listed]
        return _matching(found, typed)

    def _title(self, act: AdminAction, channel: int) -> str:
        return title(act.interaction.guild, channel) or act.words.say("quota.unnamed.channel", id=channel)

    async def _hidden_models(self, act: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        known = self._names()
        return _matching([(known.get(each, each), each) for each in (await self._house(act)).models], typed)

    async def _offered_models(self, act: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        hidden = (await self._house(act)).models
        return _matching([(each.name, key) for key, each in self._offered.models.items() if key not in hidden], typed)

    async def _resolutions(self, act: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        found = [(each, each) for each in resolutions(self._catalog)]
        return _matching([*found, (act.words.say("settings.no_cap"), NO_CAP)], typed)

    async def _counts(self, act: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        found = [(str(each), str(each)) for each in range(1, self._most() + 1)]
        return _matching([*found, (act.words.say("settings.no_cap"), NO_CAP)], typed)


def _completed(name: str, complete: Any) -> Option:
    return Option(name, required=True, complete=complete)


def _there(channel: Any) -> int:
    """The number of a channel; `UserError` for one that Discord does not know any more, which is a bare number."""
    if isinstance(channel, discord.Object):
        raise UserError("admin.gone.channel")
    return int(channel.id)


def _number(given: str) -> int:
    """A channel as it was completed, or typed as a number or mention."""
    digits = given.strip().removeprefix("<#").removesuffix(">")
    if not digits.isdecimal() or len(digits) > 20:
        raise UserError("settings.channel", given=given)
    return int(digits)


def _matching(offered: Sequence[tuple[str, str]], typed: str) -> Sequence[tuple[str, str]]:
    wanted = typed.strip().casefold()
    return [each for each in offered if any(wanted in part.casefold() for part in each)]


def _with(listed: tuple[int, ...], channel: int) -> tuple[int, ...]:
    return listed if channel in listed else (*listed, channel)


def _without(listed: tuple[int, ...], channel: int) -> tuple[int, ...]:
    return tuple(each for each in listed if each != channel)
