"""Answers interactions within Discord's three seconds: with a job's card, or with an ephemeral refusal or error.

Longer than other files: everything between an interaction and its one answer is read in one place.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import aiohttp
import discord
from discord import ui

from bot.core.cards import Card
from bot.core.errors import UserError
from bot.core.jobs import MINUTE, SECOND, Place, Reference
from bot.core.quota import NO_SERVER
from bot.core.references import TYPES, ReferenceLimits, media_type, result_of
from bot.core.request_draft import InteractionContext, RequestDraft
from bot.jobs.build import Services
from bot.jobs.requests import BLOCKED_WORDS, OVERLOADED
from bot.observability.metrics import Metrics
from bot.store.database import DATABASE_ERRORS
from bot.store.store import AlreadySeen
from bot.store.strikes import StrikeReason
from bot.ui.cards.job import render
from bot.ui.cards.notices import ignored_flags, refusal
from bot.ui.cards.quota_text import is_channel_error
from bot.ui.cards.texts import Texts, Words, discord_url
from bot.ui.interactions.access import Access, Location
from bot.ui.interactions.channel_suggestions import suggest_channels
from bot.ui.interactions.names import SeenNames
from bot.ui.interactions.parsing import (
    can_open_thread,
    context_of,
    is_age_restricted,
    is_direct,
    pictures_in,
    place_of,
)
from bot.ui.interactions.timeouts import (
    ACK_TIMEOUT,
    DECISION_TIMEOUT,
    MAX_AGE,
    MIN_TIMEOUT,
    OPTIONAL_TIMEOUT,
    REFERENCE_TIMEOUT,
    AckDeadline,
)
from bot.ui.transport.errors import ALREADY_ACKNOWLEDGED, UNKNOWN_INTERACTION, UNKNOWN_MESSAGE

log = logging.getLogger(__name__)

NOBODY = discord.AllowedMentions.none()
OWNER_LIFETIME = 10 * MINUTE  # for which Discord's answer is used; without a gateway it does not tell of a new owner
DECISION = "limit"  # key in `Interaction.extras`: the handler's timeout until its first answer starts

Interaction = discord.Interaction[Any]
UNSUPPORTED = frozenset({"references.type", "references.heic", "references.avif", "references.gif"})  # errors of types
CheckFirstBytes = Callable[..., Awaitable[None]]  # `ReferenceChecker.check_within_ack(references, *, limits)`


class Responder:
    """What commands, buttons and forms share: error handling, access checks, and requests for pictures."""

    def __init__(
        self,
        client: discord.Client,
        services: Services,
        *,
        texts: Texts,
        access: Access,
        check_first_bytes: CheckFirstBytes,
        metrics: Metrics,
    ) -> None:
        """*check_first_bytes* reads the start of reference pictures and raises `UserError` for an unusable one."""
        self.services = services
        self.texts = texts
        self.clock = services.clock
        self.names = SeenNames()
        self._accepts_requests = True
        self._client = client
        self._access = access
        self._check_first_bytes = check_first_bytes
        self._metrics = metrics
        self._deadline = AckDeadline()
        self._owners: dict[int, tuple[int, int]] = {}  # owner and time of the answer (UTC milliseconds) by server

    def words(self, interaction: Interaction) -> Words:
        """The texts in the member's language: the one that they have chosen, else Discord's."""
        chosen = self.services.preferences.language_of(interaction.user.id)
        return self.texts.for_locale(chosen or str(interaction.locale))

    @property
    def bot_id(self) -> int:
        """The bot's user id; 0 before it logs in."""
        return self._client.user.id if self._client.user else 0

    @property
    def accepts_requests(self) -> bool:
        return self._accepts_requests

    def stop_accepting(self) -> None:
        """Refuse new jobs from now on, because the process is about to end."""
        self._accepts_requests = False

    # --- around one interaction

    def deadline_passed(self, interaction: Interaction) -> bool:
        """Whether it is too late to answer *interaction*."""
        return self._deadline.has_passed(interaction.id, now=self.clock())

    async def handle(
        self, interaction: Interaction, handler: Callable[[int], Awaitable[None]], *, late: str = "busy"
    ) -> None:
        """Run *handler* with the time of the member's action (UTC milliseconds), and answer with an error if it raises.

        A handler that has not started to answer within `DECISION_TIMEOUT` is cancelled; *late* is the key of the
        `UserError` that the member sees then. An interaction that arrives too late is only logged.
        """
        now = self.clock()
        if interaction.guild_id is not None:
            self.names.remember(interaction.guild_id, interaction.user.id, interaction.user.display_name)
        delay = self._deadline.delay(interaction.id, now=now)
        self.services.outages.clock_is_off(off=self._deadline.clock_is_off)
        if delay > MAX_AGE:
            log.warning("An interaction arrived too late to be answered", extra={"event": "interaction_late"})
            return
        try:
            async with asyncio.timeout(DECISION_TIMEOUT - delay / SECOND) as limit:
                interaction.extras[DECISION] = limit
                await handler(now - delay)
        except Exception as exc:  # noqa: BLE001 - one interaction's error is answered here
            interaction.extras.pop(DECISION, None)
            timed_out = isinstance(exc, TimeoutError) and limit.expired()
            await self.report_error(interaction, UserError(late) if timed_out else exc)

    async def replace(self, interaction: Interaction, view: ui.LayoutView) -> None:
        """Show *view* in place of the message with the button or select that was used."""
        async with self.answering(interaction):
            await interaction.response.edit_message(view=view, attachments=[], allowed_mentions=NOBODY)

    @asynccontextmanager
    async def answering(self, interaction: Interaction, *, seconds: float = ACK_TIMEOUT) -> AsyncIterator[None]:
        """Wrap the requests of an answer: ends the handler's `DECISION_TIMEOUT`; the block gets *seconds*."""
        limit: asyncio.Timeout | None = interaction.extras.pop(DECISION, None)
        if limit is not None and not limit.expired():
            limit.reschedule(None)
        async with asyncio.timeout(seconds):
            yield

    async def report_error(self, interaction: Interaction, exc: Exception) -> None:
        """Tell the member what went wrong. An unexpected error is logged, and the member gets a reference to it."""
        if isinstance(exc, UserError):
            await self.reply_refusal(interaction, exc)
        elif _is_unanswerable(exc):
            log.info("Discord did not accept an answer: %s", exc, extra={"event": "interaction_lost"})
        elif isinstance(exc, discord.HTTPException) and (exc.status == 429 or exc.status >= 500):
            log.warning("Discord has a problem: %s", exc, extra={"event": "discord_trouble"})
            await self.reply_refusal(interaction, UserError("discord.down"))
        elif isinstance(exc, discord.Forbidden):
            log.warning("Discord does not let the bot answer: %s", exc, extra={"event": "answer_forbidden"})
            await self.reply_refusal(interaction, UserError("discord.forbidden"))
        elif (outage := self.services.outages.seen(exc)) is not None:
            await self.reply_refusal(interaction, UserError("outage", outage=outage.value))
        else:
            reference = secrets.token_hex(4)
            extra = {"event": "interaction_failed", "reference": reference}
            log.error("An interaction could not be handled", exc_info=exc, extra=extra)
            await self.reply_refusal(interaction, UserError("internal", reference=reference))

    async def reply_refusal(self, interaction: Interaction, error: UserError, *, draft_id: str | None = None) -> None:
        """Show *error* privately, with a button to change the request if a draft was kept; errors are only logged."""
        if error.key in ("busy", OVERLOADED) and (outage := self.services.outages.failing) is not None:
            error = UserError("outage", outage=outage.value)  # the reason for the delay
        if error.key == "place.permissions":  # only slash commands have the option `private`
            slash = isinstance(interaction.command, discord.app_commands.Command)
            error = UserError(error.key, **error.values, has_private=slash)
        outside = not self.is_member(interaction)
        channels = self._channel_links(interaction, error)
        view = refusal(error, self.words(interaction), draft_id=draft_id, outside=outside, channels=channels)
        try:
            await self.reply_privately(interaction, view)
        except (discord.DiscordException, aiohttp.ClientError, OSError) as exc:
            log.info("A refusal could not be shown: %s", exc, extra={"event": "refusal_lost", "key": error.key})

    def _channel_links(self, interaction: Interaction, error: UserError) -> list[tuple[str, str]]:
        """Names and addresses of the channels that *error* suggests."""
        suggested: Any = error.values.get("channels") or ()
        guild = self._client.get_guild(interaction.guild_id) if interaction.guild_id is not None else None
        known = [guild.get_channel(each) for each in suggested] if guild is not None else []
        found = [each for each in known if each is not None]
        return [(each.name, discord_url(f"{each.guild.id}/{each.id}")) for each in found]

    async def reply_privately(
        self, interaction: Interaction, view: ui.LayoutView, *, files: Sequence[discord.File] = ()
    ) -> None:
        """Send *view* as an ephemeral message: the first answer, or a follow-up if there is one already."""
        async with self.answering(interaction):
            if interaction.response.is_done():
                await interaction.followup.send(view=view, files=list(files), ephemeral=True, allowed_mentions=NOBODY)
            else:
                await interaction.response.send_message(
                    view=view, files=list(files), ephemeral=True, allowed_mentions=NOBODY
                )

    async def open_form(self, interaction: Interaction, form: ui.Modal) -> None:
        async with self.answering(interaction):
            await interaction.response.send_modal(form)

    # --- access

    async def check_form(self, interaction: Interaction, *, private: bool) -> None:
        """Raise `UserError` if a request made by a form would be refused here; called before the form is shown."""
        await self.check_place(interaction)
        place = place_of(interaction, member=self.is_member(interaction))
        self.services.requests.check_permissions(place, interaction.app_permissions.value, private=private)

    async def check_place(self, interaction: Interaction) -> None:
        """Raise `UserError` if the operator has not opened this place."""
        guild_id = interaction.guild_id
        member = self.is_member(interaction)
        owner_id = await self._server_owner(guild_id) if guild_id is not None and member else None
        self._access.check(
            Location(
                user_id=interaction.user.id,
                guild_id=guild_id,
                owner_id=owner_id,
                member=member,
                direct=is_direct(interaction),
                age_restricted=is_age_restricted(interaction),
            )
        )

    def check_thread(self, interaction: Interaction, *, private: bool) -> None:
        """Raise `UserError` if the member cannot have a thread on a public result here."""
        may = interaction.permissions.create_public_threads
        if private or not (self.is_member(interaction) and can_open_thread(interaction) and may):
            raise UserError("thread.not_here")

    async def check_server(self, guild_id: int, *, user_id: int) -> None:
        """Raise `UserError` if the operator has not opened this server, which the bot is a member of."""
        owner_id = await self._server_owner(guild_id)
        self._access.check(Location(user_id=user_id, guild_id=guild_id, owner_id=owner_id, member=True))

    def is_member(self, interaction: Interaction) -> bool:
        """Whether the bot is a member of the server of *interaction*."""
        guild_id = interaction.guild_id
        if guild_id is None:
            return False
        return interaction.is_guild_integration() or self._client.get_guild(guild_id) is not None

    async def _server_owner(self, guild_id: int) -> int | None:
        """A server's owner, from the cache or else from Discord; None if not needed or unknown."""
        if not self._access.needs_owner(guild_id):
            return None
        guild = self._client.get_guild(guild_id)
        if guild is not None and guild.owner_id is not None:
            return guild.owner_id
        known, answered_at = self._owners.get(guild_id, (None, 0))
        if known is not None and self.clock() < answered_at + OWNER_LIFETIME:
            return known
        try:
            async with asyncio.timeout(OPTIONAL_TIMEOUT):
                fetched = (await self._client.fetch_guild(guild_id, with_counts=False)).owner_id
        except (discord.DiscordException, aiohttp.ClientError, OSError):
            return known
        if fetched is not None:
            self._owners[guild_id] = fetched, self.clock()
        return fetched

    # --- requests for pictures

    async def submit_request(
        self,
        interaction: Interaction,
        draft: RequestDraft,
        *,
        received_at: int,
        max_price: int | None = None,
        own_words: bool = True,
    ) -> None:
        """Turn *draft* into an acknowledged job, or refuse it privately and keep it as a draft to change.

        *max_price* is the price in micro-dollars on the button that was pressed; a higher price is refused.
        *own_words*: the member wrote the prompt, and gets a strike for words that the server does not allow.
        """
        await self.check_place(interaction)
        context = context_of(
            interaction,
            received_at=received_at,
            member=self.is_member(interaction),
            private=draft.private,
            locale=self.services.preferences.language_of(interaction.user.id),
        )
        try:
            if not self._accepts_requests:
                raise UserError("busy")  # noqa: TRY301 - handled below like every refusal
            self.services.requests.check_permissions(context.place, context.app_permissions, private=context.private)
            if draft.references:
                await self.check_references_of(draft, context.place)
            card = await self.services.requests.accept(context, draft, max_price=max_price)
        except AlreadySeen:  # Discord delivered the interaction twice; the first delivery is answered
            return
        except UserError as error:
            await self._refuse_request(interaction, error, draft, place=context.place)
            if error.key == BLOCKED_WORDS and own_words:
                await self._count_strike(context)
            return
        await self._send_card(interaction, card, context=context)
        await self._report_flags(interaction, draft)

    async def _report_flags(self, interaction: Interaction, draft: RequestDraft) -> None:
        """Say privately which flags in the prompt had no effect; the first answer must be the card."""
        if not (draft.ignored_flags or draft.overridden_flags) or not interaction.response.is_done():
            return
        view = ignored_flags(self.words(interaction), ignored=draft.ignored_flags, overridden=draft.overridden_flags)
        try:
            await self.reply_privately(interaction, view)
        except (discord.DiscordException, aiohttp.ClientError, OSError) as exc:
            log.info("Ignored flags could not be shown: %s", exc, extra={"event": "flags_lost"})

    async def _refuse_request(
        self, interaction: Interaction, error: UserError, draft: RequestDraft, *, place: Place
    ) -> None:  # fmt: skip
        """Show *error* privately, and keep *draft* to be changed; an overloaded bot writes nothing."""
        if error.key == OVERLOADED:
            self._metrics.overloaded()
            await self.reply_refusal(interaction, error)
            return
        suggested = await self._with_suggestions(error, interaction, place)
        draft = await self._with_style(draft, place)
        draft_id = await self._keep_draft(draft, user_id=interaction.user.id)
        await self.reply_refusal(interaction, suggested, draft_id=draft_id)

    async def _with_style(self, draft: RequestDraft, place: Place) -> RequestDraft:
        """*draft* as a form shows it: with what its style sets, and without a style that does not exist."""
        try:
            async with asyncio.timeout(OPTIONAL_TIMEOUT):
                return await self.services.requests.styled(draft, place)
        except UserError as error:
            return replace(draft, style=None) if error.key.startswith("style.") else draft
        except DATABASE_ERRORS:
            return draft

    async def _count_strike(self, context: InteractionContext) -> None:
        """Count a strike for words that the server does not allow, after the answer, so that it does not wait."""
        place = context.place
        try:
            await self.services.moderation.add_strike(
                str(context.interaction_id),
                server=place.server,
                user=place.user_id,
                reason=StrikeReason.WORDS,
                now=context.received_at,
            )
        except DATABASE_ERRORS as exc:
            log.warning("A strike could not be counted: %s", type(exc).__name__, extra={"event": "strike_lost"})

    async def _with_suggestions(self, error: UserError, interaction: Interaction, place: Place) -> UserError:
        """*error* with the channels in which the request would be accepted, as far as known."""
        if place.server == NO_SERVER or not is_channel_error(error):
            return error
        try:
            async with asyncio.timeout(OPTIONAL_TIMEOUT):
                overview = await self.services.quotas.overview(place.server)
        except DATABASE_ERRORS:
            return error
        found = suggest_channels(error, overview, guild=self._client.get_guild(place.server), user=interaction.user)
        return UserError(error.key, **{**error.values, "channels": found})

    async def check_references_of(self, draft: RequestDraft, place: Place) -> None:
        """Raise `UserError` for references that cannot be used, as far as it is known before the first answer."""
        request = self.services.requests.request(draft, place, await self.services.requests.server_settings(place))
        self.services.requests.check_references(request)  # first what Discord says about them
        await self._check_references(draft.references, self.services.offered.reference_limits(request))

    async def pictures_of(self, message: discord.Message) -> Sequence[Reference]:
        """The pictures in *message*, without files whose first bytes show an unsupported type.

        Of one of our own results only the pictures that were made, without the one that was edited.
        """
        candidates = pictures_in(message)
        if message.author.id == self.bot_id and (made := [each for each in candidates if result_of(each.filename)]):
            return made
        unsupported = await asyncio.gather(*(self._is_unsupported(each) for each in candidates))
        return [each for each, excluded in zip(candidates, unsupported, strict=True) if not excluded]

    async def _is_unsupported(self, reference: Reference) -> bool:
        """Whether *reference* has an unsupported type; other faults are reported when it is used."""
        if media_type(reference.content_type) in TYPES:
            return False
        try:
            await self._check_references([reference], ReferenceLimits())
        except UserError as error:
            return error.key in UNSUPPORTED
        return False

    async def _check_references(self, references: Sequence[Reference], limits: ReferenceLimits) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(REFERENCE_TIMEOUT):
                await self._check_first_bytes(references, limits=limits)

    async def _keep_draft(self, draft: RequestDraft, *, user_id: int) -> str | None:
        try:
            async with asyncio.timeout(OPTIONAL_TIMEOUT):
                return await self.services.drafts.keep(draft, user_id=user_id)
        except TimeoutError:
            return None

    async def _send_card(self, interaction: Interaction, card: Card, *, context: InteractionContext) -> None:
        """Acknowledge with the card itself. If Discord's response is lost, the worker looks the message up."""
        job_id = card.job.id
        view = render(card, self.texts.for_locale(card.locale), now=self.clock())
        remaining = max(MIN_TIMEOUT, ACK_TIMEOUT - (self.clock() - context.received_at) / SECOND)
        try:
            async with self.answering(interaction, seconds=remaining):
                shown = await interaction.response.send_message(
                    view=view, ephemeral=context.private, allowed_mentions=NOBODY
                )
        except discord.HTTPException as exc:
            log.info("Discord did not show a card: %s", exc, extra={"event": "ack_failed", "job_id": job_id})
            if _is_rejection(exc):
                await self.services.requests.unacknowledged(job_id)
                raise
        except (aiohttp.ClientError, OSError) as exc:
            extra = {"event": "ack_unknown", "job_id": job_id}
            log.info("It is unknown whether Discord shows a card: %s", type(exc).__name__, extra=extra)
        else:
            self._metrics.acknowledged((self.clock() - context.received_at) / SECOND)
            if shown.message_id is not None:
                ephemeral = context.private or shown.is_ephemeral()
                await self.record_acknowledgement(job_id, message_id=shown.message_id, ephemeral=ephemeral)

    async def record_acknowledgement(self, job_id: str, *, message_id: int, ephemeral: bool) -> None:
        """Record that Discord shows the card; if the database is away, the worker asks Discord later."""
        try:
            await self.services.requests.acknowledged(job_id, message_id=message_id, ephemeral=ephemeral)
        except DATABASE_ERRORS as exc:
            if self.services.outages.seen(exc) is None:
                raise


def _is_rejection(exc: discord.HTTPException) -> bool:
    """Whether Discord certainly does not show the message."""
    return 400 <= exc.status < 500 and exc.status != 429 and exc.code != ALREADY_ACKNOWLEDGED


def _is_unanswerable(exc: Exception) -> bool:
    """Whether no further answer is possible: Discord stopped waiting, it was answered, or the connection failed."""
    if isinstance(exc, discord.HTTPException):
        return exc.code in (UNKNOWN_INTERACTION, ALREADY_ACKNOWLEDGED, UNKNOWN_MESSAGE)
    return isinstance(exc, discord.InteractionResponded | aiohttp.ClientError | TimeoutError)
