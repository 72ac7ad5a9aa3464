"""The store of jobs, reservations and replies: each method is one snapshot to read, or one transaction to write.

What belongs together is written together: a job with its reservation; the end of a job with its settlement and the
request for a new card. The write of a cancelled caller may still be committed.

Longer than other files: what is written together with a change of a job is read in one place.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from bot.core.cards import HIDEABLE, TOKEN_LIFE, Picture, Reply, ReplyPath, paths
from bot.core.errors import UserError
from bot.core.jobs import Cancel, Job, JobSummary, Lease, Place, State
from bot.core.quota import IN_UTC, Amount, Holder, Limits
from bot.core.server_settings import ServerSettings
from bot.core.windows import Calendar
from bot.store import alerts, complaints, jobs, ledger, processes, provider_health, queries, replies, rules, strikes
from bot.store.acceptance import Acceptance, Request
from bot.store.complaints import Complaint, Outcome
from bot.store.database import Database, Tx
from bot.store.ledger import Reservation
from bot.store.queries import CardRecord, JobRecord, QuotaStatus
from bot.store.quotas import By, record_change
from bot.store.replies import DueReply
from bot.store.strikes import StrikeReason

log = logging.getLogger(__name__)

T = TypeVar("T")

CANCELLABLE = frozenset({State.ACCEPTED, State.SUBMITTING, State.QUEUED})
CARD_UNCHANGED = frozenset({State.SUBMITTING})  # entering these states does not change the card


class AlreadySeen(Exception):
    """The interaction was handled before: Discord may deliver an event twice."""


class SlotsTaken(Exception):
    """A provider has as many runs from us as it may: another process has just taken the last slot."""


@dataclass(slots=True)
class Written:
    """What one unit has written and loops keep in memory: rows of jobs, and when replies are due."""

    jobs: list[Job] = field(default_factory=list)
    replies: dict[str, DueReply] = field(default_factory=dict)  # by job


@dataclass(frozen=True, slots=True)
class Takedown:
    """A result that a moderator has deleted, or that was deleted before (not *done*)."""

    job: Job  # as it was
    done: bool
    complaints: Sequence[Complaint]  # about the result
    pictures: tuple[Picture, ...] = ()  # whose files the caller removes
    copy: tuple[int, int] | None = None  # the channel and the message of the copy in the gallery
    locale: str = ""  # of the requester

    @property
    def settled_by(self) -> int | None:
        """The moderator who settled a report about it."""
        return next((each.settled_by for each in self.complaints if each.settled_by is not None), None)


class Store:
    def __init__(self, database: Database) -> None:
        self.database = database
        self._acceptance = Acceptance(database) if database.shared else None
        self._job_listeners: list[Callable[[Job], None]] = []
        self._reply_listeners: list[Callable[[DueReply], None]] = []

    # --- listeners

    def on_job(self, listener: Callable[[Job], None]) -> None:
        """Call *listener* with each job's row that this process has written, once it is on disk.

        Acceptance is not among them: a job counts from its acknowledgement.
        """
        self._job_listeners.append(listener)

    def on_reply_due(self, listener: Callable[[DueReply], None]) -> None:
        """Call *listener* when this process has changed when a reply is due, once it is on disk."""
        self._reply_listeners.append(listener)

    def _notify(self, written: Written) -> None:
        try:
            for job in written.jobs:
                for on_job in self._job_listeners:
                    on_job(job)
            for due in written.replies.values():
                for on_reply_due in self._reply_listeners:
                    on_reply_due(due)
        except Exception:  # what was written stays; the rows are compared with what is in memory from time to time
            log.exception("A change of a job was not noticed", extra={"event": "listener_error"})

    async def _write(self, unit: Callable[[Tx, Written], Awaitable[T]]) -> T:
        """Run *unit*, and tell the listeners what it has written once it is on disk."""

        async def run(tx: Tx) -> tuple[T, Written]:
            written = Written()  # a new one each time, because a unit may run more than once
            return await unit(tx, written), written

        result, _ = await self.database.write(run, on_commit=lambda done: self._notify(done[1]))
        return result

    # --- reads

    async def job(self, job_id: str) -> Job | None:
        return await self.database.read(partial(jobs.get, job_id=job_id))

    async def job_record(self, job_id: str) -> JobRecord | None:
        return await self.database.read(partial(queries.job_record, job_id=job_id))

    async def card_record(self, job_id: str, *, limits: Limits, now: int) -> CardRecord | None:
        """What the card of a job is drawn from, from one snapshot."""
        return await self.database.read(partial(queries.card_record, job_id=job_id, limits=limits, now=now))

    async def job_of_run(self, provider: str, run_id: str) -> Job | None:
        return await self.database.read(partial(queries.job_of_run, provider=provider, run_id=run_id))

    async def due_jobs(self, *, worker: int | None = None) -> dict[str, JobSummary]:
        """Every job that has a due time, by job id: the worker's schedule; of one process, or for None of all."""
        return await self.database.read(partial(queries.due_jobs, worker=worker))

    async def due_before(self, at: int, *, worker: int | None = None) -> dict[str, int]:
        """`due_at` (UTC milliseconds) of the jobs that were due before *at*, by job id."""
        return await self.database.read(partial(queries.due_before, at=at, worker=worker))

    async def queued_jobs(self) -> Mapping[str, JobSummary]:
        """The jobs of all processes that wait for a slot or have one, by job id."""
        return await self.database.read(queries.queued_jobs)

    async def quota_status(self, place: Place, *, limits: Limits, now: int) -> QuotaStatus:
        """The limits that apply at *place*, how much of them is used, and the member's bonuses."""
        return await self.database.read(partial(queries.quota_status, place=place, limits=limits, now=now))

    async def server_settings(self, server: int) -> ServerSettings:
        """A server's settings; the defaults where it has set none."""
        return await self.database.read(partial(rules.server_settings, server=server))

    async def generation_channels(self) -> Mapping[int, Sequence[int]]:
        """The channels for requests by message, by server."""
        return await self.database.read(rules.generation_channels)

    async def open_jobs(self, user_id: int, *, since: int, limit: int = 10) -> tuple[list[JobRecord], int]:
        """A member's unfinished, undelivered and hidden jobs, at most *limit*, and how many more there are."""
        return await self.database.read(partial(queries.open_jobs, user_id=user_id, since=since, limit=limit))

    # --- admission

    async def accept(
        self,
        interaction_id: int,
        job: Job,
        *,
        reply: Reply,
        amount: Amount,
        price_version: str,
        limits: Limits,
        calendar: Calendar = IN_UTC,
    ) -> Reservation:
        """Write interaction, job, reservation and reply; or write the refusal and raise it as `UserError`.

        *calendar* is the server's. Raises `AlreadySeen` for a repeated interaction.
        """
        result: Reservation | UserError | None = None
        if self._acceptance is not None:
            request = Request(interaction_id, job, reply, amount, price_version, limits, calendar)
            result = await self._acceptance.accept(request)

        async def unit(tx: Tx) -> Reservation | UserError:
            if not await _claim_interaction(tx, interaction_id, job=job.id, now=job.created_at):
                raise AlreadySeen(str(interaction_id))
            reserved = await ledger.reserve(
                tx, job, amount, limits=limits, calendar=calendar, price_version=price_version
            )  # fmt: skip
            if isinstance(reserved, UserError):
                refuse = "UPDATE interactions SET job = NULL, refusal = $2 WHERE id = $1"
                await tx.run(refuse, interaction_id, reserved.key)
                return reserved
            await jobs.add(tx, job)
            await replies.add(tx, reply)
            for alert in reserved.alerts:
                await alerts.add(tx, job.place, alert, now=job.created_at)
            return reserved

        if result is None:
            result = await self.database.write(unit)
        if isinstance(result, UserError):
            raise result
        return result

    async def claim_delivery(self, interaction_id: int, *, now: int) -> bool:
        """Record that an interaction was delivered; False if it was before, to whichever process.

        Its row has the negative id, because the interaction's own is that of the request it may become.
        """

        async def unit(tx: Tx) -> bool:
            claim = "INSERT INTO interactions (id, at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING RETURNING id"
            return await tx.one(claim, -interaction_id, now) is not None

        return await self.database.write(unit)

    async def withdraw(self, job_id: str, *, now: int) -> None:
        """Cancel a job whose card was not shown, if it is still accepted when this unit runs."""

        async def unit(tx: Tx, written: Written) -> None:
            job = await jobs.get(tx, job_id)
            if job is None or job.state is not State.ACCEPTED:
                return
            moved = await jobs.move(
                tx, job, State.CANCELLED, now=now, changes={"due_at": None, "reason": "unacknowledged"}
            )
            if moved is not None:
                written.jobs.append(moved)
                await ledger.end(tx, moved, now=now, pictures=0, reason="unacknowledged")

        await self._write(unit)

    async def acknowledge(self, job_id: str, *, message_id: int, ephemeral: bool, now: int) -> None:
        """Record that Discord shows the first card: from now on the job may be submitted."""

        async def unit(tx: Tx, written: Written) -> None:
            written.replies |= await replies.set_message(tx, job_id, message_id=message_id, ephemeral=ephemeral)
            reply = await replies.get(tx, job_id)
            if reply is not None and paths(reply, now=now, final=False) == (ReplyPath.TOKEN,):
                written.replies |= await replies.set_due(
                    tx, job_id, due_at=reply.final_edit_at, version=reply.delivered
                )
            if (job := await jobs.acknowledge(tx, job_id, now=now)) is not None:
                written.jobs.append(job)

        await self._write(unit)

    # --- leases

    async def claim(self, process: int, *, dead: Collection[int] = (), now: int) -> Sequence[Job]:
        """Take over jobs of nobody and of processes that are *dead* or unknown, as many as one transaction is good for.

        Jobs whose paid request may still be in progress are left alone.
        """
        skip_locked = "FOR UPDATE SKIP LOCKED" if self.database.shared else ""

        async def unit(tx: Tx, written: Written) -> Sequence[Job]:
            written.jobs += (claimed := await processes.claim(tx, process, dead=dead, now=now, skip_locked=skip_locked))
            return claimed

        return await self._write(unit)

    async def release(self, process: int, *, ended: bool) -> None:
        """Give up the jobs of *process*, so that others claim them.

        *ended*: it has ended, and is no longer among the processes; otherwise it keeps the jobs that are being
        submitted.
        """

        async def unit(tx: Tx, written: Written) -> None:
            written.jobs += await processes.release(tx, process, ended=ended)

        await self._write(unit)

    # --- jobs

    async def move(
        self, job: Job, to: State, *, now: int, cost_micro_usd: int | None = None, may_be_billed: bool = False,
        **changes: Any,
    ) -> Job | None:  # fmt: skip
        """Change the state of *job* and request a new card; a final state also ends its reservation.

        None, with nothing written, when the job is no longer in the state that *job* has: of a poll and a button at the
        same time, the first one wins. *cost_micro_usd* is what the provider billed; where it is None, *may_be_billed*
        assumes the whole reservation.
        """

        async def unit(tx: Tx, written: Written) -> Job | None:
            moved = await jobs.move(tx, job, to, now=now, changes={"due_at": None, **changes})
            if moved is None:
                return None
            written.jobs.append(moved)
            if to.is_final:
                made = moved.images if to is State.SUCCEEDED else 0
                await ledger.end(tx, moved, now=now, pictures=made, reason=moved.reason)
            # Last, because it locks the totals of the scope `host`, which every unit locks last.
            await self._add_host_cost(tx, moved, now=now, cost=cost_micro_usd, assume=may_be_billed)
            if to not in CARD_UNCHANGED:
                written.replies |= await replies.request_redraw(tx, job.id, now=now)
            return moved

        return await self._write(unit)

    async def begin_submit(self, job: Job, *, slots: int, now: int, due_at: int) -> Job | None:
        """Record that the paid request of *job* is about to be sent; None, with nothing written, as for `move`.

        Raises `SlotsTaken`, with nothing written, where its provider already has *slots* runs of all processes.
        """

        async def unit(tx: Tx, written: Written) -> Job | None:
            await provider_health.lock(tx, job.provider)
            if await jobs.slots_in_use(tx, job.provider) >= slots:
                raise SlotsTaken(job.provider)
            changes = {"submitted_at": now, "due_at": due_at}
            moved = await jobs.move(tx, job, State.SUBMITTING, now=now, changes=changes)
            if moved is not None:
                written.jobs.append(moved)
            return moved

        return await self._write(unit)

    async def cancel(self, job_id: str, *, now: int) -> Job | None:
        """Cancel an accepted job at once, or ask for the cancellation of a submitted one; None where it is too late."""

        async def unit(tx: Tx, written: Written) -> Job | None:
            job = await jobs.lock(tx, job_id)
            if job is None or job.state not in CANCELLABLE or job.cancel is Cancel.TOO_LATE:
                return None
            if job.state is State.ACCEPTED:
                ended = await jobs.move(tx, job, State.CANCELLED, now=now, changes={"due_at": None})
                assert ended is not None  # it is locked
                written.jobs.append(ended)
                await ledger.end(tx, ended, now=now, pictures=0, reason=None)
                written.replies |= await replies.request_redraw(tx, job_id, now=now)
                return ended
            if job.cancel is not Cancel.NONE:
                return job
            written.replies |= await replies.request_redraw(tx, job_id, now=now)
            moved = await jobs.move(tx, job, job.state, now=now, changes={"cancel": Cancel.WANTED, "due_at": now})
            assert moved is not None  # it is locked
            written.jobs.append(moved)
            return moved

        return await self._write(unit)

    async def hide(self, job_id: str, *, now: int) -> Job | None:
        """Hide the result of a job from its reply; None, with nothing written, unless its provider has it."""

        async def unit(tx: Tx, written: Written) -> Job | None:
            job = await jobs.lock(tx, job_id)
            if job is None or job.hidden_at is not None:
                return job
            if job.state not in HIDEABLE:
                return None
            written.replies |= await replies.request_redraw(tx, job_id, now=now)
            return await jobs.amend(tx, job_id, changes={"hidden_at": now})

        return await self._write(unit)

    async def show(self, job_id: str, *, now: int) -> None:
        """Show the result of a hidden job in its reply again."""

        async def unit(tx: Tx, written: Written) -> None:
            job = await jobs.lock(tx, job_id)
            if job is not None and job.hidden_at is not None:
                written.replies |= await replies.request_redraw(tx, job_id, now=now)
                await jobs.amend(tx, job_id, changes={"hidden_at": None})

        await self._write(unit)

    async def set_spoiler(self, job_id: str, *, spoiler: bool, now: int, by: By | None = None) -> None:
        """Cover the pictures of a job, or show them uncovered; in the history if a moderator does it (*by*)."""

        async def unit(tx: Tx, written: Written) -> None:
            job = await jobs.lock(tx, job_id)
            if job is not None and job.spoiler != spoiler:
                if by is not None:
                    await _record(tx, by, "spoiler", job)
                written.replies |= await replies.request_redraw(tx, job_id, now=now)
                await jobs.amend(tx, job_id, changes={"spoiler": spoiler})

        await self._write(unit)

    async def update(self, job: Job, *, now: int, show: bool = False, **changes: Any) -> Job | None:
        """Change columns of *job* if it is still in the same state, or return None; *show* requests a new card."""

        async def unit(tx: Tx, written: Written) -> Job | None:
            moved = await jobs.move(tx, job, job.state, now=now, changes=changes)
            if moved is not None:
                written.jobs.append(moved)
            if moved is not None and show:
                written.replies |= await replies.request_redraw(tx, job.id, now=now)
            return moved

        return await self._write(unit)

    async def update_ended(self, job: Job, **changes: Any) -> Job | None:
        """Change columns of an ended job; None, with nothing written, if it is under another lease."""

        async def unit(tx: Tx, written: Written) -> Job | None:
            if (amended := await jobs.amend_held(tx, job, changes=changes)) is not None:
                written.jobs.append(amended)
            return amended

        return await self._write(unit)

    async def retry_waiting(self, provider: str, *, now: int) -> None:
        """Make every job that waits for *provider* due at *now*, whatever retry delay it has."""

        async def unit(tx: Tx, written: Written) -> None:
            written.jobs += await jobs.retry_waiting(tx, provider, now=now)

        await self._write(unit)

    async def add_picture(self, job: Job, picture: Picture, *, now: int) -> bool:
        """Record a picture that is on disk; False if its job was deleted meanwhile, so that the file is an orphan."""

        async def unit(tx: Tx) -> bool:
            current = await jobs.lock(tx, job.id)
            if current is None or current.deleted_at is not None:
                return False
            await replies.add_picture(tx, job.id, picture, now=now)
            return True

        return await self.database.write(unit)

    async def record_cost(self, job: Job, *, now: int, micro_usd: int) -> None:
        """Record what the provider billed for *job*, reported after its end; it replaces an assumed cost."""

        async def unit(tx: Tx) -> None:
            await jobs.lock(tx, job.id)  # against a concurrent `move`, which may record an assumed cost
            await ledger.add_host_cost(tx, job, now=now, micro_usd=micro_usd, known=True, reason=job.reason)

        await self.database.write(unit)

    async def _add_host_cost(self, tx: Tx, job: Job, *, now: int, cost: int | None, assume: bool) -> None:
        if cost is not None:
            await ledger.add_host_cost(tx, job, now=now, micro_usd=cost, known=True, reason=job.reason)
        elif assume:
            charge = await ledger.charge(tx, job.id)
            amount = charge.reserved.micro_usd
            await ledger.add_host_cost(tx, job, now=now, micro_usd=amount, known=False, reason=job.reason)

    # --- replies

    async def due_replies(self, *, before: int | None = None, worker: int | None = None) -> dict[str, DueReply]:
        """Every reply that is due at some time, or that was due before *before* (UTC milliseconds), by job id.

        Of the jobs of one process, or for None of all.
        """
        return await self.database.read(partial(replies.due, before=before, worker=worker))

    async def request_redraw(self, job_ids: Sequence[str], *, now: int) -> None:
        """Request a new card for each of these jobs, due at *now*."""

        async def unit(tx: Tx, written: Written) -> None:
            for each in job_ids:
                written.replies |= await replies.request_redraw(tx, each, now=now)

        await self._write(unit)

    async def mark_delivered(
        self, job_id: str, *, version: int, message_id: int, now: int, due_at: int | None = None,
        lease: Lease | None = None,
    ) -> None:  # fmt: skip
        """Record that *version* is shown; *due_at* applies where no newer version is wanted.

        Under another lease than *lease*, a newer card may have been overwritten: then it is requested again.
        """

        async def unit(tx: Tx, written: Written) -> None:
            shown = await replies.mark_delivered(
                tx, job_id, version=version, message_id=message_id, due_at=due_at, lease=lease
            )
            written.replies |= shown or await replies.request_redraw(tx, job_id, now=now)

        await self._write(unit)

    async def postpone_delivery(
        self, job_id: str, *, due_at: int | None, version: int | None = None, lease: Lease | None = None
    ) -> None:
        """Count a failed attempt to show *version* (None: the newest); due at *due_at*, or on a click for None."""

        async def unit(tx: Tx, written: Written) -> None:
            await replies.count_attempt(tx, job_id, lease=lease)
            written.replies |= await replies.set_due(tx, job_id, due_at=due_at, version=version, lease=lease)

        await self._write(unit)

    async def drop_token(self, job_id: str, token: str) -> None:
        """Record that Discord no longer accepts *token* for the reply."""

        async def unit(tx: Tx) -> None:
            await replies.drop_token(tx, job_id, token)

        await self.database.write(unit)

    async def mark_text_shown(
        self, job_id: str, *, version: int, message_id: int, due_at: int | None, lease: Lease | None = None
    ) -> None:
        """Record that *version* is shown without its pictures; due at *due_at*, or None to leave them to /jobs."""

        async def unit(tx: Tx, written: Written) -> None:
            await replies.mark_text_shown(tx, job_id, version=version, message_id=message_id, lease=lease)
            await replies.count_attempt(tx, job_id, lease=lease)
            written.replies |= await replies.set_due(tx, job_id, due_at=due_at, version=version, lease=lease)

        await self._write(unit)

    async def mark_delivered_privately(self, job_id: str, *, version: int) -> None:
        """Record that the member has received *version* in full, in another message than the reply."""

        async def unit(tx: Tx, written: Written) -> None:
            written.replies |= await replies.mark_delivered_privately(tx, job_id, version=version)

        await self._write(unit)

    async def mark_notified(self, job_id: str, *, lease: Lease | None = None) -> bool:
        """Record that a direct message about the end of the job was sent, or cannot be: it is not sent again.

        False, with nothing written, under another lease: then it is not this process that sends it.
        """
        return await self.database.write(partial(replies.mark_notified, job_id=job_id, lease=lease))

    async def mark_thread_opened(self, job_id: str, *, lease: Lease | None = None) -> None:
        """Record that the finished card has its thread, or cannot get one."""
        await self.database.write(partial(replies.mark_thread_opened, job_id=job_id, lease=lease))

    async def mark_reply_gone(self, job_id: str, *, lease: Lease | None = None) -> None:
        async def unit(tx: Tx, written: Written) -> None:
            written.replies |= await replies.mark_gone(tx, job_id, lease=lease)

        await self._write(unit)

    async def refresh_token(self, job_id: str, token: str, *, received_at: int, message_id: int) -> None:
        """Save the token of a click on the reply, which is valid for `TOKEN_LIFE`."""

        async def unit(tx: Tx, written: Written) -> None:
            reply = await replies.get(tx, job_id)
            if reply is None or reply.gone or reply.message_id != message_id:
                return
            await replies.keep_token(tx, job_id, token, expires_at=received_at + TOKEN_LIFE)
            if (
                reply.delivered < reply.wanted
            ):  # a new version, so that an attempt that is failing now cannot postpone it
                written.replies |= await replies.request_redraw(tx, job_id, now=received_at)

        await self._write(unit)

    async def delete_pictures(self, job: Job, *, now: int) -> tuple[Picture, ...]:
        """Delete the rows of pictures, the request and the drafts of *job*, and have its message deleted.

        The caller removes the files.
        """

        async def unit(tx: Tx, written: Written) -> tuple[Picture, ...]:
            await jobs.lock(tx, job.id)
            return await _delete(tx, written, job, now=now)

        return await self._write(unit)

    async def delete_all_pictures(self, user_id: int, *, now: int, limit: int = 200) -> tuple[int, Sequence[Picture]]:
        """Do as `delete_pictures` for up to *limit* ended jobs of a member; returns how many there were."""

        async def unit(tx: Tx, written: Written) -> tuple[int, Sequence[Picture]]:
            ended = await jobs.ended_of(tx, user_id, limit=limit)
            return len(ended), [picture for job in ended for picture in await _delete(tx, written, job, now=now)]

        return await self._write(unit)

    async def take_down(self, by: By, job_id: str, *, strike: bool) -> Takedown:
        """Delete a result for a moderator of its server, and settle the reports about it.

        *strike*: count a strike against its requester. Of two moderators at once the first one acts, and the second
        gets nothing done; *settled_by* says who was first, if there was a report. `UserError` where there is no such
        result in the server of *by*.
        """

        async def unit(tx: Tx, written: Written) -> Takedown:
            job = await jobs.lock(tx, job_id)
            if job is None or job.place.server != by.server:
                raise UserError("moderation.unknown")
            if not job.state.is_final:
                raise UserError("job.running")
            outcome = Outcome.DISMISSED if job.deleted_at is not None else Outcome.TAKEN_DOWN
            await complaints.settle(tx, job_id, outcome, by=by.actor, now=by.at)
            reports = await complaints.of_job(tx, job_id)
            action = "takedown" if strike else "delete"
            if job.deleted_at is not None or not await _record(tx, by, action, job):
                return Takedown(job, done=False, complaints=reports)
            pictures = await _delete(tx, written, job, now=by.at)
            if strike:
                user, reason = job.place.user_id, StrikeReason.TAKEDOWN
                await strikes.add(tx, by.id, server=by.server, user=user, reason=reason, now=by.at)
            copy = await tx.one("DELETE FROM gallery WHERE job = $1 RETURNING channel_id, message_id", job_id)
            posted = (copy["channel_id"], copy["message_id"]) if copy and copy["message_id"] else None
            reply = await replies.get(tx, job_id)
            locale = reply.locale if reply else ""
            return Takedown(job, done=True, complaints=reports, pictures=pictures, copy=posted, locale=locale)

        return await self._write(unit)

    async def delete_picture(self, job: Job, n: int, *, now: int) -> tuple[Picture, ...]:
        """Delete the row of picture *n* of several, and request a redraw; the caller removes the file."""

        async def unit(tx: Tx, written: Written) -> tuple[Picture, ...]:
            await jobs.lock(tx, job.id)
            pictures = await replies.pictures(tx, job.id)
            deleted = tuple(each for each in pictures if each.n == n)
            if deleted:
                await tx.run("DELETE FROM pictures WHERE job = $1 AND n = $2", job.id, n)
                written.replies |= await replies.request_redraw(tx, job.id, now=now)
            return deleted

        return await self._write(unit)


async def _delete(tx: Tx, written: Written, job: Job, *, now: int) -> tuple[Picture, ...]:
    """Delete the pictures, the request and the drafts of a locked job; its message is deleted by delivery."""
    deleted = await replies.pictures(tx, job.id)
    await tx.run("DELETE FROM pictures WHERE job = $1", job.id)
    changes = {"deleted_at": now, "watch_until": None, "due_at": None}
    if (deleted_job := await jobs.amend(tx, job.id, changes=changes)) is not None:
        written.jobs.append(deleted_job)
    await jobs.erase_request(tx, job)
    written.replies |= await replies.request_redraw(tx, job.id, now=now)
    return deleted


async def _record(tx: Tx, by: By, action: str, job: Job) -> bool:
    """Record what a moderator does with a job; False if it was recorded before."""
    user, body = job.place.user_id, {"job": job.id}
    return await record_change(tx, by, action, holder=Holder.USER, subject=user, body=body)


async def _claim_interaction(tx: Tx, interaction_id: int, *, job: str, now: int) -> bool:
    row = await tx.one(
        "INSERT INTO interactions (id, at, job) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING RETURNING id",
        interaction_id,
        now,
        job,
    )
    return row is not None
