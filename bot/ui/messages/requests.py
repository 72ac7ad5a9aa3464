"""Turns messages that mention the bot into jobs, in channels for requests and threads of results, or refuses them."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import discord

from bot.core.cards import Card, Reply
from bot.core.errors import ContentBlocked, DeliverLater, MessageGone, PathClosed, TooLarge, UserError
from bot.core.jobs import MINUTE, Place, Verb, message_address
from bot.core.prompt_flags import apply_flags
from bot.core.references import result_of
from bot.core.request_draft import InteractionContext, RequestDraft
from bot.core.server_settings import ServerSettings, default_model
from bot.jobs.changes import Topic
from bot.jobs.requests import OVERLOADED
from bot.store.queries import JobRecord
from bot.store.store import AlreadySeen
from bot.ui.cards.notices import ignored_flags, public_refusal, short
from bot.ui.cards.texts import Words
from bot.ui.interactions.responder import NOBODY, Responder
from bot.ui.interactions.result_links import ResultLinks
from bot.ui.transport.channels import bot_permissions
from bot.ui.transport.errors import DISCORD_ERRORS
from bot.ui.transport.rate_limits import RateLimits
from bot.ui.transport.request_messages import RequestMessage, RequestMessages

log = logging.getLogger(__name__)

MAX_ACTIVE = 100  # messages that are worked on; more are dropped, as a flood is nobody's request
TIMEOUT = 30.0  # seconds for one message
TOLD_EVERY = MINUTE  # a member is told at most once in it why something was refused
MAX_TOLD = 1000  # members that are remembered, from which earlier ones are removed
SHOWN_FOR = 30.0  # seconds that a refusal is shown, so that channels do not fill up
CHECK_EVERY = MINUTE  # how often a server's settings are read for mentions in channels that are not for requests
MAX_WAIT = 10.0  # seconds until Discord lets the bot post in the channel
BLOCKED = "blocked."
BLOCKED_EMOJI = "🚫"
READ_HISTORY = "read_message_history"

AnswerMessage = Callable[[Card, Reply], Awaitable[int]]  # `DiscordMessenger.answer_message`


class MessageRequests:
    """Handles the messages that `RequestMessages` lets through."""

    def __init__(
        self,
        client: discord.Client,
        responder: Responder,
        *,
        messages: RequestMessages,
        answer_message: AnswerMessage,
        links: ResultLinks,
        limits: RateLimits,
    ) -> None:
        self._client = client
        self._responder = responder
        self._services = responder.services
        self._messages = messages
        self._answer_message = answer_message
        self._links = links
        self._limits = limits
        self._active = 0
        self._told_at: dict[tuple[int, int], int] = {}  # by server and user, UTC milliseconds
        self._checked_at: dict[int, int] = {}  # by server, UTC milliseconds
        self._removals: set[asyncio.Task[None]] = set()

    async def load(self) -> None:
        """Read the channels for requests of all servers, which other processes may change."""
        self._services.changes.on(Topic.GENERATION, lambda value: self._messages.set_server(*value))
        self._services.changes.on_reread(self._read)
        await self._read()

    async def _read(self) -> None:
        self._messages.set_all(await self._services.store.generation_channels())

    async def handle(self, request: RequestMessage) -> None:
        """Work on one message; errors are answered or logged."""
        if self._active >= MAX_ACTIVE:
            return
        self._active += 1
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._handle(request)
        except Exception as exc:  # noqa: BLE001 - one message's error is answered here
            await self._refuse(request, self._error_of(exc))
        finally:
            self._active -= 1

    async def _handle(self, request: RequestMessage) -> None:
        place = self._place(request)
        if await self._is_for_requests(request):
            draft = await self._draft(request)
        else:
            thread = await self._services.threads.state(request.channel_id) if self._may_be_thread(request) else None
            if thread is None:
                return
            place = replace(place, parent_id=thread.root.place.channel_id)
            draft = await self._edit_in_thread(request, thread.next)
        if draft is not None:
            await self._submit(request, await self._with_flags(draft, place), place=place)

    def _may_be_thread(self, request: RequestMessage) -> bool:
        """Whether a mention is in a thread; a channel that is not in the cache may be one."""
        guild = self._guild(request)
        channel = guild.get_channel_or_thread(request.channel_id) if guild is not None else None
        return request.mentioned and (channel is None or isinstance(channel, discord.Thread))

    async def _is_for_requests(self, request: RequestMessage) -> bool:
        """Whether the channel is one for requests; what another process has changed is noticed after a while."""
        now, server = self._responder.clock(), request.guild_id
        if not self._messages.has(request.channel_id):
            if now - self._checked_at.get(server, -CHECK_EVERY) < CHECK_EVERY:
                return False
            self._checked_at[server] = now
        settings = await self._settings(self._place(request))
        if self._messages.has(request.channel_id) != (request.channel_id in settings.generation):
            self._messages.set_server(server, settings.generation)
        return request.channel_id in settings.generation

    async def _settings(self, place: Place) -> ServerSettings:
        return await self._services.requests.server_settings(place)

    # --- the request

    async def _draft(self, request: RequestMessage) -> RequestDraft | None:
        """The request: the words with the pictures of the message, and of the one that it replies to.

        None for a message without words that does not mention the bot.
        """
        if not request.words and not request.mentioned:
            return None
        pictures = list(await self._responder.pictures_of(request.message))
        parent_id, source = None, None
        if (replied_to := request.replied_to) is not None:
            earlier = await self._responder.pictures_of(replied_to)
            pictures += earlier
            if earlier:
                source = message_address(request.guild_id, request.channel_id, replied_to.id)
            if earlier and replied_to.author.id == self._responder.bot_id:
                parent_id = (result_of(earlier[0].filename) or (None, 0))[0]
        verb = Verb.EDIT if pictures else Verb.IMAGINE
        return RequestDraft(
            verb=verb, prompt=request.words, references=tuple(pictures), parent_id=parent_id, source=source
        )

    async def _edit_in_thread(self, request: RequestMessage, record: JobRecord) -> RequestDraft:
        """An edit of the thread's newest result, or of the pictures that the message replies to."""
        if request.replied_to is not None and await self._responder.pictures_of(request.replied_to):
            replying = await self._draft(request)
            assert replying is not None  # it mentions the bot
            return replying
        shown = (await self._links.of([record])).get(record.job.id, ())
        if not shown:
            raise UserError("references.unreadable_result")
        source = record.reply.address
        draft = self._services.drafts.edit(record.job, shown[0], prompt=request.words, source=source)
        added = await self._responder.pictures_of(request.message)
        return replace(draft, references=(*draft.references, *added))

    async def _with_flags(self, draft: RequestDraft, place: Place) -> RequestDraft:
        offered, settings = self._services.offered, await self._settings(place)
        model = draft.model or default_model(settings, offered, draft.verb)
        return apply_flags(draft, offered, model=model)

    async def _submit(self, request: RequestMessage, draft: RequestDraft, *, place: Place) -> None:
        """Turn *draft* into a job whose card is a reply to the message."""
        responder, requests = self._responder, self._services.requests
        await responder.check_server(request.guild_id, user_id=place.user_id)
        if not responder.accepts_requests:
            raise UserError("busy")
        requests.check_permissions(place, self._permissions(request).value, private=False)
        if draft.references:
            await responder.check_references_of(draft, place)
        await self._wait_for_channel(request.channel_id)
        try:
            card = await requests.accept(self._context(request, place), draft)
        except AlreadySeen:  # Discord delivered the message twice
            return
        await self._show(card)
        if draft.ignored_flags or draft.overridden_flags:
            ignored, overridden = draft.ignored_flags, draft.overridden_flags
            await self._tell(request, ignored_flags(self._words(request), ignored=ignored, overridden=overridden))

    async def _show(self, card: Card) -> None:
        """Post the card and record that Discord shows it. If that is not known, the worker looks for it."""
        job_id = card.job.id
        record = await self._services.store.job_record(job_id)
        assert record is not None
        try:
            message_id = await self._answer_message(card, record.reply)
        except DeliverLater as exc:
            extra = {"event": "ack_unknown", "job_id": job_id}
            log.info("It is unknown whether Discord shows a card: %s", exc, extra=extra)
        except (PathClosed, ContentBlocked, MessageGone, TooLarge) as exc:
            log.info("Discord did not show a card: %s", exc, extra={"event": "ack_failed", "job_id": job_id})
            await self._services.requests.unacknowledged(job_id)
            raise UserError("discord.forbidden") from exc
        else:
            await self._responder.record_acknowledgement(job_id, message_id=message_id, ephemeral=False)

    async def _wait_for_channel(self, channel_id: int) -> None:
        """Wait until Discord's limit lets the bot post in the channel; `UserError` where that takes too long."""
        route = f"POST channels {channel_id} messages"
        waited = 0.0
        while (delay := self._limits.delay(route, final=True)) > 0:
            if waited + delay > MAX_WAIT:
                raise UserError(OVERLOADED)
            waited += delay
            await asyncio.sleep(delay)

    # --- where it comes from

    def _guild(self, request: RequestMessage) -> discord.Guild | None:
        return self._client.get_guild(request.guild_id)

    def _place(self, request: RequestMessage) -> Place:
        guild = self._guild(request)
        channel = guild.get_channel_or_thread(request.channel_id) if guild is not None else None
        return Place(
            user_id=request.message.author.id,
            channel_id=request.channel_id,
            guild_id=request.guild_id,
            parent_id=channel.parent_id if isinstance(channel, discord.Thread) else None,
            roles=(request.guild_id, *request.roles),  # `@everyone` has the server's id
        )

    def _permissions(self, request: RequestMessage) -> discord.Permissions:
        """The bot's permissions in the channel; `UserError` without the one that a reply needs."""
        permissions = bot_permissions(self._guild(request), request.channel_id)
        if not permissions.read_message_history:
            raise UserError("place.permissions", missing=(READ_HISTORY,))
        return permissions

    def _context(self, request: RequestMessage, place: Place) -> InteractionContext:
        guild, permissions = self._guild(request), self._permissions(request)
        channel = guild.get_channel(request.channel_id) if guild is not None else None
        is_text = isinstance(channel, discord.TextChannel) and channel.type is discord.ChannelType.text
        return InteractionContext(
            interaction_id=request.message.id,
            application_id=self._client.application_id or 0,
            token="",
            received_at=self._responder.clock(),
            place=place,
            locale=self._words(request).locale,
            filesize_limit=guild.filesize_limit if guild is not None else discord.utils.DEFAULT_FILE_SIZE_LIMIT_BYTES,
            bot_can_edit=True,
            bot_can_post=True,
            app_permissions=permissions.value,
            can_open_thread=is_text and permissions.create_public_threads,
            request_message=request.message.id,
        )

    def _words(self, request: RequestMessage) -> Words:
        """The server's language: a message does not say its author's."""
        guild = self._guild(request)
        return self._responder.texts.for_locale(str(guild.preferred_locale) if guild is not None else "en")

    # --- refusals

    def _error_of(self, exc: Exception) -> UserError:
        if isinstance(exc, UserError):
            return exc
        if isinstance(exc, TimeoutError):
            return UserError("busy")
        if (outage := self._services.outages.seen(exc)) is not None:
            return UserError("outage", outage=outage.value)
        reference = secrets.token_hex(4)
        extra = {"event": "message_failed", "reference": reference}
        log.error("A request by message could not be handled", exc_info=exc, extra=extra)
        return UserError("internal", reference=reference)

    async def _refuse(self, request: RequestMessage, error: UserError) -> None:
        """Say why in one sentence that is soon deleted; a blocked member only gets a reaction."""
        log.info("A request by message was refused", extra={"event": "message_refused", "key": error.key})
        if error.key.startswith(BLOCKED):
            if self._may_tell(request):
                with suppress(*DISCORD_ERRORS):
                    await self._limits.wait_for_token(final=False)
                    await request.message.add_reaction(BLOCKED_EMOJI)
            return
        text = public_refusal(error, self._words(request), user_id=request.message.author.id)
        await self._tell(request, short(text))

    def _may_tell(self, request: RequestMessage) -> bool:
        """Whether this member was told nothing in the last minute; from now on they were."""
        now, key = self._responder.clock(), (request.guild_id, request.message.author.id)
        if now - self._told_at.get(key, -TOLD_EVERY) < TOLD_EVERY:
            return False
        if len(self._told_at) >= MAX_TOLD:
            self._told_at = {each: at for each, at in self._told_at.items() if now - at < TOLD_EVERY}
        self._told_at[key] = now
        return True

    async def _tell(self, request: RequestMessage, view: discord.ui.LayoutView) -> None:
        """Reply to the message for a while."""
        if not self._may_tell(request):
            return
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._limits.wait_for_token(final=False)
                told = await request.message.channel.send(
                    view=view,
                    reference=request.message.to_reference(fail_if_not_exists=False),
                    silent=True,
                    allowed_mentions=NOBODY,
                )
        except DISCORD_ERRORS as exc:
            log.info("A refusal could not be shown: %s", exc, extra={"event": "refusal_lost"})
            return
        removal = asyncio.create_task(self._remove(told))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    async def _remove(self, message: discord.Message) -> None:
        await asyncio.sleep(SHOWN_FOR)
        with suppress(*DISCORD_ERRORS):
            await self._limits.wait_for_token(final=False)
            await message.delete()
