"""The bot's connection to Discord: which events it takes, and who answers them."""

import asyncio
import hashlib
import json
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import discord
import yarl
from discord import app_commands
from discord.app_commands import TranslationContextTypes, locale_str
from discord.gateway import DiscordWebSocket

from bot.core.errors import UserError
from bot.core.references import is_loopback
from bot.ui.application_check import owner_ids
from bot.ui.buttons.router import Router
from bot.ui.cards.notices import welcome
from bot.ui.cards.texts import ENGLISH, Texts
from bot.ui.interactions.access import Access
from bot.ui.interactions.responder import NOBODY, Responder
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


@dataclass(frozen=True, slots=True)
class Interface:
    """What answers interactions: commands through the client's tree, buttons and forms through the router."""

    responder: Responder
    router: Router


class DarkroomClient(discord.Client):
    """Everything it needs is handed in; it starts no task of its own and does nothing before it logs in."""

    def __init__(self, texts: Texts, *, access: Access, log_channel: int = 0, proxy: str | None = None) -> None:
        """*log_channel*: the operator's channel, 0 where there is none. *proxy*: an HTTP proxy to reach Discord."""
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
        self.texts = texts
        self.access = access
        self.tree = Tree(self)
        self._translator = Translated(texts)
        self._log_channel = log_channel
        self._interface: Interface | None = None

    def install(self, interface: Interface) -> None:
        """Set what answers interactions, once, before the client logs in.

        It cannot be an argument of the constructor: what answers needs the services, these need the delivery of
        replies, and that needs a client.
        """
        self._interface = interface

    @property
    def interface(self) -> Interface:
        assert self._interface is not None, "install() comes before the login"
        return self._interface

    @property
    def responder(self) -> Responder:
        return self.interface.responder

    def _get_state(self, **options: Any) -> State:
        return State(dispatch=self.dispatch, handlers=self._handlers, hooks=self._hooks, http=self.http, **options)

    @property
    def accepts_requests(self) -> bool:
        """Whether new jobs are accepted; other interactions are answered either way."""
        return self.responder.accepts_requests

    def stop_accepting(self) -> None:
        """Refuse new jobs from now on, because the process is about to end."""
        self.responder.stop_accepting()

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
        if not force and await self.responder.services.notes.get(SYNCED) == known:
            return False
        await self.tree.sync()
        await self.responder.services.notes.set(SYNCED, known)
        log.info("Discord knows the commands as they are now", extra={"event": "commands_synced"})
        return True

    async def _fingerprint(self) -> str:
        """What of our commands Discord is told, and for which application, in a few letters."""
        payload = [await each.get_translated_payload(self.tree, self._translator) for each in self.tree.get_commands()]
        body = json.dumps([self.application_id, payload], sort_keys=True, default=str)
        return hashlib.sha256(body.encode()).hexdigest()[:32]

    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        await self.interface.router.on_interaction(interaction)

    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Say once how to begin: in the operator's channel if that is here, else to the server's owner.

        The server's channel for system messages is only for an owner who takes no messages: nobody asked us there.
        """
        note = f"welcomed:{guild.id}"
        if await self.responder.services.notes.get(note) is not None:
            return
        await self.responder.services.notes.set(note, str(self.responder.services.clock()))
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
            limits=self.responder.services.limits,
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
