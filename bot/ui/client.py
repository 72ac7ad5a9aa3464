"""The Discord client: receives events, syncs the commands and passes interactions to their handlers."""

import asyncio
import hashlib
import json
import logging
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import discord
import yarl
from discord import app_commands
from discord.app_commands import TranslationContextTypes, locale_str
from discord.gateway import DiscordWebSocket

from bot.core.errors import UserError
from bot.core.references import is_loopback
from bot.core.shards import ONE, Shards
from bot.store.budgets import Budgets
from bot.ui.application_check import owner_ids
from bot.ui.buttons.router import Router
from bot.ui.cards.notices import welcome
from bot.ui.cards.texts import ENGLISH, Texts
from bot.ui.interactions.access import Access
from bot.ui.interactions.responder import NOBODY, Responder
from bot.ui.messages.requests import MessageRequests
from bot.ui.transport.gateway import keep_close_codes
from bot.ui.transport.identify import IdentifyTurns
from bot.ui.transport.rate_limits import RateLimits
from bot.ui.transport.request_messages import RequestMessage, RequestMessages
from bot.ui.transport.state import State

log = logging.getLogger(__name__)

SYNCED_COMMANDS = "commands"  # key of a note: the fingerprint of the commands that Discord has
COMMAND_IDS = "command_ids"  # key of a note: Discord's ids of the slash commands by name, as JSON
TIMEOUT = 10.0  # seconds
SYNC_RETRY_DELAY = 0.2  # seconds
MAX_RATE_LIMIT_WAIT = 60.0  # seconds; discord.py raises `RateLimited` for longer ones


def connect_to(api_base: str, gateway_url: str, *, rest_proxy: bool = False) -> None:
    """Use other addresses than Discord's; an empty one keeps Discord's.

    Raises `ValueError` for an address without TLS that is not on this machine, unless it is that of a *rest_proxy*.
    discord.py has no option for the addresses, so they are set on its classes.
    """
    for url, secure, plain in ((api_base, "https", rest_proxy), (gateway_url, "wss", False)):
        parts = urlsplit(url)
        if url and parts.scheme != secure and not plain and not is_loopback(parts.hostname or ""):
            raise ValueError(f"{url} must begin with {secure}://")
    if api_base:
        discord.http.Route.BASE = api_base.rstrip("/")
    if gateway_url:
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)


def _heartbeat_age(shard: discord.ShardInfo) -> float | None:
    # The public `latency` is the duration of the last acknowledgement, which does not grow when they stop.
    keep_alive = getattr(shard._parent.ws, "_keep_alive", None)  # noqa: SLF001 - see above
    if shard.is_closed() or keep_alive is None:
        return None
    return time.perf_counter() - float(keep_alive._last_ack)  # noqa: SLF001 - see above


class Tree(app_commands.CommandTree["DarkroomClient"]):
    """The slash commands and the message menu; answers what their own handlers do not see."""

    async def interaction_check(self, interaction: discord.Interaction["DarkroomClient"], /) -> bool:
        """Skip an autocompletion that arrives too late: Discord would reject its choices."""
        completes = interaction.type is discord.InteractionType.autocomplete
        return not (completes and self.client.responder.deadline_passed(interaction))

    async def on_error(
        self, interaction: discord.Interaction["DarkroomClient"], error: app_commands.AppCommandError, /
    ) -> None:
        """Answer errors raised outside our handlers, such as a command that Discord still has and we do not."""
        outdated = UserError("command.outdated")
        cause = error.original if isinstance(error, app_commands.CommandInvokeError) else outdated
        await self.client.responder.report_error(interaction, cause)

    async def _call(self, interaction: discord.Interaction["DarkroomClient"]) -> None:
        """Answer an autocompletion with no choices if discord.py does not answer it, so that Discord does not wait.

        discord.py has no public hook around an autocompletion.
        """
        completes = interaction.type is discord.InteractionType.autocomplete
        try:
            await super()._call(interaction)
        except app_commands.AppCommandError:
            if not completes:
                raise
        if completes and not interaction.response.is_done() and not interaction.command_failed:
            with suppress(discord.DiscordException, aiohttp.ClientError, OSError):
                await interaction.response.autocomplete([])


