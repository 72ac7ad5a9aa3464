"""Sends cards to Discord by interaction token, by channel or as a new message: `Messenger` of `bot.jobs.delivery`."""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from typing import Any

import discord
from discord import ui
from discord.webhook.async_ import async_context

from bot.core.cards import Card, Reply, ReplyPath
from bot.core.clock import Clock
from bot.core.errors import DeliverLater
from bot.core.jobs import MINUTE
from bot.jobs.delivery import Upload
from bot.ui.cards.job import ended_notice, render
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

log = logging.getLogger(__name__)

NOBODY = discord.AllowedMentions.none()
TIMEOUT = 60.0  # seconds for one request, uploads included
FIND_TIMEOUT = 10.0  # seconds
REQUESTS_PER_SECOND = 45  # Discord's limit for a bot is 50; routes of interactions are not counted
NONCE_LENGTH = 25  # characters, Discord's limit
EPHEMERAL = discord.MessageFlags.ephemeral.flag
HISTORY_LIMIT = 50  # messages
DIRECT_MESSAGE_RETRY_DELAY = 300.0  # seconds
NONCE_LIFETIME = 2 * MINUTE  # Discord's docs: a nonce is checked for "the past few minutes"
NO_REPLY_CODES = frozenset({UNKNOWN_MESSAGE, UNKNOWN_WEBHOOK, UNKNOWN_INTERACTION, TOKEN_INVALID})


class Pacer:
    """Spaces requests made with the bot's token evenly, below Discord's global rate limit."""

    def __init__(self, per_second: int = REQUESTS_PER_SECOND) -> None:
        self._gap = 1 / per_second
        self._next = 0.0

    async def wait_turn(self) -> None:
        """Wait until the next request may be sent."""
        now = asyncio.get_running_loop().time()
        at = max(now, self._next)
        self._next = at + self._gap
        await asyncio.sleep(at - now)


class DiscordMessenger:
    def __init__(self, client: discord.Client, texts: Texts, *, clock: Clock) -> None:
        self._client = client
        self._texts = texts
        self._clock = clock
        self._pacer = Pacer()
        self._blocked_until = 0

    async def send(self, card: Card, reply: Reply, *, path: ReplyPath, uploads: Sequence[Upload]) -> int:
        """Show *card* on *path* and return the message's id; raises only the delivery errors of `bot.core.errors`."""
        self._check_available()
        try:
            async with asyncio.timeout(TIMEOUT):
                match path:
                    case ReplyPath.TOKEN:
                        return await self._edit_by_token(card, reply, uploads)
                    case ReplyPath.CHANNEL:
                        return await self._edit_by_channel(card, reply, uploads)
                    case ReplyPath.POST:
                        return await self._post_new_message(card, reply, uploads)
        except DISCORD_ERRORS as exc:
            self._note_block(exc)
            raise classify_error(exc, path=path, reply=reply, now=self._clock(), files=bool(uploads)) from exc

    async def notify(self, card: Card, reply: Reply) -> bool:
        """Send the member a direct message about how the job ended; False if they do not accept any from the bot.

        Raises `DeliverLater` if it may succeed later.
        """
        self._check_available()
        view = ended_notice(card, self._texts.for_locale(reply.locale), channel_id=reply.channel_id)
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._pacer.wait_turn()
                direct = await self._client.create_dm(discord.Object(card.job.place.user_id))
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

    async def find(self, reply: Reply) -> tuple[int, bool] | None:
        """Look up a reply by its token: its message id and whether it is ephemeral, or None if there is none.

        Raises `DeliverLater` if Discord cannot be asked. A reply with an expired token is never found.
        """
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

    def _render(self, card: Card, reply: Reply, *, uploads: Sequence[Upload]) -> ui.LayoutView:
        names = [each.name for each in uploads]
        return render(card, self._texts.for_locale(reply.locale), files=names, now=self._clock())

    async def _edit_by_token(self, card: Card, reply: Reply, uploads: Sequence[Upload]) -> int:
        assert reply.message_id is not None
        view, files = self._render(card, reply, uploads=uploads), files_of(uploads)
        message = await self._webhook(reply).edit_message(
            reply.message_id, view=view, attachments=files, allowed_mentions=NOBODY
        )
        return message.id

    async def _edit_by_channel(self, card: Card, reply: Reply, uploads: Sequence[Upload]) -> int:
        """Edit the reply in its channel. For an ended job an archived thread is reopened, as a new message would."""
        try:
            return await self._edit_in_channel(card, reply, uploads)
        except discord.HTTPException as exc:
            if exc.code != THREAD_ARCHIVED or not card.job.state.is_final:
                raise
        await self._pacer.wait_turn()
        await self._client.http.edit_channel(reply.channel_id, archived=False)  # a partial channel has no `edit`
        return await self._edit_in_channel(card, reply, uploads)

    async def _edit_in_channel(self, card: Card, reply: Reply, uploads: Sequence[Upload]) -> int:
        assert reply.message_id is not None
        view, files = self._render(card, reply, uploads=uploads), files_of(uploads)
        await self._pacer.wait_turn()
        message = self._channel(reply).get_partial_message(reply.message_id)
        return (await message.edit(view=view, attachments=files, allowed_mentions=NOBODY)).id

    async def _post_new_message(self, card: Card, reply: Reply, uploads: Sequence[Upload]) -> int:
        """Post the card as a new message, and delete the outdated one that could not be edited."""
        message_id = await self._post(card, reply, uploads)
        if reply.message_id is not None and message_id != reply.message_id:
            with suppress(*DISCORD_ERRORS):
                await self._pacer.wait_turn()
                await self._channel(reply).get_partial_message(reply.message_id).delete()
        return message_id

    async def _post(self, card: Card, reply: Reply, uploads: Sequence[Upload]) -> int:
        # Within its lifetime the nonce prevents a duplicate. Later a killed attempt may have posted the card already.
        nonce_expired = self._clock() - (card.job.ended_at or 0) > NONCE_LIFETIME
        if (reply.attempts or nonce_expired) and (earlier := await self._find_earlier_post(reply)) is not None:
            return earlier
        view, files = self._render(card, reply, uploads=uploads), files_of(uploads)
        await self._pacer.wait_turn()
        message = await self._channel(reply).send(
            view=view, files=files, nonce=_nonce(reply), allowed_mentions=NOBODY
        )  # fmt: skip
        return message.id

    async def _find_earlier_post(self, reply: Reply) -> int | None:
        """The id of a message about the job that an unanswered attempt has posted in the channel."""
        await self._pacer.wait_turn()
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


def _nonce(reply: Reply) -> str:
    return reply.job_id[-NONCE_LENGTH:]  # of 26 characters; the first is the most significant of the time, always 0


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
