"""The admins' command `/settings`: channels, models, time zone and limit alerts of a server.

Longer than other files: every subcommand is a few lines over the same change of a server's settings.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import discord
from discord import app_commands

from bot.core.catalog import Catalog
from bot.core.errors import UserError
from bot.core.jobs import Verb
from bot.core.server_settings import ChannelCeiling, Flagged, ServerSettings, resolutions
from bot.core.zones import check_zone, names
from bot.jobs.changes import Topic
from bot.ui.admin.permissions import CHANNEL, Admin, AdminAction, Option
from bot.ui.admin.settings_panel import SettingsPanel
from bot.ui.cards import settings as settings_cards
from bot.ui.cards.escape import show
from bot.ui.cards.settings import SettingsView
from bot.ui.interactions.timeouts import database_timeout
from bot.ui.transport.channels import channel_title, deleted_channels, has_open_channel, may_write
from bot.ui.transport.request_messages import RequestMessages

NO_MESSAGES = frozenset({discord.ChannelType.forum, discord.ChannelType.media})
NO_CAP = "none"
MAX_GENERATION = 25  # channels
COMMON_ZONES = (  # the first suggestions for `/settings timezone`
    "UTC", "Europe/London", "Europe/Paris", "Europe/Berlin", "Europe/Madrid", "Europe/Istanbul", "Europe/Moscow",
    "Asia/Dubai", "Asia/Kolkata", "Asia/Jakarta", "Asia/Shanghai", "Asia/Seoul", "Asia/Tokyo", "Australia/Sydney",
    "Pacific/Auckland", "America/Sao_Paulo", "America/Argentina/Buenos_Aires", "America/Bogota", "America/New_York",
    "America/Mexico_City", "America/Chicago", "America/Denver", "America/Los_Angeles", "Africa/Lagos",
)  # fmt: skip

Change = Callable[[ServerSettings], ServerSettings]


class SettingsCommands:
    """Registers and runs the commands."""

    def __init__(self, admin: Admin, *, messages: RequestMessages | None, has_gateway: bool = True) -> None:
        """*messages* is None if the bot reads no messages: the operator does not let it, or it has no gateway."""
        self._admin = admin
        self._unread = "settings.no_mentions" if has_gateway else "settings.no_gateway"
        self._messages = messages
        self._services = admin.services

    def add_to(self, tree: app_commands.CommandTree[Any]) -> None:
        add, settings = self._admin.add, self._admin.group("settings")
        add(settings, "show", self._show)
        add(settings, "timezone", self._timezone, options=[_required("timezone", self._zones)])
        add(settings, "alerts", self._alerts, options=[Option("alerts_channel", CHANNEL)])
        add(settings, "log", self._log, options=[Option("log_channel", CHANNEL)])
        choices = tuple((self._admin.localized(f"admin_choice.{each}"), each.value) for each in Flagged)
        add(settings, "flagged", self._flagged, options=[Option("choice", required=True, choices=choices)])
        channels = self._admin.group("channels", parent=settings)
        place = Option("channel", CHANNEL, required=True)
        add(channels, "allow", self._allow, options=[place])
        add(channels, "deny", self._deny, options=[place])
        caps = [Option("max_resolution", complete=self._resolutions), Option("max_count", complete=self._counts)]
        add(channels, "limit", self._limit, options=[place, *caps])
        add(channels, "clear", self._clear, options=[Option("listed_channel", complete=self._listed)])
        add(channels, "list", self._list_channels)
        models = self._admin.group("models", parent=settings)
        add(models, "allow", self._allow_model, options=[_required("model", self._hidden_models)])
        add(models, "deny", self._deny_model, options=[_required("model", self._offered_models)])
        add(models, "list", self._list_models)
        SettingsPanel(self._admin).add_to(settings)
        generation = self._admin.group("generation", parent=settings)
        add(generation, "add", self._add_generation, options=[place])
        add(generation, "remove", self._remove_generation, options=[place])
        threads = self._admin.group("threads", parent=settings)
        add(threads, "on", self._threads_on)
        add(threads, "off", self._threads_off)
        tree.add_command(settings)

    @property
    def _catalog(self) -> Catalog:
        return self._services.catalog

    @property
    def _offered(self) -> Catalog:
        return self._services.offered

    # --- channels

    async def _allow(self, action: AdminAction) -> None:
        channel = _channel_id(action.given["channel"])

        def change(server_settings: ServerSettings) -> ServerSettings:
            denied = _without(server_settings.denied, channel)
            # Without a list every channel is open, so that a denied channel needs no entry in it.
            if server_settings.allowed or channel not in server_settings.denied:
                return server_settings.model_copy(
                    update={"allowed": _with(server_settings.allowed, channel), "denied": denied}
                )
            return server_settings.model_copy(update={"denied": denied})

        await self._change_channels(action, change, setting="channels.allow", channel=channel)

    async def _deny(self, action: AdminAction) -> None:
        channel = _channel_id(action.given["channel"])

        def change(server_settings: ServerSettings) -> ServerSettings:
            # An empty list would open every channel, so the last one stays on it and is denied as well.
            allowed = _without(server_settings.allowed, channel) or server_settings.allowed
            return server_settings.model_copy(
                update={"allowed": allowed, "denied": _with(server_settings.denied, channel)}
            )

        await self._change_channels(action, change, setting="channels.deny", channel=channel)

    async def _limit(self, action: AdminAction) -> None:
        """Set the maximum resolution or count of a channel; an omitted option is not changed."""
        channel = _channel_id(action.given["channel"])
        given = {
            "resolution": self._resolution(action.given["max_resolution"]),
            "count": self._count(action.given["max_count"]),
        }
        wanted = {name: value for name, value in given.items() if value is not None}
        if not wanted:
            raise UserError("settings.nothing")
        asked = {name: value or None for name, value in wanted.items()}
        current = (await self._current(action)).caps.get(channel, ChannelCeiling())
        before = {name: getattr(current, name) for name in asked}

        def change(server_settings: ServerSettings) -> ServerSettings:
            cap = server_settings.caps.get(channel, ChannelCeiling()).model_copy(update=asked)
            caps = {**server_settings.caps, channel: cap}
            return server_settings.model_copy(
                update={"caps": {each: one for each, one in caps.items() if one != ChannelCeiling()}}
            )

        await self._change_channels(action, change, setting="channels.limit", channel=channel, before=before, **asked)

    async def _clear(self, action: AdminAction) -> None:
        given = action.given["listed_channel"]
        channel = _parse_channel(given) if given else None

        def change(server_settings: ServerSettings) -> ServerSettings:
            if channel is None:
                return server_settings.model_copy(update={"allowed": (), "denied": (), "caps": {}})
            caps = {each: cap for each, cap in server_settings.caps.items() if each != channel}
            lists = {
                "allowed": _without(server_settings.allowed, channel),
                "denied": _without(server_settings.denied, channel),
            }
            return server_settings.model_copy(update={**lists, "caps": caps})

        await self._change_channels(action, change, setting="channels.clear", channel=channel)

    async def _change_channels(
        self, action: AdminAction, change: Change, *, setting: str, channel: int | None, **cap: object
    ) -> None:
        entry = {"setting": setting, "channel": channel, **cap}
        server_settings, is_new = await self._changed(action, change, entry=entry)
        view = await self._settings_view(action, server_settings)
        key = setting.replace(".", "_") + ("" if channel else "_none")
        named = settings_cards.channel(channel, action.words, view=view) if channel else ""
        done = action.words.say(f"settings.done.{key}", channel=named)
        lines = settings_cards.channels(server_settings, action.words, view=view)
        await self._answer(action, done if is_new else None, lines, warning=view.all_closed)

    async def _list_channels(self, action: AdminAction) -> None:
        server_settings = await self._current(action)
        view = await self._settings_view(action, server_settings)
        await self._answer(
            action, "", settings_cards.channels(server_settings, action.words, view=view), warning=view.all_closed
        )

    # --- models

    async def _allow_model(self, action: AdminAction) -> None:
        server_settings = await self._current(action)
        model = self._model(
            action.given["model"], among={**dict.fromkeys(server_settings.models, ""), **self._model_names()}
        )

        def change(now: ServerSettings) -> ServerSettings:
            return now.model_copy(update={"models": tuple(each for each in now.models if each != model)})

        await self._change_models(action, change, setting="models.allow", model=model)

    async def _deny_model(self, action: AdminAction) -> None:
        model = self._model(action.given["model"], among=self._model_names())

        def change(now: ServerSettings) -> ServerSettings:
            hidden = (*(each for each in now.models if each != model), model)
            for verb in Verb:
                for catalog in (self._catalog, self._offered):
                    offered = catalog.models_for(verb).keys()
                    if model in offered and not offered - set(hidden):
                        raise UserError("settings.last_model", model=self._model_names()[model], command=verb.value)
            return now if model in now.models else now.model_copy(update={"models": hidden})

        await self._change_models(action, change, setting="models.deny", model=model)

    async def _change_models(self, action: AdminAction, change: Change, *, setting: str, model: str) -> None:
        name = self._model_names().get(model, model)
        server_settings, is_new = await self._changed(action, change, entry={"setting": setting, "model": name})
        done = action.words.say(f"settings.done.{setting.replace('.', '_')}", model=show(name, max_length=60))
        view = SettingsView(self._model_names(), unavailable=self._unavailable_models())
        lines = settings_cards.models(server_settings, action.words, view=view)
        await self._answer(action, done if is_new else None, lines)

    async def _list_models(self, action: AdminAction) -> None:
        view = SettingsView(self._model_names(), unavailable=self._unavailable_models())
        lines = settings_cards.models(await self._current(action), action.words, view=view)
        await self._answer(action, "", lines)

    # --- requests by message

    async def _add_generation(self, action: AdminAction) -> None:
        if self._messages is None:
            raise UserError(self._unread)
        given = action.given["channel"]
        channel = _channel_id(given)
        if given.type in NO_MESSAGES:
            raise UserError("settings.no_requests")

        def change(listed: tuple[int, ...]) -> tuple[int, ...]:
            if len(listed) >= MAX_GENERATION and channel not in listed:
                raise UserError("settings.many_requests", limit=MAX_GENERATION)
            return _with(listed, channel)

        await self._change_generation(action, change, setting="generation.add", channel=channel)

    async def _remove_generation(self, action: AdminAction) -> None:
        channel = _channel_id(action.given["channel"])
        await self._change_generation(
            action, lambda listed: _without(listed, channel), setting="generation.remove", channel=channel
        )

    async def _change_generation(
        self,
        action: AdminAction,
        change: Callable[[tuple[int, ...]], tuple[int, ...]],
        *,
        setting: str,
        channel: int,
    ) -> None:
        """Apply *change* to the channels for requests by message, from which deleted ones are dropped."""
        guild, entry = action.interaction.guild, {"setting": setting, "channel": channel}
        before = (await self._current(action)).generation
        gone = await deleted_channels(action.interaction.client, guild, before)

        def changed(now: ServerSettings) -> ServerSettings:
            kept = tuple(each for each in now.generation if each not in gone)
            return now.model_copy(update={"generation": change(kept)})

        async with database_timeout("settings.unsure"):
            server_settings = await self._services.quotas.change_server_settings(action.by, changed, body=entry)
        if self._messages is not None:
            self._messages.set_server(action.server, server_settings.generation)
        self._services.changes.send(Topic.GENERATION, [action.server, server_settings.generation])
        view = SettingsView(self._model_names(), frozenset({channel}) & gone)
        named = settings_cards.channel(channel, action.words, view=view)
        done = action.words.say(f"settings.done.{setting.replace('.', '_')}", channel=named)
        unwritable = channel in server_settings.generation and may_write(guild, channel) is False
        mute = [action.words.say("settings.generation_mute", channel=named)] if unwritable else []
        lines = [*settings_cards.generation(server_settings, action.words, view=view), *mute]
        await self._answer(action, done if server_settings.generation != before else None, lines, warning=unwritable)

    # --- threads

    async def _threads_on(self, action: AdminAction) -> None:
        await self._change_threads(action, threads=True)

    async def _threads_off(self, action: AdminAction) -> None:
        await self._change_threads(action, threads=False)

    async def _change_threads(self, action: AdminAction, *, threads: bool) -> None:
        setting = "threads.on" if threads else "threads.off"
        server_settings, is_new = await self._changed(
            action, lambda now: now.model_copy(update={"threads": threads}), entry={"setting": setting}
        )
        done = action.words.say(f"settings.done.{setting.replace('.', '_')}")
        await self._answer(action, done if is_new else None, settings_cards.threads(server_settings, action.words))

    # --- time zone, alerts, all settings

    async def _timezone(self, action: AdminAction) -> None:
        zone, before = check_zone(action.given["timezone"]), (await self._current(action)).timezone
        entry = {"setting": "timezone", "timezone": zone, "before": before}
        server_settings, is_new = await self._changed(
            action, lambda now: now.model_copy(update={"timezone": zone}), entry=entry
        )
        lines = settings_cards.calendar(server_settings, action.words, now=action.received_at)
        await self._answer(action, action.words.say("settings.done.timezone") if is_new else None, lines)

    async def _alerts(self, action: AdminAction) -> None:
        given = action.given["alerts_channel"]
        channel = _channel_id(given) if given is not None else None
        if channel is not None and given.type in NO_MESSAGES:
            raise UserError("settings.no_messages")
        entry = {"setting": "alerts", "channel": channel, "before": (await self._current(action)).alerts}
        server_settings, is_new = await self._changed(
            action, lambda now: now.model_copy(update={"alerts": channel}), entry=entry
        )
        view = await self._settings_view(action, server_settings)
        done = action.words.say("settings.done.alerts" if channel else "settings.done.alerts_none")
        lines = settings_cards.alerts(server_settings, action.words, view=view)
        await self._answer(action, done if is_new else None, lines, warning=view.alerts_unwritable)

    async def _log(self, action: AdminAction) -> None:
        given = action.given["log_channel"]
        channel = _channel_id(given) if given is not None else None
        if channel is not None and given.type in NO_MESSAGES:
            raise UserError("settings.no_log")
        server_settings, is_new = await self._changed(
            action,
            lambda now: now.model_copy(update={"log": channel}),
            entry={"setting": "log", "channel": channel},
        )
        view = await self._settings_view(action, server_settings)
        done = action.words.say("settings.done.log" if channel else "settings.done.log_none")
        lines = settings_cards.log(server_settings, action.words, view=view)
        await self._answer(action, done if is_new else None, lines, warning=view.log_unwritable)

    async def _flagged(self, action: AdminAction) -> None:
        choice = Flagged(action.given["choice"])
        server_settings, is_new = await self._changed(
            action,
            lambda now: now.model_copy(update={"flagged": choice}),
            entry={"setting": f"flagged.{choice}"},
        )
        done = action.words.say("settings.done.flagged")
        lines = settings_cards.flagged(server_settings, action.words)
        await self._answer(action, done if is_new else None, lines)

    async def _show(self, action: AdminAction) -> None:
        server_settings = await self._current(action)
        view = await self._settings_view(action, server_settings)
        page = settings_cards.everything(server_settings, action.words, view=view, now=action.received_at)
        await self._admin.responder.reply_privately(action.interaction, page)

    # --- shared

    async def _current(self, action: AdminAction) -> ServerSettings:
        async with database_timeout("busy"):
            return await self._services.store.server_settings(action.server)

    async def _changed(
        self, action: AdminAction, change: Change, *, entry: Mapping[str, Any]
    ) -> tuple[ServerSettings, bool]:
        """Apply *change*, record *entry* in the history, and return the new settings and whether they are new."""
        before = await self._current(action)
        async with database_timeout("settings.unsure"):
            server_settings = await self._services.quotas.change_server_settings(action.by, change, body=entry)
        return server_settings, server_settings != before

    async def _answer(
        self, action: AdminAction, done: str | None, lines: Sequence[str], *, warning: bool = False
    ) -> None:
        """Reply with *done*, the sentence for the change (None for no change), and the settings now."""
        done = action.words.say("settings.unchanged") if done is None else done
        page = settings_cards.changed(done, lines, action.words, warning=warning)
        await self._admin.responder.reply_privately(action.interaction, page)

    async def _settings_view(self, action: AdminAction, server_settings: ServerSettings) -> SettingsView:
        guild = action.interaction.guild
        posted = {each for each in (server_settings.alerts, server_settings.log) if each}
        named = {*server_settings.allowed, *server_settings.denied, *server_settings.caps} | posted
        named |= set(server_settings.generation)
        deleted = await deleted_channels(action.interaction.client, guild, named)
        unwritable = {each for each in posted if each in deleted or may_write(guild, each) is False}
        all_closed = not has_open_channel(guild, server_settings, deleted=deleted)
        return SettingsView(
            self._model_names(),
            deleted,
            all_closed=all_closed,
            alerts_unwritable=server_settings.alerts in unwritable,
            log_unwritable=server_settings.log in unwritable,
            unavailable=self._unavailable_models(),
        )

    def _model_names(self) -> dict[str, str]:
        return {key: each.name for key, each in self._catalog.models.items()}

    def _unavailable_models(self) -> frozenset[str]:
        return frozenset(self._model_names()) - self._offered.models.keys()

    def _model(self, given: str, *, among: Mapping[str, str]) -> str:
        """The key of the model in *among* (names by key) with this key or name; `UserError` if there is none."""
        wanted = given.strip().casefold()
        for key, name in among.items():
            if wanted in (key.casefold(), name.casefold()):
                return key
        raise UserError("option.model", given=given, choices=list(self._model_names().values()))

    def _resolution(self, given: str | None) -> str | None:
        """The resolution as the catalogue spells it, "" for `none`, None if not given."""
        if given is None:
            return None
        known = {each.casefold(): each for each in resolutions(self._catalog)} | {NO_CAP: ""}
        wanted = given.strip().casefold()
        if wanted not in known:
            raise UserError("settings.resolution", given=given, choices=[*resolutions(self._catalog), NO_CAP])
        return known[wanted]

    def _count(self, given: str | None) -> int | None:
        """The count, 0 for `none`, None if not given."""
        if given is None:
            return None
        wanted, max_count = given.strip().casefold(), self._max_count()
        if wanted == NO_CAP:
            return 0
        if not wanted.isdecimal() or not 1 <= int(wanted) <= max_count:
            raise UserError("settings.count", given=given, limit=max_count, choice=NO_CAP)
        return int(wanted)

    def _max_count(self) -> int:
        """The largest number of pictures that any model makes in one job."""
        counts = [
            endpoint.options.count.max
            for model in self._catalog.models.values()
            for verb in Verb
            if (endpoint := model.endpoint(verb)) and endpoint.options.count
        ]
        return max(counts, default=1)

    # --- completions

    async def _zones(self, action: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        """Time zones that contain *typed*, first those with a part that starts with it; common ones if it is empty."""
        wanted = typed.strip().casefold().replace(" ", "_")
        if not wanted:
            zones = list(dict.fromkeys([(await self._current(action)).timezone, *COMMON_ZONES]))
        else:
            zones = [each for each in names() if wanted in each.casefold()]
            zones.sort(key=lambda each: not any(part.startswith(wanted) for part in each.casefold().split("/")))
        return [(each.replace("_", " "), each) for each in zones]

    async def _listed(self, action: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        server_settings = await self._current(action)
        listed = dict.fromkeys([*server_settings.allowed, *server_settings.denied, *server_settings.caps])
        return _matching([(self._title(action, each), str(each)) for each in listed], typed)

    def _title(self, action: AdminAction, channel: int) -> str:
        return channel_title(action.interaction.guild, channel) or action.words.say("quota.unnamed.channel", id=channel)

    async def _hidden_models(self, action: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        known = self._model_names()
        return _matching([(known.get(each, each), each) for each in (await self._current(action)).models], typed)

    async def _offered_models(self, action: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        hidden = (await self._current(action)).models
        return _matching([(each.name, key) for key, each in self._offered.models.items() if key not in hidden], typed)

    async def _resolutions(self, action: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        choices = [(each, each) for each in resolutions(self._catalog)]
        return _matching([*choices, (action.words.say("settings.no_cap"), NO_CAP)], typed)

    async def _counts(self, action: AdminAction, typed: str) -> Sequence[tuple[str, str]]:
        choices = [(str(each), str(each)) for each in range(1, self._max_count() + 1)]
        return _matching([*choices, (action.words.say("settings.no_cap"), NO_CAP)], typed)


def _required(name: str, complete: Any) -> Option:
    return Option(name, required=True, complete=complete)


def _channel_id(channel: Any) -> int:
    """A channel's id; `UserError` for a deleted channel, which discord.py passes as a `discord.Object`."""
    if isinstance(channel, discord.Object):
        raise UserError("admin.gone.channel")
    return int(channel.id)


def _parse_channel(given: str) -> int:
    """The id of a channel given as an id (the completion) or as a mention; `UserError` for anything else."""
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
