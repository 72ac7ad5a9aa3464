"""The bot's connection to Discord: which events it takes, and who answers them."""

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import discord
import yarl
from discord import app_commands
from discord.app_commands import TranslationContextTypes, locale_str
from discord.gateway import DiscordWebSocket

from bot.core.catalog import Catalog
from bot.core.errors import UserError
from bot.core.jobs import Verb
from bot.core.references import is_loopback
from bot.jobs.service import Service
from bot.observability.metrics import Metrics
from bot.ui.admin.base import Admin
from bot.ui.admin.quota import QuotaCommands
from bot.ui.admin.quota_reports import QuotaReports
from bot.ui.admin.settings import SettingsCommands
from bot.ui.application_check import owner_ids
from bot.ui.buttons.router import RemoveFiles, Router
from bot.ui.cards.notices import welcome
from bot.ui.cards.texts import ENGLISH, Texts
from bot.ui.commands.generate import Commands
from bot.ui.commands.usage import Draw
from bot.ui.interactions.access import Access
from bot.ui.interactions.private_delivery import PrivateDelivery, Uploads
from bot.ui.interactions.responder import NOBODY, Peek, Responder
from bot.ui.transport.state import State

log = logging.getLogger(__name__)

SYNCED = "commands"  # a note: which commands Discord was told last
TIMEOUT = 10.0  # seconds
LONGEST_PAUSE = 60.0  # seconds the library may sleep for a rate limit


def connect_to(api_base: str, gateway_url: str) -> None:
    """Talk to another Discord than Discord's, for the demo and tests; without TLS only on this machine."""
    for url, secure in ((api_base, "https"), (gateway_url, "wss")):
        parts = urlsplit(url)
        if url and parts.scheme != secure and not is_loopback(parts.hostname or ""):
            raise ValueError(f"{url} must begin with {secure}://")
    if api_base:
        discord.http.Route.BASE = api_base.rstrip("/")
    if gateway_url:
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)


class Tree(app_commands.CommandTree["DarkroomClient"]):
    async def interaction_check(self, interaction: discord.Interaction["DarkroomClient"], /) -> bool:
        """Choices that Discord does not wait for any more are not worked out: it would refuse them."""
        completes = interaction.type is discord.InteractionType.autocomplete
        return not (completes and self.client.responder.deadline_passed(interaction))

    async def on_error(
        self, interaction: discord.Interaction["DarkroomClient"], error: app_commands.AppCommandError, /
    ) -> None:
        """Answer what our own handlers never saw, such as a command that Discord still knows and we do not."""
        odd = UserError("command.outdated")
        cause = error.original if isinstance(error, app_commands.CommandInvokeError) else odd
        await self.client.responder.report_error(interaction, cause)

    async def _call(self, interaction: discord.Interaction["DarkroomClient"]) -> None:
        """Offer nothing where the library finds nothing to complete, and would leave Discord waiting."""
        completes = interaction.type is discord.InteractionType.autocomplete
        try:
            await super()._call(interaction)
        except app_commands.AppCommandError:
            if not completes:
                raise
        if completes and not interaction.response.is_done() and not interaction.command_failed:
            with suppress(discord.DiscordException, aiohttp.ClientError, OSError):
                await interaction.response.autocomplete([])


