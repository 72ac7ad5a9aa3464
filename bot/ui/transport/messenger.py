"""Sends cards to Discord: the Messenger that delivery needs, by token, by channel or as a new message."""

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
    CLOUDFLARE_PAUSE,
    DISCORD_ERRORS,
    MISSING_ACCESS,
    THREAD_ARCHIVED,
    TOKEN_INVALID,
    UNKNOWN_INTERACTION,
    UNKNOWN_MESSAGE,
    UNKNOWN_WEBHOOK,
    is_cloudflare,
    judged,
    retry_after,
)

log = logging.getLogger(__name__)

NOBODY = discord.AllowedMentions.none()
TIMEOUT = 60.0  # seconds for one request, uploads included
ASKING = 10.0
A_SECOND = 45  # Discord allows a bot fifty requests; interaction routes are not counted
NONCE = 25  # characters
EPHEMERAL = discord.MessageFlags.ephemeral.flag
LOOK_BACK = 50  # messages
DIRECT_AGAIN = 300.0  # seconds
NONCE_LIFE = 2 * MINUTE  # Discord says that it knows a nonce for a few minutes
NO_REPLY = frozenset({UNKNOWN_MESSAGE, UNKNOWN_WEBHOOK, UNKNOWN_INTERACTION, TOKEN_INVALID})


