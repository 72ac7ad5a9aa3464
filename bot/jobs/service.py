"""The verbs from outside: what a command, a button, a callback or the command line may ask for."""

import asyncio
import logging
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from ulid import ULID

from bot.core import quota
from bot.core.cards import IN_JOBS_FOR, TOKEN_LIFE, Card, Picture, Reply, granted, tightest
from bot.core.catalog import Catalog, Quote, RequestedOptions
from bot.core.clock import Clock
from bot.core.errors import UserError
from bot.core.fair_queue import Waiting, fair_order
from bot.core.jobs import ACK_WINDOW, MINUTE, ImageRequest, Job, Place, State
from bot.core.references import check_references
from bot.core.request_draft import InteractionContext, RequestDraft, missing_permissions
from bot.core.server_settings import ServerSettings, apply_settings
from bot.core.zones import calendar_of
from bot.jobs.availability import Availability, Notify
from bot.jobs.outages import Outages
from bot.jobs.wakeups import Wakeups
from bot.store.database import DATABASE_ERRORS
from bot.store.drafts import Drafts
from bot.store.history import History
from bot.store.housekeeping import Housekeeping
from bot.store.notes import Notes
from bot.store.queries import JobRecord, QuotaStatus
from bot.store.quotas import Quotas
from bot.store.reports import Reports
from bot.store.store import Store

log = logging.getLogger(__name__)

DRAFT_LIFE = 15 * MINUTE
POLLABLE = frozenset({State.UNKNOWN, State.QUEUED, State.RUNNING, State.COLLECTING})
PURGE_TIMEOUT = 0.5  # seconds that the answer to a deletion waits for the engine's files
DATABASE_UNUSABLE: tuple[type[Exception], ...] = (*DATABASE_ERRORS, RuntimeError)  # the store is closed, for one
DATABASE_TIMEOUT = 1.0  # seconds a member's answer may wait for the database