class Translated(app_commands.Translator):
    """Gives Discord the sentences of `command` in every language we have."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    async def translate(
        self, string: locale_str, locale: discord.Locale, _: TranslationContextTypes
    ) -> str | None:  # fmt: skip
        words = self._texts.for_locale(locale.value)
        if words.locale == ENGLISH or "key" not in string.extras:
            return None
        return words.say(string.extras["key"])


class DarkroomClient(discord.Client):
    """Everything it needs is handed in; it starts no task of its own and does nothing before it logs in."""

    def __init__(
        self,
        service: Service,
        texts: Texts,
        *,
        access: Access,
        peek: Peek,
        uploads: Uploads,
        remove_files: RemoveFiles,
        keep_hours: int,
        keep_days: int,
        user_install: bool,
        chart: Draw,
        metrics: Metrics,
        log_channel: int = 0,
        proxy: str | None = None,
        hosts: Sequence[str] = (),
    ) -> None:
        """*peek*, *uploads* and *chart* are `ReferenceChecker.quickly`, `Delivery.uploads` and `PicturePool.draw`.

        *proxy* is the address of an HTTP proxy through which Discord is reached.

        *hosts* are the providers' names for people; where none are given the catalogue's own are used.
        """
        discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # there is no voice here to warn of
        super().__init__(
            intents=discord.Intents(guilds=True),
            max_messages=None,
            chunk_guilds_at_startup=False,
            member_cache_flags=discord.MemberCacheFlags.none(),
            allowed_mentions=NOBODY,
            max_ratelimit_timeout=LONGEST_PAUSE,
            proxy=proxy,
        )
        self._log_channel = log_channel
        self.service = service
        self.texts = texts
        self.access = access
        self.responder = Responder(self, service, texts=texts, access=access, peek=peek, metrics=metrics)
        self.tree = Tree(self)
        self._translator = Translated(texts)
        private_delivery = PrivateDelivery(self.responder, uploads)
        admin = Admin(self.responder)
        self._router = Router(self.responder, private_delivery=private_delivery, remove_files=remove_files, admin=admin)
        commands = Commands(
            self.responder,
            private_delivery=private_delivery,
            hosts=hosts or _hosts(service.catalog),
            keep_hours=keep_hours,
            keep_days=keep_days,
            user_install=user_install,
            chart=chart,
        )
        commands.add_to(self.tree)
        quota = admin.group("quota")
        QuotaCommands(admin).add_to(quota)
        QuotaReports(admin).add_to(quota)
        self.tree.add_command(quota)
        SettingsCommands(admin).add_to(self.tree)

    def _get_state(self, **options: Any) -> State:
        return State(dispatch=self.dispatch, handlers=self._handlers, hooks=self._hooks, http=self.http, **options)

    @property
    def accepts_requests(self) -> bool:
        """Whether new jobs are taken; everything else is answered all the same."""
        return self.responder.accepts_requests

    @accepts_requests.setter
    def accepts_requests(self, value: bool) -> None:
        self.responder.accepts_requests = value

    def heartbeat_age(self) -> float | None:
        """Seconds since Discord last answered a heartbeat; None while not connected."""
        # discord.py shows only how long the last answer took, which does not grow when answers stop.
        heart = getattr(self.ws, "_keep_alive", None)
        if self.is_closed() or heart is None:
            return None
        return time.perf_counter() - float(heart._last_ack)  # noqa: SLF001 - see above

    async def setup_hook(self) -> None:
        if self.application is not None:
            self.access.set_owners(owner_ids(self.application))
        await self.tree.set_translator(self._translator)
        try:
            await self.sync()
        except discord.HTTPException:
            log.exception("Discord does not take our commands; the old ones stay", extra={"event": "sync_failed"})

    async def sync(self, *, force: bool = False) -> bool:
        """Notify Discord our commands where they have changed; whether it was told."""
        known = await self._fingerprint()
        if not force and await self.service.notes.get(SYNCED) == known:
            return False
        await self.tree.sync()
        await self.service.notes.set(SYNCED, known)
        log.info("Discord knows the commands as they are now", extra={"event": "commands_synced"})
        return True

    async def _fingerprint(self) -> str:
        """What of our commands Discord is told, and for which application, in a few letters."""
        payload = [await each.get_translated_payload(self.tree, self._translator) for each in self.tree.get_commands()]
        body = json.dumps([self.application_id, payload], sort_keys=True, default=str)
        return hashlib.sha256(body.encode()).hexdigest()[:32]

    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        await self._router.on_interaction(interaction)

    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Say once how to begin: in the operator's channel if that is here, else to the server's owner.

        The server's channel for system messages is only for an owner who takes no messages: nobody asked us there.
        """
        note = f"welcomed:{guild.id}"
        if await self.service.notes.get(note) is not None:
            return
        await self.service.notes.set(note, str(self.service.clock()))
        ours = guild.get_channel(self._log_channel)
        if isinstance(ours, discord.TextChannel) and await self._welcomed(guild, ours):
            return
        if not await self._welcomed(guild, await self._user(guild.owner_id)):
            await self._welcomed(guild, guild.system_channel)

    async def _welcomed(self, guild: discord.Guild, where: discord.TextChannel | discord.User | None) -> bool:
        if where is None:
            return False
        view = welcome(
            self.texts.for_locale(str(guild.preferred_locale)),
            is_open=self.access.guild_is_open(guild.id, owner_id=guild.owner_id),
            guild_id=guild.id,
            limits=self.service.limits,
        )
        try:
            async with asyncio.timeout(TIMEOUT):
                await where.send(view=view, allowed_mentions=NOBODY)
        except (discord.DiscordException, aiohttp.ClientError, OSError):
            return False
        return True

    async def _user(self, user_id: int | None) -> discord.User | None:
        if user_id is None:
            return None
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self.fetch_user(user_id)
        except (discord.DiscordException, aiohttp.ClientError, OSError):
            return None


def _hosts(catalog: Catalog) -> list[str]:
    endpoints = [found for model in catalog.models.values() for verb in Verb if (found := model.endpoint(verb))]
    return sorted({route.provider for each in endpoints for route in each.routes})
