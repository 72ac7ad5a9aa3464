"""Accepts requests as jobs with a reservation, and withdraws them if their card was never shown."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

from ulid import ULID

from bot.core import quota
from bot.core.admission import Admission
from bot.core.cards import TOKEN_LIFE, Card, Reply
from bot.core.catalog import Catalog, Quote
from bot.core.clock import Clock
from bot.core.errors import UserError
from bot.core.jobs import ACK_WINDOW, MINUTE, AppliedStyle, ImageRequest, Job, Lease, Place, State
from bot.core.moderation import word_list
from bot.core.preferences import fill
from bot.core.references import check_references, result_of
from bot.core.request_draft import InteractionContext, RequestDraft, missing_permissions
from bot.core.server_settings import ServerSettings, apply_settings, narrowed
from bot.core.style_choice import apply_style
from bot.core.zones import calendar_of
from bot.jobs.availability import Availability
from bot.jobs.changes import Changes
from bot.jobs.leases import Leases
from bot.jobs.routing import Routing
from bot.jobs.service import Jobs
from bot.jobs.system_outages import Outages
from bot.jobs.wakeups import Wakeups
from bot.store.database import DATABASE_ERRORS
from bot.store.preferences import MemberPreferences
from bot.store.queries import JobRecord, QuotaStatus
from bot.store.store import Store

log = logging.getLogger(__name__)

OVERLOADED = "overloaded"  # key of the `UserError` for a request that would be answered too late
BLOCKED_WORDS = "moderation.words"  # key of the `UserError` for a prompt with words that a server does not allow
DATABASE_TIMEOUT = 1.0  # seconds that the answer to a member may wait for the database
DATABASE_UNUSABLE: tuple[type[Exception], ...] = (*DATABASE_ERRORS, RuntimeError)  # if the store is closed, for example


class Requests:
    def __init__(
        self,
        store: Store,
        jobs: Jobs,
        *,
        availability: Availability,
        routing: Routing,
        outages: Outages,
        wakeups: Wakeups,
        leases: Leases,
        changes: Changes,
        preferences: MemberPreferences,
        limits: quota.Limits,
        cdn_hosts: Iterable[str],
        converts: bool,
        blocked_words: Iterable[str],
        clock: Clock,
    ) -> None:
        """*cdn_hosts*: the internet hosts that references may come from; *converts*: whether they can be converted.

        *blocked_words*: in every server.
        """
        self._cdn_hosts = tuple(cdn_hosts)
        self._converts = converts
        self._store = store
        self._jobs = jobs
        self._availability = availability
        self._routing = routing
        self._outages = outages
        self._wakeups = wakeups
        self._leases = leases
        self._changes = changes
        self._preferences = preferences
        self._limits = limits
        self._blocked_words = word_list(tuple(blocked_words))
        self._clock = clock
        self._admission = Admission(clock)
        self._background: set[asyncio.Task[None]] = set()  # asyncio itself keeps no reference to a task

    async def accept(self, context: InteractionContext, draft: RequestDraft, *, max_price: int | None = None) -> Card:
        """Accept a job: its row and its reservation are on disk when this returns its first card.

        `UserError` when it cannot be done or paid for, or its card could not be shown in time; nothing is reserved
        then. `AlreadySeen` when Discord delivered the interaction twice.
        *max_price*: the price in micro-dollars that the member was shown; at a higher one the job is not accepted.
        """
        if (outage := self._outages.unsafe) is not None:
            raise UserError("outage", outage=outage.value)
        self.check_permissions(context.place, context.app_permissions, private=context.private)
        async with self._turn(context.received_at):
            return await self._accept(context, draft, max_price=max_price)

    @asynccontextmanager
    async def _turn(self, received_at: int) -> AsyncIterator[None]:
        """Wait until the requests ahead are worked on; `UserError` where the answer would come too late."""
        begins: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        ticket = self._admission.enter(received_at, lambda begin: None if begins.done() else begins.set_result(begin))
        try:
            if not await begins:
                raise UserError(OVERLOADED)
            yield
        finally:
            self._admission.leave(ticket)

    async def _accept(self, context: InteractionContext, draft: RequestDraft, *, max_price: int | None) -> Card:
        server_settings = await self.server_settings(context.place)
        job, amount, quote = self._job(context, draft, server_settings)
        if max_price is not None and amount.micro_usd > max_price:
            raise UserError("price.changed", price=amount.micro_usd, said=max_price, estimated=quote.estimated)
        locale = context.locale if context.private else server_settings.language or context.locale
        reply = _reply(context, job, locale=locale, thread=draft.thread or server_settings.threads)
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT):
                reserved = await self._store.accept(
                    context.interaction_id,
                    job,
                    reply=reply,
                    amount=amount,
                    price_version=quote.version,
                    limits=self._limits,
                    calendar=calendar_of(server_settings),
                )
                self._changes.accepted(job)
                quota_status = QuotaStatus(server_settings, reserved.used, reserved.limits, reserved.grants)
                return self._jobs.draw(JobRecord(job, reply, reserved.charge, pictures=()), quota_status)
        except (TimeoutError, asyncio.CancelledError) as exc:  # the commit may still succeed
            self._background.add(withdrawing := asyncio.create_task(self._withdraw_late(job.id)))
            withdrawing.add_done_callback(self._background.discard)
            if isinstance(exc, asyncio.CancelledError):
                raise
            raise UserError("busy") from exc

    def check_permissions(self, place: Place, app_permissions: int, *, private: bool) -> None:
        """`UserError` where the reply to a job could not be shown with its pictures."""
        if missing := missing_permissions(place, app_permissions, private=private):
            raise UserError("place.permissions", missing=missing)

    async def server_settings(self, place: Place) -> ServerSettings:
        """The settings of the server that *place* is in; `UserError` where the database does not answer in time."""
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT):
                return await self._store.server_settings(place.server)
        except TimeoutError as exc:
            raise UserError("busy") from exc

    async def styled(self, draft: RequestDraft, place: Place) -> RequestDraft:
        """*draft* with the style that it names; `UserError` where there is no such style."""
        if not isinstance(draft.style, str):
            return draft
        server_settings = await self.server_settings(place)
        return apply_style(draft, self._offered, server_settings, channels=place.channels)

    def request(self, draft: RequestDraft, place: Place, server_settings: ServerSettings) -> ImageRequest:
        """*draft* checked against the catalogue and the server's settings; `UserError` where it is not possible."""
        self._check_words(draft.prompt, place, server_settings)
        draft = apply_style(draft, self._offered, server_settings, channels=place.channels)
        self._check_offered(draft, server_settings)
        try:
            model, asked = apply_settings(
                server_settings,
                self._offered,
                draft.verb,
                model=draft.model,
                asked=draft.asked,
                channels=place.channels,
            )
            return self._offered.request(
                model,
                draft.verb,
                prompt=draft.prompt,
                asked=asked,
                references=draft.references,
                drawn_seed=secrets.randbits(31),
                style=draft.style if isinstance(draft.style, AppliedStyle) else None,
            )
        except UserError as error:
            raise narrowed(error, server_settings, self._offered, draft.verb, channels=place.channels) from error

    async def fill(self, draft: RequestDraft, place: Place, *, private: bool | None) -> RequestDraft:
        """*draft* with its style, then the member's preferences and the server's, for what it leaves open.

        *private*: what the member asked for, None where they did not say.
        """
        server_settings = await self.server_settings(place)
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT):
                preferences = await self._preferences.get(place.user_id)
        except TimeoutError as exc:
            raise UserError("busy") from exc
        choices = (private, preferences.private, server_settings.private)
        draft = replace(draft, private=next(each for each in choices if each is not None))
        usable = self._offered.models_for(draft.verb).keys() - set(server_settings.models)
        default = preferences.model if preferences.model in usable else None
        try:
            styled = apply_style(draft, self._offered, server_settings, channels=place.channels, default=default)
        except UserError:  # an unknown style is refused when the request is submitted, which keeps the draft
            return draft
        return fill(styled, preferences, check=lambda each: self.request(each, place, server_settings))

    def check_references(self, request: ImageRequest) -> None:
        """Raise `UserError` for a reference that cannot be accepted, by what Discord says about it."""
        limits = self._offered.reference_limits(request)
        check_references(request.references, hosts=self._cdn_hosts, limits=limits, converts=self._converts)

    async def acknowledged(self, job_id: str, *, message_id: int, ephemeral: bool) -> None:
        """Discord shows the first card; the job may be submitted."""
        await self._store.acknowledge(job_id, message_id=message_id, ephemeral=ephemeral, now=self._clock())
        self._wakeups.wake(job_id)

    async def unacknowledged(self, job_id: str) -> None:
        """Withdraw a job whose card Discord provably does not show."""
        await self._store.withdraw(job_id, now=self._clock())
        self._wakeups.wake(job_id)

    @property
    def _offered(self) -> Catalog:
        return self._availability.offered

    def _check_words(self, prompt: str, place: Place, server_settings: ServerSettings) -> None:
        """`UserError` where the prompt contains a word that the operator or the server does not allow."""
        if self._blocked_words.matches(prompt) or word_list(server_settings.words).matches(prompt):
            raise UserError(BLOCKED_WORDS if place.server != quota.NO_SERVER else "moderation.words_outside")

    def _check_offered(self, draft: RequestDraft, server_settings: ServerSettings) -> None:
        """`UserError` where the model is configured, but no provider has it now."""
        configured = self._availability.catalog.models_for(draft.verb).keys()
        offered = self._offered.models_for(draft.verb).keys()
        wanted = {draft.model} if draft.model in configured else configured - set(server_settings.models)
        if wanted and not wanted & offered:
            raise UserError("option.no_host")

    def _job(
        self, context: InteractionContext, draft: RequestDraft, server_settings: ServerSettings
    ) -> tuple[Job, quota.Amount, Quote]:
        now = context.received_at
        request = self.request(draft, context.place, server_settings)
        self.check_references(request)
        self._check_expiry(request, now=now)
        route = self._routing.route(request)
        quote = self._offered.quote(request, route)
        job = Job(
            id=str(ULID()),
            place=context.place,
            request=request,
            provider=route.provider,
            route=route.id,
            state=State.ACCEPTED,
            created_at=now,
            changed_at=now,
            due_at=now + ACK_WINDOW,
            give_up_after=int(self._availability.catalog.models[request.model].timing.give_up * 1000),
            checked=not request.references,
            parent_id=draft.parent_id,
            parent_picture=_parent_picture(draft),
            source=draft.source,
            lease=Lease(self._leases.assign(), 0),
        )
        return job, quota.Amount(request.count, quote.micro_usd * request.count), quote

    def _check_expiry(self, request: ImageRequest, *, now: int) -> None:
        for each in request.references:
            if each.expires_at is not None and each.expires_at <= now + MINUTE:
                raise UserError("references.expired", file=each.filename)

    async def _withdraw_late(self, job_id: str) -> None:
        """Withdraw a job whose acceptance timed out, after the database has finished it."""
        try:
            await self._store.database.wait_for_abandoned()
            await self._store.withdraw(job_id, now=self._clock())
        except DATABASE_UNUSABLE as exc:  # the worker asks Discord for the card, and ends a job without one
            extra = {"event": "withdraw_failed", "job_id": job_id}
            log.warning("A refused job could not be withdrawn at once: %s", type(exc).__name__, extra=extra)
        finally:
            self._wakeups.wake(job_id)


def _parent_picture(draft: RequestDraft) -> int | None:
    """The number of the parent's picture that *draft* edits; None where it edits another picture, or none."""
    if draft.parent_id is None or not draft.references:
        return None
    job_id, n = result_of(draft.references[0].filename) or ("", 0)
    return n if job_id == draft.parent_id else None


def _reply(context: InteractionContext, job: Job, *, locale: str, thread: bool) -> Reply:
    return Reply(
        job_id=job.id,
        application_id=context.application_id,
        channel_id=context.place.channel_id,
        guild_id=context.place.guild_id,
        message_id=None,
        ephemeral=context.private,
        bot_can_edit=context.bot_can_edit,
        bot_can_post=context.bot_can_post,
        filesize_limit=context.filesize_limit,
        locale=locale,
        wanted=1,
        delivered=1,  # the acknowledgement itself shows version 1
        token=context.token or None,
        token_expires_at=context.received_at + TOKEN_LIFE if context.token else 0,
        request_message=context.request_message,
        thread=thread and context.can_open_thread and not context.private,
    )