class Service:
    def __init__(
        self,
        store: Store,
        notes: Notes,
        *,
        availability: Availability,
        outages: Outages,
        limits: quota.Limits,
        cdn_hosts: Iterable[str],
        clock: Clock,
        wakeups: Wakeups,
        notify: Notify,
        ai_label: bool = False,
    ) -> None:
        """*ai_label*: cards with pictures say that a machine made them."""
        self.store = store
        self.notes = notes
        self._drafts = Drafts(store.database)
        self.quotas = Quotas(store.database)
        self.reports = Reports(store.database)
        self.availability = availability
        self.outages = outages
        self.catalog = availability.catalog
        self.limits = limits
        self.cdn_hosts = tuple(cdn_hosts)
        self.clock = clock
        self.wakeups = wakeups
        self.called_back: set[str] = set()  # jobs whose host has called: their runs are over, whatever it still shows
        self._history = History(store.database)
        self._notify = notify
        self._ai_label = ai_label
        self._background: set[asyncio.Task[None]] = set()  # asyncio itself would let them be collected

    @property
    def offered(self) -> Catalog:
        """What may be asked for now."""
        return self.availability.offered

    # --- asking for pictures

    async def accept(self, context: InteractionContext, draft: RequestDraft, *, most: int | None = None) -> Card:
        """Take a job on: its row and its reservation are on disk when this returns its first card.

        `UserError` when it cannot be done or paid for; nothing is held then. `AlreadySeen` when Discord
        delivered the interaction twice.
        *most*: micro-dollars that the member was told it costs; it is not ordered for more.
        """
        if (outage := self.outages.unsafe) is not None:
            raise UserError("outage", outage=outage.value)
        self.check_permissions(context.place, context.app_permissions, private=context.private)
        server_settings = await self.server_settings(context.place)
        job, amount, quote = self._job(context, draft, server_settings)
        if most is not None and amount.micro_usd > most:
            raise UserError("price.changed", price=amount.micro_usd, said=most, estimated=quote.estimated)
        reply = _reply(context, job)
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT):
                await self.store.accept(
                    context.interaction_id,
                    job,
                    reply=reply,
                    amount=amount,
                    price_version=quote.version,
                    limits=self.limits,
                    calendar=calendar_of(server_settings),
                )
                self.wakeups.wake(job.id)  # should the acknowledgement fail, the worker looks into it
                return await self.card(job.id)
        except (TimeoutError, asyncio.CancelledError) as exc:  # it may still be committed, though we stopped waiting
            self._background.add(taking_back := asyncio.create_task(self._withdraw_late(job.id)))
            taking_back.add_done_callback(self._background.discard)
            if isinstance(exc, asyncio.CancelledError):
                raise
            raise UserError("busy") from exc

    def check_permissions(self, place: Place, app_permissions: int, *, private: bool) -> None:
        """`UserError` where the reply to a job could not be shown with its pictures."""
        if missing := missing_permissions(place, app_permissions, private=private):
            raise UserError("place.permissions", missing=missing)

    async def server_settings(self, place: Place) -> ServerSettings:
        """How the server that *place* is in wants it; `UserError` where the database does not say so in time."""
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT):
                return await self.store.server_settings(place.server)
        except TimeoutError as exc:
            raise UserError("busy") from exc

    def request(self, draft: RequestDraft, place: Place, server_settings: ServerSettings) -> ImageRequest:
        """What *wish* comes to at *place*; `UserError` where it cannot be done, or not there."""
        self._check_offered(draft, server_settings)
        model, asked = apply_settings(
            server_settings, self.offered, draft.verb, model=draft.model, asked=draft.asked, channels=place.channels
        )  # fmt: skip
        return self.offered.request(
            model,
            draft.verb,
            prompt=draft.prompt,
            asked=asked,
            references=draft.references,
            drawn_seed=secrets.randbits(31),
        )

    def _check_offered(self, draft: RequestDraft, server_settings: ServerSettings) -> None:
        """`UserError` where what is asked for is configured, but no host has it now."""
        configured, offered = self.catalog.models_for(draft.verb).keys(), self.offered.models_for(draft.verb).keys()
        wanted = {draft.model} if draft.model in configured else configured - set(server_settings.models)
        if wanted and not wanted & offered:
            raise UserError("option.no_host")

    def _job(
        self, context: InteractionContext, draft: RequestDraft, server_settings: ServerSettings
    ) -> tuple[Job, quota.Amount, Quote]:
        now = context.received_at
        request = self.request(draft, context.place, server_settings)
        self._check_references(request, now=now)
        route = self.availability.route(request)
        quote = self.offered.quote(request, route)
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
            give_up_after=int(self.catalog.models[request.model].timing.give_up * 1000),
            checked=not request.references,
            parent_id=draft.parent_id,
        )
        return job, quota.Amount(request.count, quote.micro_usd * request.count), quote

    def _check_references(self, request: ImageRequest, *, now: int) -> None:
        check_references(request.references, hosts=self.cdn_hosts, limits=self.offered.reference_limits(request))
        for each in request.references:
            if each.expires_at is not None and each.expires_at <= now + MINUTE:
                raise UserError("references.expired", file=each.filename)

    async def acknowledged(self, job_id: str, *, message_id: int, ephemeral: bool) -> None:
        """Discord shows the first card; the job may be submitted."""
        await self.store.acknowledged(job_id, message_id=message_id, ephemeral=ephemeral, now=self.clock())
        self.wakeups.wake(job_id)

    async def unacknowledged(self, job_id: str) -> None:
        """Discord provably does not show the card: nobody waits for this job."""
        await self._withdraw(job_id)

    async def _withdraw(self, job_id: str) -> None:
        await self.store.withdraw(job_id, now=self.clock())
        self.wakeups.wake(job_id)

    async def _withdraw_late(self, job_id: str) -> None:
        """Withdraw a job whose acceptance was given up on, after that has come to its end."""
        try:
            await self.store.database.given_up_ended()
            await self.store.withdraw(job_id, now=self.clock())
        except DATABASE_UNUSABLE as exc:  # the worker asks Discord for its card, and ends what nobody sees
            extra = {"event": "withdraw_failed", "job_id": job_id}
            log.warning("A refused job could not be withdrawn at once: %s", type(exc).__name__, extra=extra)
        finally:
            self.wakeups.wake(job_id)

    # --- looking and changing one's mind

    async def card(self, job_id: str) -> Card:
        """The card of a job as of now; `UserError` if there is no such job."""
        record = await self.store.job_record(job_id)
        if record is None:
            raise UserError("job.unknown")
        return await self.card_of(record)

    async def card_of(self, record: JobRecord) -> Card:
        job, now = record.job, self.clock()
        model = self.catalog.models.get(job.request.model)
        route = self.catalog.route(job.request, provider=job.provider, id=job.route)
        submitted = job.submitted_at if job.state in (State.QUEUED, State.RUNNING) else None
        left, bonus = await self._left(job.place, price=record.charge.price)
        return Card(
            job=job,
            model=model.name if model else job.request.model,
            provider=self.availability.name_of(job.provider),
            charge=record.charge,
            estimated=self.catalog.price(job.request, route).estimated if model else False,
            left=left,
            bonus=bonus,
            place=await self._place(job),
            trouble=None if job.state.is_final else self.availability.outages.get(job.provider),
            blocked_host=self.availability.blocked.get(job.id) if job.state is State.COLLECTING else None,
            slow=bool(model and submitted and now - submitted >= model.timing.soft * 1000),
            usual=self.catalog.usual(job.request) if model else None,
            pictures=record.pictures,
            hides=not self.availability.cancels(job.provider),
            ai_label=self._ai_label,
        )

    async def _left(self, place: Place, *, price: int) -> tuple[quota.Allowance | None, quota.Amount]:
        """The member's tightest allowance for pictures at *price*, and their bonus."""
        standing = await self.quota_status(place)
        allowances = quota.allowances(standing.limits, standing.used)
        return tightest(allowances, price=price), granted(standing.grants)

    async def _place(self, job: Job) -> int | None:
        if job.state is not State.ACCEPTED:
            return None
        waiting, running = await self.store.queue(job.provider)
        mine = Waiting(job.id, job.place.user_id, job.created_at)  # its first card is drawn before it stands in line
        return list(fair_order({*waiting, mine}, running)).index(job.id) + 1

    async def quota_status(self, place: Place) -> QuotaStatus:
        """Every limit that holds at *place*, what is used of it, and what bonus is left."""
        return await self.store.quota_status(place, limits=self.limits, now=self.clock())

    async def last_days(
        self, place: Place, server_settings: ServerSettings, *, days: int
    ) -> Sequence[tuple[date, quota.Amount]]:
        """What a member has spent on each of the last *days* days of their server's calendar; the last is today."""
        today = calendar_of(server_settings).day(self.clock())
        return await self._history.last_days(place.server, place.user_id, today=today, days=days)

    async def own_job(self, job_id: str, *, user_id: int, key: str = "job.unknown") -> Job:
        """A member's own job; somebody else's is *key*, one that does not exist is `job.unknown`."""
        job = await self.store.job(job_id)
        if job is None or job.deleted_at is not None:
            raise UserError("job.unknown")
        if job.place.user_id != user_id:
            raise UserError(key)
        return job

    async def cancel(self, job_id: str, *, user_id: int) -> Card:
        """Stop a job if it still can be: at once while it waits with us, by asking the host once it is queued."""
        await self.own_job(job_id, user_id=user_id, key="cancel.not_yours")
        if await self.store.cancel(job_id, now=self.clock()) is None:
            raise UserError("cancel.too_late")
        self.wakeups.wake(job_id)
        return await self.card(job_id)

    async def hide(self, job_id: str, *, user_id: int) -> Card:
        """Show nothing of what is made for a job whose host cannot stop it; it is paid for all the same."""
        job = await self.own_job(job_id, user_id=user_id, key="hide.not_yours")
        if self.availability.cancels(job.provider) or await self.store.hide(job_id, now=self.clock()) is None:
            raise UserError("hide.too_late")
        self.wakeups.replies.set()
        return await self.card(job_id)

    async def show(self, job_id: str, *, user_id: int) -> Card:
        """Show a hidden job again; what has been made of it meanwhile is delivered."""
        await self.own_job(job_id, user_id=user_id, key="hide.not_yours")
        await self.store.show(job_id, now=self.clock())
        self.wakeups.replies.set()
        return await self.card(job_id)

    async def poll_now(self, job_id: str) -> None:
        """Bring a job's next look forward to now."""
        job = await self.store.job(job_id)
        if job is None:
            raise UserError("job.unknown")
        if job.state in POLLABLE:
            await self.store.update(job, now=self.clock(), due_at=self.clock())
        self.wakeups.wake(job_id)

    async def button_clicked(self, job_id: str, token: str, *, received_at: int, message_id: int) -> None:
        """A button on a reply was pressed: its interaction can reach that reply for another quarter of an hour."""
        await self.store.refresh_token(job_id, token, received_at=received_at, message_id=message_id)
        self.wakeups.wake(job_id)

    async def delete(self, job_id: str, *, user_id: int) -> tuple[Picture, ...]:
        """Forget a finished job's pictures; the caller removes the message and the files."""
        job = await self.own_job(job_id, user_id=user_id, key="delete.not_yours")
        if not job.state.is_final:
            raise UserError("job.running")
        pictures = await self.store.delete_pictures(job, now=self.clock())
        await self._purge_deleted()
        return pictures

    async def _purge_deleted(self) -> None:
        """Usually over in a moment; where others read just now, nobody waits for it."""
        self._background.add(forgetting := asyncio.create_task(Housekeeping(self.store.database).purge_deleted()))
        forgetting.add_done_callback(self._background.discard)
        await asyncio.wait({forgetting}, timeout=PURGE_TIMEOUT)

    async def open_jobs(self, user_id: int) -> tuple[list[Card], int]:
        """A member's unfinished jobs, and those whose result never arrived or is hidden; how many more there are."""
        found, more = await self.store.open_of(user_id, since=self.clock() - IN_JOBS_FOR)
        return [await self.card_of(each) for each in found], more

    async def delivered_privately(self, job_id: str, *, version: int) -> None:
        """*version* of a card reached its owner by another way than its own reply: that is done, unless hidden."""
        record = await self.store.job_record(job_id)
        if record is not None and record.reply.message_id is not None and record.job.hidden_at is None:
            await self.store.delivered_privately(job_id, version=version)

    async def version_wanted(self, job_id: str) -> int:
        """The newest version of a job's card: to be asked for before the card is drawn."""
        record = await self.store.job_record(job_id)
        return record.reply.wanted if record else 0

    def repeat(self, job: Job) -> RequestDraft:
        """The same once more, with a seed of its own and without what is not offered any more."""
        options: dict[str, Any] = {name: value for name, value in job.request.options.items() if name != "seed"}
        return RequestDraft(
            verb=job.request.verb,
            prompt=job.request.prompt,
            model=job.request.model,
            asked=self.offered.still(job.request.model, job.request.verb, RequestedOptions(**options)),
            references=tuple(replace(each, fault=None, has_location=False) for each in job.request.references),
            parent_id=job.id,
        )

    # --- drafts of forms

    async def keep_draft(self, draft: RequestDraft, *, user_id: int) -> str:
        """Hold *wish* for a quarter of an hour; the id names it in a button or a form."""
        draft_id = str(ULID())
        await self._drafts.keep(draft_id, draft.dump(), user_id=user_id, expires_at=self.clock() + DRAFT_LIFE)
        return draft_id

    async def draft(self, draft_id: str, *, user_id: int) -> RequestDraft:
        body = await self._drafts.load(draft_id, user_id=user_id, now=self.clock())
        if body is None:
            raise UserError("draft.expired")
        return RequestDraft.load(body)

    async def notify_operator(self, key: str, **values: object) -> None:
        await self._notify(key, values)


def _reply(context: InteractionContext, job: Job) -> Reply:
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
        locale=context.locale,
        wanted=1,
        delivered=1,  # the acknowledgement itself shows version 1
        token=context.token,
        token_expires_at=context.received_at + TOKEN_LIFE,
    )