class Pacer:
    """Keeps requests of the bot's own token apart, so that all of them together stay below Discord's limit."""

    def __init__(self, a_second: int = A_SECOND) -> None:
        self._gap = 1 / a_second
        self._next = 0.0

    async def turn(self) -> None:
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
        self._shut_until = 0

    async def send(self, card: Card, reply: Reply, *, path: ReplyPath, uploads: Sequence[Upload]) -> int:
        """Show *card* by *way* and return the message's id; raises only what `bot.delivery` knows."""
        self._check_line()
        try:
            async with asyncio.timeout(TIMEOUT):
                match path:
                    case ReplyPath.TOKEN:
                        return await self._by_token(card, reply, uploads)
                    case ReplyPath.CHANNEL:
                        return await self._by_channel(card, reply, uploads)
                    case ReplyPath.POST:
                        return await self._as_new_message(card, reply, uploads)
        except DISCORD_ERRORS as exc:
            self._note_shut(exc)
            raise judged(exc, path=path, reply=reply, now=self._clock(), files=bool(uploads)) from exc

    async def notify(self, card: Card, reply: Reply) -> bool:
        """Notify the member by a direct message how the job ended; False where they take none from us."""
        self._check_line()
        view = ended_notice(card, self._texts.for_locale(reply.locale), channel_id=reply.channel_id)
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._pacer.turn()
                direct = await self._client.create_dm(discord.Object(card.job.place.user_id))
                await direct.send(view=view, nonce=_nonce(reply), allowed_mentions=NOBODY)
        except DISCORD_ERRORS as exc:
            self._note_shut(exc)
            why = judged(exc, path=ReplyPath.POST, reply=reply, now=self._clock(), files=False)
            if isinstance(why, DeliverLater):
                raise why from exc
            if getattr(exc, "code", 0) == MISSING_ACCESS and not reply.attempts:  # Discord has taken it minutes later
                raise DeliverLater(str(why), retry_after=DIRECT_AGAIN) from exc
            return False
        return True

    async def find(self, reply: Reply) -> tuple[int, bool] | None:
        """The reply's message id and whether it is ephemeral; None when Discord says that there is none.

        `DeliverLater` when Discord cannot be asked. A reply whose token has died will never be found.
        """
        if not reply.token_lives(self._clock()):
            return None
        self._check_line()
        try:
            async with asyncio.timeout(ASKING):
                # What `Interaction.original_response` does, for an interaction that came before a restart.
                webhook = self._webhook(reply)
                found = await async_context.get().get_original_interaction_response(
                    reply.application_id, reply.token or "", session=webhook.session, proxy=webhook.proxy
                )
        except DISCORD_ERRORS as exc:
            self._note_shut(exc)
            if isinstance(exc, discord.HTTPException) and (exc.code in NO_REPLY or exc.status == 404):
                return None
            raise DeliverLater(f"{type(exc).__name__}: {exc}", retry_after=None) from exc
        if not any(f":{reply.job_id}:" in each for each in _ids_in(found.get("components", []))):
            return None  # the answer that is shown is a refusal, or some other: not this job's card
        return int(found["id"]), bool(found.get("flags", 0) & EPHEMERAL)

    def _drawn(self, card: Card, reply: Reply, *, uploads: Sequence[Upload]) -> ui.LayoutView:
        names = [each.name for each in uploads]
        return render(card, self._texts.for_locale(reply.locale), files=names, now=self._clock())

    async def _by_token(self, card: Card, reply: Reply, uploads: Sequence[Upload]) -> int:
        assert reply.message_id is not None
        view, files = self._drawn(card, reply, uploads=uploads), files_of(uploads)
        message = await self._webhook(reply).edit_message(
            reply.message_id, view=view, attachments=files, allowed_mentions=NOBODY
        )
        return message.id

    async def _by_channel(self, card: Card, reply: Reply, uploads: Sequence[Upload]) -> int:
        """Edit the message; an archived thread is brought back for how a job ended, as any new message would do."""
        try:
            return await self._edited(card, reply, uploads)
        except discord.HTTPException as exc:
            if exc.code != THREAD_ARCHIVED or not card.job.state.is_final:
                raise
        await self._pacer.turn()
        await self._client.http.edit_channel(reply.channel_id, archived=False)
        return await self._edited(card, reply, uploads)

    async def _edited(self, card: Card, reply: Reply, uploads: Sequence[Upload]) -> int:
        assert reply.message_id is not None
        view, files = self._drawn(card, reply, uploads=uploads), files_of(uploads)
        await self._pacer.turn()
        message = self._channel(reply).get_partial_message(reply.message_id)
        return (await message.edit(view=view, attachments=files, allowed_mentions=NOBODY)).id

    async def _as_new_message(self, card: Card, reply: Reply, uploads: Sequence[Upload]) -> int:
        """Post the card anew, and take away the message that could not be changed: it says what is not so any more."""
        posted = await self._posted(card, reply, uploads)
        if reply.message_id is not None and posted != reply.message_id:
            with suppress(*DISCORD_ERRORS):
                await self._pacer.turn()
                await self._channel(reply).get_partial_message(reply.message_id).delete()
        return posted

    async def _posted(self, card: Card, reply: Reply, uploads: Sequence[Upload]) -> int:
        long_ago = self._clock() - (card.job.ended_at or 0) > NONCE_LIFE  # a killed attempt may have come through
        if (reply.attempts or long_ago) and (earlier := await self._posted_before(reply)) is not None:
            return earlier
        view, files = self._drawn(card, reply, uploads=uploads), files_of(uploads)
        await self._pacer.turn()
        message = await self._channel(reply).send(
            view=view, files=files, nonce=_nonce(reply), allowed_mentions=NOBODY
        )  # fmt: skip
        return message.id

    async def _posted_before(self, reply: Reply) -> int | None:
        """A message that an unanswered attempt left here: Discord forgets a nonce after a few minutes."""
        await self._pacer.turn()
        try:
            async for each in self._channel(reply).history(limit=LOOK_BACK):
                if each.id != reply.message_id and _is_about(each, reply.job_id, author=self._client.user):
                    return each.id
        except discord.Forbidden:
            return None
        return None

    def _webhook(self, reply: Reply) -> discord.Webhook:
        assert reply.token is not None
        webhook = discord.Webhook.partial(reply.application_id, reply.token, client=self._client)
        webhook.proxy = self._client.http.proxy  # `partial` leaves it out
        return webhook

    def _channel(self, reply: Reply) -> discord.PartialMessageable:
        return self._client.get_partial_messageable(reply.channel_id, guild_id=reply.guild_id)

    def _check_line(self) -> None:
        """`DeliverLater` while there is no session, or while Discord has shut our address out."""
        if self._client.is_closed() or self._client.user is None:
            raise DeliverLater("not logged in to Discord")
        left = (self._shut_until - self._clock()) / 1000
        if left > 0:
            raise DeliverLater("Discord has shut us out for a while", retry_after=left)

    def _note_shut(self, exc: Exception) -> None:
        if isinstance(exc, discord.HTTPException) and is_cloudflare(exc):
            seconds = retry_after(exc) or CLOUDFLARE_PAUSE
            self._shut_until = self._clock() + int(seconds * 1000)
            extra = {"event": "discord_shut", "seconds": round(seconds)}
            log.warning("Discord takes no requests from this address for a while", extra=extra)


def _nonce(reply: Reply) -> str:
    return reply.job_id[-NONCE:]  # its first character is the time's highest, which is always 0


def _ids_in(components: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The custom ids of a message as Discord sends it."""
    for each in components:
        yield str(each.get("custom_id", ""))
        yield from _ids_in(each.get("components", []))


def files_of(uploads: Sequence[Upload]) -> list[discord.File]:
    """Fresh files: discord.py sends one that was used before as zero bytes, without an error."""
    return [discord.File(BytesIO(each.data), filename=each.name) for each in uploads]


def _is_about(message: discord.Message, job_id: str, *, author: discord.abc.User | None) -> bool:
    if author is None or message.author.id != author.id:
        return False
    return any(f":{job_id}:" in custom_id for custom_id in _custom_ids(message.components))


def _custom_ids(components: Sequence[object]) -> list[str]:
    found: list[str] = []
    for each in components:
        found += [getattr(each, "custom_id", None) or "", *_custom_ids(getattr(each, "children", ()))]
    return found
