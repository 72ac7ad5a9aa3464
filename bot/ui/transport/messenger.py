"""Sends cards to Discord by interaction token, by channel or as a new message: `Messenger` of `bot.jobs.delivery`.

Longer than other files: each path of a reply, with the errors that it can end in, is read beside the others.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import discord
from discord import ui
from discord.webhook.async_ import async_context

from bot.core.cards import Card, Reply, ReplyPath
from bot.core.clock import Clock
from bot.core.errors import DeliverLater, RateLimitReached
from bot.core.jobs import MINUTE
from bot.core.preferences import Notify
from bot.jobs.delivery import Upload
from bot.ui.cards.job import announcement, ended_notice, job_ended_without, render
from bot.ui.cards.texts import Texts
from bot.ui.transport.errors import (
    ADDRESS_BLOCK_TIMEOUT,
    DISCORD_ERRORS,
    MISSING_ACCESS,
    THREAD_ARCHIVED,
    TOKEN_INVALID,
    UNKNOWN_INTERACTION,
    UNKNOWN_MESSAGE,
    UNKNOWN_WEBHOOK,
    classify_error,
    is_address_blocked,
    retry_after,
)
from bot.ui.transport.rate_limits import RateLimits
from bot.ui.transport.shown_cards import ShownCards, digest_of
from bot.ui.transport.threads import ThreadOpener

log = logging.getLogger(__name__)

NOBODY = discord.AllowedMentions.none()
TIMEOUT = 60.0  # seconds for one request, uploads included
FIND_TIMEOUT = 10.0  # seconds
FIRST_CARD_TIMEOUT = 8.0  # seconds; the worker looks for a missing card for at least as long
NONCE_LENGTH = 25  # characters, Discord's limit
EPHEMERAL = discord.MessageFlags.ephemeral.flag
HISTORY_LIMIT = 50  # messages
DIRECT_MESSAGE_RETRY_DELAY = 300.0  # seconds
NONCE_LIFETIME = 2 * MINUTE  # Discord's docs: a nonce is checked for "the past few minutes"
NO_REPLY_CODES = frozenset({UNKNOWN_MESSAGE, UNKNOWN_WEBHOOK, UNKNOWN_INTERACTION, TOKEN_INVALID})


@dataclass(frozen=True, slots=True)
class _Message:
    card: Card
    reply: Reply
    view: ui.LayoutView
    uploads: Sequence[Upload]

    @property
    def final(self) -> bool:
        return self.card.job.state.is_final


class DiscordMessenger:
    def __init__(self, client: discord.Client, texts: Texts, *, limits: RateLimits, clock: Clock) -> None:
        self._client = client
        self._texts = texts
        self._limits = limits
        self._clock = clock
        self._shown = ShownCards()
        self._threads = ThreadOpener(client, limits=limits)
        self._blocked_until = 0

    def delay(self, reply: Reply, *, path: ReplyPath, final: bool) -> float:
        """Seconds until a card should be sent by *path*, so that Discord's limit of that path is not used up."""
        return self._limits.delay(_route(reply, path), final=final)

    async def send(self, card: Card, reply: Reply, *, path: ReplyPath, uploads: Sequence[Upload]) -> int:
        """Show *card* on *path* and return the message's id; raises only the delivery errors of `bot.core.errors`."""
        self._check_available()
        view = self._render(card, reply, uploads=uploads)
        digest = None if card.job.state.is_final else digest_of(view, reply)
        if digest is not None and reply.message_id is not None and self._shown.shows(reply.message_id, digest):
            return reply.message_id
        route = _route(reply, path)
        if (delay := self._limits.delay(route, final=card.job.state.is_final)) > 0:
            raise RateLimitReached(delay)
        try:
            async with asyncio.timeout(TIMEOUT):
                with self._limits.sending(route):
                    message_id = await self._send(_Message(card, reply, view, uploads), path)
        except DISCORD_ERRORS as exc:
            self._note_block(exc)
            raise classify_error(exc, path=path, reply=reply, now=self._clock(), files=bool(uploads)) from exc
        if digest is None:
            self._shown.forget(message_id)
        else:
            self._shown.remember(message_id, digest)
        return message_id

    async def answer_message(self, card: Card, reply: Reply) -> int:
        """Post the first card of a request by message, as a reply to that message, and return the new message's id.

        `DeliverLater` where it is not known whether Discord shows it; any other delivery error means that it does not.
        """
        self._check_available()
        view = self._render(card, reply, uploads=())
        try:
            async with asyncio.timeout(FIRST_CARD_TIMEOUT):
                with self._limits.sending(_route(reply, ReplyPath.POST)):
                    await self._limits.wait_for_token(final=True)
                    posted = await self._channel(reply).send(
                        view=view, reference=_request_of(reply), nonce=_first_nonce(reply), allowed_mentions=NOBODY
                    )
        except DISCORD_ERRORS as exc:
            self._note_block(exc)
            raise classify_error(exc, path=ReplyPath.POST, reply=reply, now=self._clock(), files=False) from exc
        self._shown.remember(posted.id, digest_of(view, reply))
        return posted.id

    async def delete(self, reply: Reply, *, path: ReplyPath) -> None:
        """Delete the reply's message by *path*; raises only the delivery errors of `bot.core.errors`."""
        self._check_available()
        assert reply.message_id is not None
        try:
            async with asyncio.timeout(TIMEOUT):
                if path is ReplyPath.TOKEN:
                    await self._webhook(reply).delete_message(reply.message_id)
                else:
                    await self._limits.wait_for_token(final=True)
                    await self._channel(reply).get_partial_message(reply.message_id).delete()
        except DISCORD_ERRORS as exc:
            self._note_block(exc)
            raise classify_error(exc, path=path, reply=reply, now=self._clock(), files=False) from exc
        self._shown.forget(reply.message_id)

    async def delete_copy(self, *, channel_id: int, message_id: int) -> None:
        """Delete a message of ours; raises `DeliverLater` only, what cannot be deleted is logged."""
        self._check_available()
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._limits.wait_for_token(final=True)
                await self._client.get_partial_messageable(channel_id).get_partial_message(message_id).delete()
        except DISCORD_ERRORS as exc:
            self._note_block(exc)
            if not isinstance(exc, discord.HTTPException) or exc.status == 429 or exc.status >= 500:
                raise DeliverLater(str(exc), retry_after=None) from exc
            log.info("A copy cannot be deleted: %s", exc, extra={"event": "copy_kept", "message_id": message_id})

    async def open_thread(self, card: Card, reply: Reply, *, message_id: int) -> None:
        """Open a thread on the card's message; a refusal is only logged."""
        try:
            await self._threads.open(card.job.request.prompt, channel_id=reply.channel_id, message_id=message_id)
        except DISCORD_ERRORS as exc:
            extra = {"event": "thread_refused", "job_id": reply.job_id}
            log.info("A thread could not be opened: %s", exc, extra=extra)

    async def notify(self, card: Card, reply: Reply) -> bool:
        """Send the member a direct message about how the job ended; False if they do not accept any from the bot.

        Raises `DeliverLater` if it may succeed later.
        """
        self._check_available()
        view = ended_notice(card, self._texts.for_locale(reply.locale), channel_id=reply.channel_id)
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._limits.wait_for_token(final=False)
                direct = await self._client.create_dm(discord.Object(card.job.place.user_id))
                await self._limits.wait_for_token(final=False)
                await direct.send(view=view, nonce=_nonce(reply), allowed_mentions=NOBODY)
        except DISCORD_ERRORS as exc:
            self._note_block(exc)
            error = classify_error(exc, path=ReplyPath.POST, reply=reply, now=self._clock(), files=False)
            if isinstance(error, DeliverLater):
                raise error from exc
            # Discord sometimes answers MISSING_ACCESS and accepts the same message minutes later.
            if getattr(exc, "code", 0) == MISSING_ACCESS and not reply.attempts:
                raise DeliverLater(str(error), retry_after=DIRECT_MESSAGE_RETRY_DELAY) from exc
            return False
        return True

    async def announce(self, card: Card, reply: Reply, *, by: Notify) -> None:
        """Tell the member once that their job has ended; what cannot be sent is only logged.

        A mention is an ephemeral follow-up as long as the token lives, then an answer to the public reply. Of a job
        without pictures the follow-up is the whole card, with its words and the reason.
        """
        member, words, whole = card.job.place.user_id, self._texts.for_locale(reply.locale), job_ended_without(card)
        view = announcement(card, words, reply=reply)
        mention = discord.AllowedMentions(everyone=False, roles=False, users=[discord.Object(member)])
        try:
            async with asyncio.timeout(TIMEOUT):
                if whole and reply.token_lives(self._clock()):
                    view = render(replace(card, private=True), words, now=self._clock())
                    await self._webhook(reply).send(view=view, ephemeral=True, allowed_mentions=NOBODY)
                elif by is Notify.OFF:
                    return
                elif by is Notify.DIRECT:
                    await self._limits.wait_for_token(final=False)
                    direct = await self._client.create_dm(discord.Object(member))
                    await self._limits.wait_for_token(final=False)
                    await direct.send(view=view, allowed_mentions=NOBODY)
                elif reply.token_lives(self._clock()):
                    await self._webhook(reply).send(view=view, ephemeral=True, allowed_mentions=mention)
                elif reply.bot_can_post and not reply.ephemeral and reply.message_id is not None:
                    await self._limits.wait_for_token(final=False)
                    channel = self._channel(reply)
                    answered = channel.get_partial_message(reply.message_id)
                    await channel.send(view=view, reference=answered, mention_author=False, allowed_mentions=mention)
        except DISCORD_ERRORS as exc:
            self._note_block(exc)
            log.info("A member could not be told of an ended job", extra={"event": "not_announced", "why": str(exc)})

    async def find(self, reply: Reply) -> tuple[int, bool] | None:
        """Look up a reply by its token: its message id and whether it is ephemeral, or None if there is none.

        Raises `DeliverLater` if Discord cannot be asked. A reply with an expired token is never found. The reply to a
        message is looked for among the messages that follow it.
        """
        if reply.request_message is not None:
            return await self._find_after_request(reply)
        if not reply.token_lives(self._clock()):
            return None
        self._check_available()
        try:
            async with asyncio.timeout(FIND_TIMEOUT):
                # As `Interaction.original_response` does; after a restart there is no `Interaction` to call it on.
                webhook = self._webhook(reply)
                message = await async_context.get().get_original_interaction_response(
                    reply.application_id, reply.token or "", session=webhook.session, proxy=webhook.proxy
                )
        except DISCORD_ERRORS as exc:
            self._note_block(exc)
            if isinstance(exc, discord.HTTPException) and (exc.code in NO_REPLY_CODES or exc.status == 404):
                return None
            raise DeliverLater(f"{type(exc).__name__}: {exc}", retry_after=None) from exc
        if not any(f":{reply.job_id}:" in each for each in _raw_custom_ids(message.get("components", []))):
            return None  # the interaction was answered with something else, such as a refusal
        return int(message["id"]), bool(message.get("flags", 0) & EPHEMERAL)

    async def _find_after_request(self, reply: Reply) -> tuple[int, bool] | None:
        self._check_available()
        after = discord.Object(reply.request_message or 0)
        try:
            async with asyncio.timeout(FIND_TIMEOUT):
                await self._limits.wait_for_token(final=True)
                async for each in self._channel(reply).history(limit=HISTORY_LIMIT, after=after):
                    if _shows_job(each, reply.job_id, author=self._client.user):
                        return each.id, False
        except (discord.Forbidden, discord.NotFound):
            return None
        except DISCORD_ERRORS as exc:
            self._note_block(exc)
            raise DeliverLater(f"{type(exc).__name__}: {exc}", retry_after=None) from exc
        return None

    def _render(self, card: Card, reply: Reply, *, uploads: Sequence[Upload]) -> ui.LayoutView:
        names = [each.name for each in uploads]
        return render(card, self._texts.for_locale(reply.locale), files=names, now=self._clock())

    async def _send(self, message: "_Message", path: ReplyPath) -> int:
        match path:
            case ReplyPath.TOKEN:
                return await self._edit_by_token(message)
            case ReplyPath.CHANNEL:
                return await self._edit_by_channel(message)
            case ReplyPath.POST:
                return await self._post_new_message(message)

    async def _edit_by_token(self, message: "_Message") -> int:
        reply = message.reply
        assert reply.message_id is not None
        edited = await self._webhook(reply).edit_message(
            reply.message_id, view=message.view, attachments=files_of(message.uploads), allowed_mentions=NOBODY
        )
        return edited.id

    async def _edit_by_channel(self, message: "_Message") -> int:
        """Edit the reply in its channel. For an ended job an archived thread is reopened, as a new message would."""
        try:
            return await self._edit_in_channel(message)
        except discord.HTTPException as exc:
            if exc.code != THREAD_ARCHIVED or not message.final:
                raise
        await self._limits.wait_for_token(final=message.final)
        await self._client.http.edit_channel(message.reply.channel_id, archived=False)  # a partial one has no `edit`
        view = self._render(message.card, message.reply, uploads=message.uploads)  # a new one for each request
        return await self._edit_in_channel(replace(message, view=view))

    async def _edit_in_channel(self, message: "_Message") -> int:
        reply = message.reply
        assert reply.message_id is not None
        await self._limits.wait_for_token(final=message.final)
        partial = self._channel(reply).get_partial_message(reply.message_id)
        return (
            await partial.edit(view=message.view, attachments=files_of(message.uploads), allowed_mentions=NOBODY)
        ).id  # fmt: skip

    async def _post_new_message(self, message: "_Message") -> int:
        """Post the card as a new message, and delete the outdated one that could not be edited."""
        reply = message.reply
        message_id = await self._post(message)
        if reply.message_id is not None and message_id != reply.message_id:
            with suppress(*DISCORD_ERRORS):
                await self._limits.wait_for_token(final=False)
                await self._channel(reply).get_partial_message(reply.message_id).delete()
        return message_id

    async def _post(self, message: "_Message") -> int:
        reply = message.reply
        # Within its lifetime the nonce prevents a duplicate. Later a killed attempt may have posted the card already.
        nonce_expired = self._clock() - (message.card.job.ended_at or 0) > NONCE_LIFETIME
        if (reply.attempts or nonce_expired) and (earlier := await self._find_earlier_post(reply)) is not None:
            return earlier
        options: dict[str, Any] = {} if reply.request_message is None else {"reference": _request_of(reply)}
        await self._limits.wait_for_token(final=message.final)
        posted = await self._channel(reply).send(
            view=message.view,
            files=files_of(message.uploads),
            nonce=_nonce(reply),
            allowed_mentions=NOBODY,
            **options,
        )
        message_id: int = posted.id
        return message_id

    async def _find_earlier_post(self, reply: Reply) -> int | None:
        """The id of a message about the job that an unanswered attempt has posted in the channel."""
        await self._limits.wait_for_token(final=True)
        try:
            async for each in self._channel(reply).history(limit=HISTORY_LIMIT):
                if each.id != reply.message_id and _shows_job(each, reply.job_id, author=self._client.user):
                    return each.id
        except discord.Forbidden:
            return None
        return None

    def _webhook(self, reply: Reply) -> discord.Webhook:
        assert reply.token is not None
        webhook = discord.Webhook.partial(reply.application_id, reply.token, client=self._client)
        webhook.proxy = self._client.http.proxy  # `partial` has no parameter for it
        webhook.type = discord.WebhookType.application  # or it sends no ephemeral message
        return webhook

    def _channel(self, reply: Reply) -> discord.PartialMessageable:
        return self._client.get_partial_messageable(reply.channel_id, guild_id=reply.guild_id)

    def _check_available(self) -> None:
        """Raise `DeliverLater` while the client is not logged in, or while Discord blocks our IP address."""
        if self._client.is_closed() or self._client.user is None:
            raise DeliverLater("not logged in to Discord")
        remaining = (self._blocked_until - self._clock()) / 1000
        if remaining > 0:
            raise DeliverLater("Discord blocks requests from this address", retry_after=remaining)

    def _note_block(self, exc: Exception) -> None:
        if isinstance(exc, discord.HTTPException) and is_address_blocked(exc):
            seconds = retry_after(exc) or ADDRESS_BLOCK_TIMEOUT
            self._blocked_until = self._clock() + int(seconds * 1000)
            extra = {"event": "discord_shut", "seconds": round(seconds)}
            log.warning("Discord blocks requests from this address", extra=extra)


