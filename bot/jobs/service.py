"""Operations on existing jobs: cards, cancel, hide, show, poll, delete."""

import asyncio

from bot.core.cards import JOBS_LIST_RETENTION, Card, Picture, Reply
from bot.core.clock import Clock
from bot.core.errors import UserError
from bot.core.fair_queue import shown_place
from bot.core.jobs import Job, State
from bot.core.quota import NO_SERVER
from bot.core.server_settings import Flagged
from bot.jobs.availability import Availability
from bot.jobs.fair_queues import FairQueues
from bot.jobs.poll_timing import PollTiming
from bot.jobs.usage import Usage, left_of
from bot.jobs.wakeups import Wakeups
from bot.store.housekeeping import Housekeeping
from bot.store.queries import JobRecord, QuotaStatus
from bot.store.quotas import By
from bot.store.store import Store, Takedown

POLLABLE = frozenset({State.UNKNOWN, State.QUEUED, State.RUNNING, State.COLLECTING})
PURGE_TIMEOUT = 0.5  # seconds that the answer to a deletion waits until the bytes are overwritten


class Jobs:
    def __init__(
        self,
        store: Store,
        *,
        availability: Availability,
        queues: FairQueues,
        poll_timing: PollTiming,
        usage: Usage,
        wakeups: Wakeups,
        clock: Clock,
        ai_label: bool,
    ) -> None:
        """*ai_label*: cards with pictures say that they are AI-generated."""
        self._queues = queues
        self._poll_timing = poll_timing
        self._store = store
        self._availability = availability
        self._usage = usage
        self._wakeups = wakeups
        self._clock = clock
        self._ai_label = ai_label
        self._background: set[asyncio.Task[None]] = set()  # asyncio itself keeps no reference to a task

    async def card(self, job_id: str) -> Card:
        """The card of a job as of now; `UserError` if there is no such job."""
        found = await self.card_and_reply(job_id)
        if found is None:
            raise UserError("job.unknown")
        return found[0]

    async def card_and_reply(self, job_id: str) -> tuple[Card, Reply] | None:
        """The card of a job as of now and its reply, from one snapshot; None if there is no such job."""
        found = await self._usage.card_record(job_id)
        if found is None:
            return None
        return self.draw(found.record, found.quota), found.record.reply

    async def card_of(self, record: JobRecord) -> Card:
        return self.draw(record, await self._usage.quota_status(record.job.place))

    def draw(self, record: JobRecord, quota: QuotaStatus) -> Card:
        """The card of a job as of now, from what is on disk."""
        job, now, available = record.job, self._clock(), self._availability
        model = available.catalog.models.get(job.request.model)
        route = available.catalog.route(job.request, provider=job.provider, id=job.route)
        submitted = job.submitted_at if job.state in (State.QUEUED, State.RUNNING) else None
        timing, place = self._poll_timing, self._queues.place(job)
        slow_after = timing.slow_after(timing.key_of(job), model.timing) if model else 0.0
        private = record.reply.ephemeral or job.place.server == NO_SERVER
        withholds = quota.server_settings.flagged is Flagged.WITHHOLD
        left, bonus = left_of(quota, price=record.charge.price)
        return Card(
            job=job,
            model=model.name if model else job.request.model,
            provider=available.name_of(job.provider),
            charge=record.charge,
            estimated=available.catalog.price(job.request, route).estimated if model else False,
            left=left,
            bonus=bonus,
            queue_position=None if place is None else shown_place(place),
            outage=None if job.state.is_final else available.outages.get(job.provider),
            blocked_host=available.blocked_host_of(job.id) if job.state is State.COLLECTING else None,
            slow=bool(model and submitted and now - submitted >= slow_after * 1000),
            usual=timing.usual(job) if model else None,
            ready_at=timing.ready_at(job) if submitted else None,
            pictures=record.pictures,
            private=record.reply.ephemeral or job.place.guild_id is None,
            prices=quota.server_settings.prices,
            locale=record.reply.locale,
            by_rules=job.flagged and withholds and not private,
            editable=available.offered.edit_model(job.request.model) is not None,
            larger=available.offered.larger_resolutions(job.request),
            hide_only=not available.cancels(job.provider),
            ai_label=self._ai_label,
        )

    async def own_job(self, job_id: str, *, user_id: int, key: str = "job.unknown") -> Job:
        """A member's own job; `UserError` *key* for somebody else's, `job.unknown` for one that does not exist."""
        job = await self._store.job(job_id)
        if job is None or job.deleted_at is not None:
            raise UserError("job.unknown")
        if job.place.user_id != user_id:
            raise UserError(key)
        return job

    async def cancel(self, job_id: str, *, user_id: int) -> Card:
        """Stop a job if possible: at once while it waits in the queue, through the provider once it has a run."""
        await self.own_job(job_id, user_id=user_id, key="cancel.not_yours")
        if await self._store.cancel(job_id, now=self._clock()) is None:
            raise UserError("cancel.too_late")
        self._wakeups.wake(job_id)
        return await self.card(job_id)

    async def hide(self, job_id: str, *, user_id: int) -> Card:
        """Hide a job that its provider cannot stop; it is charged as usual."""
        job = await self.own_job(job_id, user_id=user_id, key="hide.not_yours")
        if self._availability.cancels(job.provider) or await self._store.hide(job_id, now=self._clock()) is None:
            raise UserError("hide.too_late")
        self._wakeups.replies.set()
        return await self.card(job_id)

    async def show(self, job_id: str, *, user_id: int) -> Card:
        """Show a hidden job again, with the pictures it has by now."""
        await self.own_job(job_id, user_id=user_id, key="hide.not_yours")
        await self._store.show(job_id, now=self._clock())
        self._wakeups.replies.set()
        return await self.card(job_id)

    async def poll_now(self, job_id: str) -> None:
        """Bring a job's next poll forward to now."""
        job = await self._store.job(job_id)
        if job is None:
            raise UserError("job.unknown")
        if job.state in POLLABLE:
            await self._store.update(job, now=self._clock(), due_at=self._clock())
        self._wakeups.wake(job_id)

    async def button_clicked(self, job_id: str, token: str, *, received_at: int, message_id: int) -> None:
        """Record a click on a reply: the click's token can edit that reply for another quarter of an hour."""
        await self._store.refresh_token(job_id, token, received_at=received_at, message_id=message_id)
        self._wakeups.wake(job_id)

    async def delete(self, job_id: str, *, user_id: int) -> tuple[Picture, ...]:
        """Delete a finished job's pictures from the database; the caller removes the files, delivery the message."""
        job = await self.own_job(job_id, user_id=user_id, key="delete.not_yours")
        if not job.state.is_final:
            raise UserError("job.running")
        pictures = await self._store.delete_pictures(job, now=self._clock())
        self._wakeups.replies.set()
        await self.purge_deleted()
        return pictures

    async def delete_picture(self, job_id: str, n: int, *, user_id: int) -> tuple[Picture, ...]:
        """Delete one picture of a finished job, as `delete` does all of them; the last one takes the job with it."""
        job = await self.own_job(job_id, user_id=user_id, key="delete.not_yours")
        record = await self._store.job_record(job_id)
        if not job.state.is_final:
            raise UserError("job.running")
        if record is None or {each.n for each in record.pictures} <= {n}:
            return await self.delete(job_id, user_id=user_id)
        pictures = await self._store.delete_picture(job, n, now=self._clock())
        self._wakeups.replies.set()
        await self.purge_deleted()
        return pictures

    async def take_down(self, by: By, job_id: str, *, strike: bool) -> Takedown:
        """Delete a result for a moderator, as `delete` does; *strike*: it counts against the requester."""
        taken_down = await self._store.take_down(by, job_id, strike=strike)
        if taken_down.done:
            self._wakeups.replies.set()
            await self.purge_deleted()
        return taken_down

    async def cover(self, by: By, job_id: str) -> None:
        """Cover the pictures of a job for a moderator."""
        await self._store.set_spoiler(job_id, spoiler=True, now=self._clock(), by=by)
        self._wakeups.replies.set()

    async def toggle_spoiler(self, job_id: str, *, user_id: int) -> Card:
        """Cover a job's pictures, or uncover them; pictures that the provider flagged stay covered."""
        job = await self.own_job(job_id, user_id=user_id, key="spoiler.not_yours")
        await self._store.set_spoiler(job_id, spoiler=not job.spoiler, now=self._clock())
        self._wakeups.replies.set()
        return await self.card(job_id)

    async def purge_deleted(self) -> None:
        """Overwrite deleted data; while other connections are reading, this continues in the background."""
        self._background.add(purging := asyncio.create_task(Housekeeping(self._store.database).purge_deleted()))
        purging.add_done_callback(self._background.discard)
        await asyncio.wait({purging}, timeout=PURGE_TIMEOUT)

    async def open_jobs(self, user_id: int) -> tuple[list[Card], int]:
        """A member's unfinished jobs and those with an undelivered or hidden result; how many more there are."""
        found, more = await self._store.open_jobs(user_id, since=self._clock() - JOBS_LIST_RETENTION)
        return [await self.card_of(each) for each in found], more

    async def delivered_privately(self, job_id: str, *, version: int) -> None:
        """Record that the owner has *version* of a card by another path than its reply; a hidden job's reply stays."""
        record = await self._store.job_record(job_id)
        if record is not None and record.reply.message_id is not None and record.job.hidden_at is None:
            await self._store.mark_delivered_privately(job_id, version=version)

    async def wanted_version(self, job_id: str) -> int:
        """The newest version of a job's card; read it before the card is drawn."""
        record = await self._store.job_record(job_id)
        return record.reply.wanted if record else 0