class CommandTranslator(app_commands.Translator):
    """Translates names and descriptions of commands: the texts below `command`, in every language but English."""

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
    """The handlers of interactions: commands go through the client's tree, buttons and forms through the router."""

    responder: Responder
    router: Router
    messages: MessageRequests


class DarkroomClient(discord.AutoShardedClient):
    """The client; it starts no task of its own and sends nothing before it logs in."""

    def __init__(
        self,
        texts: Texts,
        *,
        access: Access,
        log_channel: int = 0,
        proxy: str | None = None,
        mentions: bool = False,
        message_content: bool = False,
        answers: bool = True,
        shards: Shards | None = ONE,
        budgets: Budgets | None = None,
        rest_proxy: bool = False,
    ) -> None:
        """*log_channel*: the id of the operator's channel, 0 for none. *proxy*: the URL of an HTTP proxy to Discord.

        *answers*: interactions, by the gateway; otherwise the client only sends. *shards*: of the gateway, None for as
        many as Discord recommends. *budgets*: the rate limits of all processes; *rest_proxy*: a proxy keeps them.

        *mentions*: Discord sends messages in servers, with the content of those that mention the bot;
        *message_content*: with the content of all of them.
        """
        rate_limits = RateLimits(budgets, rest_proxy=rest_proxy)
        self._identify = IdentifyTurns(budgets or Budgets())
        self._answers = answers
        self.reads_messages = mentions or message_content
        # discord.py warns about missing voice packages, and has no other way to turn that off.
        discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
        super().__init__(
            intents=discord.Intents(guilds=True, guild_messages=self.reads_messages, message_content=message_content),
            max_messages=None,
            chunk_guilds_at_startup=False,
            member_cache_flags=discord.MemberCacheFlags.none(),
            allowed_mentions=NOBODY,
            max_ratelimit_timeout=MAX_RATE_LIMIT_WAIT,
            proxy=proxy,
            http_trace=rate_limits.trace(),
            shard_count=None if shards is None else shards.count,
            shard_ids=cast(
                "list[int]", None if shards is None else list(shards.ids)
            ),  # discord.py's own default is None
        )
        self._recommended_shards = shards is None
        self._max_concurrency = 1  # identifies in five seconds
        self.rate_limits = rate_limits
        self.texts = texts
        self.access = access
        self.request_messages = RequestMessages(content=message_content)
        if self.reads_messages and isinstance(self._connection, State):
            self._connection.request_messages = self.request_messages
        self.tree = Tree(self)
        self._translator = CommandTranslator(texts)
        self._log_channel = log_channel
        self._interface: Interface | None = None

    def install(self, interface: Interface) -> None:
        """Set the handlers of interactions, once, before the client logs in.

        They cannot be arguments of the constructor: they need the services, which need the delivery of replies, which
        needs a client.
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
        # discord.py creates its cache here; there is no public way to replace it.
        return State(dispatch=self.dispatch, handlers=self._handlers, hooks=self._hooks, http=self.http, **options)

    @property
    def accepts_requests(self) -> bool:
        """Whether new jobs are accepted; other interactions are answered either way."""
        return self.responder.accepts_requests

    def stop_accepting(self) -> None:
        """Refuse new jobs from now on, because the process is about to end."""
        self.responder.stop_accepting()

    def heartbeat_age(self) -> float | None:
        """Seconds since Discord last acknowledged a heartbeat, of the worst shard; None while one is not connected.

        A client that only sends has no heartbeat: 0 while it is logged in.
        """
        if not self._answers:
            return None if self.is_closed() or self.user is None else 0.0
        if self.is_closed() or not self.shards or len(self.shards) < len(self._connection.shard_ids):
            return None
        ages = [_heartbeat_age(each) for each in self.shards.values()]
        return None if None in ages else max(each for each in ages if each is not None)

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:  # noqa: ARG002
        """Wait for an identify of another shard or process, rather than for discord.py's five seconds."""
        await self._identify.identify_turn(shard_id or 0, max_concurrency=self._max_concurrency)

    async def setup_hook(self) -> None:
        keep_close_codes(self)
        if self.application is not None:
            self.access.set_owners(owner_ids(self.application))
        if not self._answers:
            await self._load_commands()
            return
        if self._recommended_shards or (self.shard_count or 1) > 1:
            recommended, _, limits = await self.http.get_bot_gateway()
            self._max_concurrency = limits["max_concurrency"]
            if self._recommended_shards:  # discord.py would use the address of this answer, not the configured one
                self.shard_count = recommended
        if self.reads_messages:
            await self.interface.messages.load()
        await self.tree.set_translator(self._translator)
        try:
            await self._sync_in_turn()
        except discord.HTTPException:
            log.exception("Discord rejected the commands; it keeps the old ones", extra={"event": "sync_failed"})

    async def _load_commands(self) -> None:
        """Take over what Discord calls the commands, which another process has sent, so that cards can name them."""
        if kept := await self.responder.services.notes.get(COMMAND_IDS):
            self.texts.set_commands(json.loads(kept))

    async def _sync_in_turn(self) -> None:
        """Send the commands as `sync` does, after another process that is just doing so."""
        database = self.responder.services.store.database
        with suppress(TimeoutError):
            async with asyncio.timeout(TIMEOUT):
                while not await database.try_lock(SYNCED_COMMANDS):  # noqa: ASYNC110 - another process's lock tells nobody
                    await asyncio.sleep(SYNC_RETRY_DELAY)
        try:
            await self.sync()
        finally:
            await database.unlock(SYNCED_COMMANDS)

    async def sync(self, *, force: bool = False) -> bool:
        """Send the commands to Discord if they have changed, or if *force* is set; whether they were sent."""
        fingerprint = await self._fingerprint()
        notes = self.responder.services.notes
        if not force and await notes.get(SYNCED_COMMANDS) == fingerprint and (kept := await notes.get(COMMAND_IDS)):
            self.texts.set_commands(json.loads(kept))
            return False
        synced = await self.tree.sync()
        ids = {each.name: each.id for each in synced if each.type is discord.AppCommandType.chat_input}
        self.texts.set_commands(ids)
        await notes.set(COMMAND_IDS, json.dumps(ids))
        await notes.set(SYNCED_COMMANDS, fingerprint)
        log.info("The commands were sent to Discord", extra={"event": "commands_synced"})
        return True

    async def _fingerprint(self) -> str:
        """A hash of the commands as sent to Discord and of the application id: 32 hexadecimal digits."""
        payload = [await each.get_translated_payload(self.tree, self._translator) for each in self.tree.get_commands()]
        body = json.dumps([self.application_id, payload], sort_keys=True, default=str)
        return hashlib.sha256(body.encode()).hexdigest()[:32]

    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        await self.interface.router.on_interaction(interaction)

    async def on_request_message(self, request: RequestMessage) -> None:
        await self.interface.messages.handle(request)

    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Send a welcome message once: in the operator's channel if it is in this server, else to the server's owner.

        If the owner accepts no direct messages, it is sent to the server's system channel.
        """
        note_key = f"welcomed:{guild.id}"
        token = secrets.token_hex(8)
        if await self.responder.services.notes.set_if_absent(note_key, token) != token:
            return
        channel = guild.get_channel(self._log_channel)
        if isinstance(channel, discord.TextChannel) and await self._send_welcome(guild, channel):
            return
        if not await self._send_welcome(guild, await self._fetch_user(guild.owner_id)):
            await self._send_welcome(guild, guild.system_channel)

    async def _send_welcome(self, guild: discord.Guild, recipient: discord.TextChannel | discord.User | None) -> bool:
        if recipient is None:
            return False
        view = welcome(
            self.texts.for_locale(str(guild.preferred_locale)),
            is_open=self.access.guild_is_open(guild.id, owner_id=guild.owner_id),
            guild_id=guild.id,
            limits=self.responder.services.limits,
        )
        try:
            async with asyncio.timeout(TIMEOUT):
                await recipient.send(view=view, allowed_mentions=NOBODY)
        except (discord.DiscordException, aiohttp.ClientError, OSError):
            return False
        return True

    async def _fetch_user(self, user_id: int | None) -> discord.User | None:
        if user_id is None:
            return None
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self.fetch_user(user_id)
        except (discord.DiscordException, aiohttp.ClientError, OSError):
            return None