def _route(reply: Reply, path: ReplyPath) -> str:
    """As `route_of` names it."""
    match path:
        case ReplyPath.TOKEN:
            return f"PATCH webhooks {reply.application_id} {reply.token} messages"
        case ReplyPath.CHANNEL:
            return f"PATCH channels {reply.channel_id} messages"
        case ReplyPath.POST:
            return f"POST channels {reply.channel_id} messages"


def _nonce(reply: Reply) -> str:
    return reply.job_id[-NONCE_LENGTH:]  # of 26 characters; the first is the most significant of the time, always 0


def _first_nonce(reply: Reply) -> str:
    """Another one than that of a message which replaces the first card."""
    return f"m{_nonce(reply)[1:]}"


def _request_of(reply: Reply) -> discord.MessageReference:
    """The message that requested; a card is posted even if it was deleted."""
    assert reply.request_message is not None
    return discord.MessageReference(
        message_id=reply.request_message,
        channel_id=reply.channel_id,
        guild_id=reply.guild_id,
        fail_if_not_exists=False,
    )


def _raw_custom_ids(components: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The custom ids in a message's components, as raw JSON."""
    for each in components:
        yield str(each.get("custom_id", ""))
        yield from _raw_custom_ids(each.get("components", []))


def files_of(uploads: Sequence[Upload]) -> list[discord.File]:
    """New `discord.File` objects for one request; discord.py sends a used one as zero bytes, without an error."""
    return [discord.File(BytesIO(each.data), filename=each.name) for each in uploads]


def _shows_job(message: discord.Message, job_id: str, *, author: discord.abc.User | None) -> bool:
    if author is None or message.author.id != author.id:
        return False
    return any(f":{job_id}:" in custom_id for custom_id in _custom_ids(message.components))


def _custom_ids(components: Sequence[object]) -> list[str]:
    ids: list[str] = []
    for each in components:
        ids += [getattr(each, "custom_id", None) or "", *_custom_ids(getattr(each, "children", ()))]
    return ids
