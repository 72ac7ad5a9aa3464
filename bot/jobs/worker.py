"""The loop that advances jobs: it takes due jobs, and runs the one step that `next_step` chooses for each.

The rows are authoritative. The schedule in memory is a cache: a restart rebuilds it from them, and it is compared with
them from time to time; a poll without a change writes nothing.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import StrEnum

from bot.core.clock import Clock
from bot.core.jobs import ACK_WINDOW, SECOND, Job, JobSummary, State, Step, next_step
from bot.core.rate_limit import RateLimit
from bot.jobs import system_outages
from bot.jobs.bulk_polls import BulkPolls
from bot.jobs.changes import Changes
from bot.jobs.leases import Leases
from bot.jobs.poll_timing import PolledRun, PollTiming
from bot.jobs.queue import Queue
from bot.jobs.schedule import Schedule
from bot.jobs.share import Share
from bot.jobs.steps.poll import Outcome
from bot.jobs.steps.table import Steps
from bot.jobs.system_outages import Outages
from bot.jobs.wakeups import Wakeups
from bot.observability.metrics import Metrics
from bot.providers.base import Provider
from bot.store.database import CONNECTION_LOST
from bot.store.housekeeping import Housekeeping
from bot.store.store import Store

log = logging.getLogger(__name__)

MAX_POLLS = 64  # of one provider at the same time: as many as its client sends
MAX_STEPS = 32  # other than polls, of one provider at the same time
COMPARE_EVERY = 30 * SECOND  # so that a job that is not in the schedule is found within a minute
COMPARED_FRESH = 10 * SECOND
JUST_DUE = 5 * SECOND  # a job that has been due for less may be about to enter the schedule
ERROR_DELAY = 30 * SECOND
CONNECTION_LOST_DELAY = 2 * SECOND
LONGEST_SLEEP = 60 * SECOND


class Kind(StrEnum):
    """Kinds of steps. Each has a share of its own for each provider, so that none holds up the others."""

    CONFIRM = "confirm"  # asks Discord
    POLL = "poll"
    STEP = "step"


class Worker:
    def __init__(
        self,
        store: Store,
        schedule: Schedule,
        *,
        steps: Steps,
        queue: Queue,
        wakeups: Wakeups,
        leases: Leases,
        changes: Changes,
        outages: Outages,
        metrics: Metrics,
        clock: Clock,
        poll_timing: PollTiming,
        providers: Mapping[str, Provider],
    ) -> None:
        self._store = store
        self._schedule = schedule
        self._steps = steps
        self._queue = queue
        self._wakeups = wakeups
        self._leases = leases
        self._outages = outages
        self._metrics = metrics
        self._clock = clock
        self._poll_timing = poll_timing
        self._rows: dict[str, JobSummary] = {}  # of our jobs that have a due time, as last read or written
        self._written: set[str] | None = None  # jobs written while the rows are read
        self._runs: dict[str, PolledRun] = {}  # of jobs that are only polled
        self._last_written: dict[str, Job] = {}  # rows for the next step, which need not be read again
        self._shares: dict[tuple[str, Kind], Share] = {}
        self._waits_in: dict[str, Share] = {}  # job → where it waits to be attended to
        self._missing: Mapping[str, int] = {}  # due times of jobs missing from the schedule at the last comparison
        self._sleeps_until = 0
        self._compared_at = 0
        self._bulk_polls = BulkPolls(providers, poll_timing, runs=self._runs, schedule=self._reschedule, clock=clock)
        store.on_job(self._on_job)
        changes.on_job(self._on_change)
        changes.on_reread(self.reread)
        leases.on_claimed(self._on_claimed)

    async def start(self) -> None:
        """Rebuild the schedule from the rows; every job is due at once, so that what was interrupted is recovered."""
        self._wakeups.worker_runs = True
        await Housekeeping(self._store.database).clamp_future_times(now=self._clock())
        await self._leases.claim()
        await self._reload()
        self._schedule.wake(self._rows)  # also those written before this, which `_reload` finds unchanged

    async def run(self, stop: asyncio.Event) -> None:
        """Run steps until *stop*, and finish those in progress; each has its own timeout."""
        async with asyncio.TaskGroup() as group:
            comparing = group.create_task(self._compare_regularly(stop))
            while not stop.is_set():
                self._wakeups.worker.clear()
                for provider, pages in self._take_bulk():
                    group.create_task(self._bulk_polls.look(provider, pages=pages))
                for job_id in self._take_due():
                    group.create_task(self._attend(job_id))
                if (redraw_at := self._queue.redraw_at) is not None and redraw_at <= self._clock():
                    group.create_task(self._redraw_places())
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._sleep()):
                        await self._wakeups.worker.wait()
            comparing.cancel()
        with self._outages.outlasting(system_outages.UNREAD):
            await self._poll_timing.save()

    async def run_due(self) -> int:
        """Run every step that is due now, once; returns their number. Jobs that they wake are due at the next call."""
        async with asyncio.TaskGroup() as group:
            for provider, pages in self._take_bulk():
                group.create_task(self._bulk_polls.look(provider, pages=pages))
        due = self._take_due()
        async with asyncio.TaskGroup() as group:
            for job_id in due:
                group.create_task(self._attend(job_id))
        await self._redraw_places()
        self._schedule.wake(self._wakeups.jobs)
        return len(due)

    async def overdue(self) -> float:
        """Seconds by which the oldest due job is late, whether it is in the schedule or only in its row.

        A row alone is not enough: its time does not change at a poll without a change.
        """
        now = self._clock()
        if now - self._compared_at >= COMPARED_FRESH:
            await self._compare()
        waiting = (self._schedule.earliest, *(each.earliest for each in self._shares.values()))
        times = [at for job_id, at in self._missing.items() if not self._schedule.knows(job_id)]
        times += [each for each in waiting if each is not None]
        return max(0.0, (now - min(times, default=now)) / 1000)

    # --- what is due

    def _take_due(self) -> list[str]:
        """The jobs to attend to now, each with a place in the share of its provider and kind of step."""
        now = self._clock()
        woken = {each for each in self._wakeups.take_jobs() if not self._queue.is_of_another_process(each)}
        self._schedule.wake(woken)
        for job_id in woken & self._schedule.busy:
            if (share := self._waits_in.get(job_id)) is not None:
                share.add(job_id, now, urgent=True)
        for job_id, due_at in self._schedule.take_due():
            share = self._waits_in[job_id] = self._share_of(job_id)
            share.add(job_id, due_at, urgent=job_id in woken)
        taken = []
        for (provider, kind), share in self._shares.items():
            if kind is Kind.POLL:
                share.change_rate(self._poll_timing.budget(provider))
                self._poll_timing.steer(provider, waiting=share.waiting)
            while (found := share.take(now)) is not None:
                taken.append(found[0])
                if kind is Kind.POLL:
                    self._poll_timing.polled(provider)
                self._metrics.poll_delay((now - found[1]) / SECOND)
        return taken

    def _take_bulk(self) -> list[tuple[str, int]]:
        """The providers all of whose runs are looked at now, and in how many requests, within the budget of polls."""
        now, taken = self._clock(), []
        for (provider, kind), share in self._shares.items():
            if kind is Kind.POLL and (pages := self._bulk_polls.pages(provider)) and share.take_requests(now, pages):
                taken.append((provider, pages))
        return taken

    def _share_of(self, job_id: str) -> Share:
        row = self._rows.get(job_id)
        if row is None or not row.acknowledged:  # Discord is asked for its card
            return self._share("", Kind.CONFIRM)
        polled = row.state in (State.QUEUED, State.RUNNING) or row.state.is_final  # the last are watched
        return self._share(row.provider, Kind.POLL if polled else Kind.STEP)

    def _share(self, provider: str, kind: Kind) -> Share:
        if (share := self._shares.get((provider, kind))) is None:
            rate = RateLimit(self._poll_timing.budget(provider)) if kind is Kind.POLL else None
            share = Share(limit=MAX_POLLS if kind is Kind.POLL else MAX_STEPS, rate=rate)
            self._shares[provider, kind] = share
        return share

    def _reschedule(self, job_id: str, at: int) -> None:
        """Attend to a job at *at*, unless it is being attended to or has been woken."""
        if job_id not in self._schedule.busy and job_id not in self._wakeups.jobs:
            self._schedule.set(job_id, at)

    def _sleep(self) -> float:
        """Seconds until something may be due. What ends a step wakes the loop if something waits for its place."""
        now = self._clock()
        times = [
            self._schedule.earliest,
            self._queue.redraw_at,
            self._bulk_polls.next_at,
            *(each.next_at(now) for each in self._shares.values()),
        ]
        self._sleeps_until = min((each for each in times if each is not None), default=now + LONGEST_SLEEP)
        return max(0, min(LONGEST_SLEEP, self._sleeps_until - now)) / SECOND

    def _on_job(self, job: Job) -> None:
        """Keep in memory what a row of a job says that this process has written."""
        if self._written is not None:
            self._written.add(job.id)
        if not self._leases.owns(job.lease.worker):
            self._give_up(job.id)
            if job.due_at is not None:
                self._leases.check_owner(job.lease.worker)
            return
        if job.due_at is None:
            self._rows.pop(job.id, None)
        else:
            self._rows[job.id] = JobSummary.of(job)
        if job.due_at is None or job.state.is_final:
            self._last_written.pop(job.id, None)
        else:
            self._last_written[job.id] = job
        self._remember(job)

    def _on_change(self, job: JobSummary) -> None:
        """Take over what another process has written: its row is read before anything is done to it."""
        known = self._rows.get(job.job_id)
        if known is not None and known.version >= job.version:
            return
        if not self._leases.owns(job.worker):
            self._give_up(job.job_id)
            if job.due_at is not None:
                self._leases.check_owner(job.worker)
            return
        if self._written is not None:
            self._written.add(job.job_id)
        self._forget(job.job_id)
        self._last_written.pop(job.job_id, None)
        if job.due_at is not None:
            self._rows[job.job_id] = job
        if job.due_at is None or job.job_id in self._schedule.busy:
            self._schedule.wake([job.job_id])
        else:
            self._schedule.bring_forward(job.job_id, job.due_at)
        self._wakeups.worker.set()

    def _on_claimed(self, jobs: Sequence[Job]) -> None:
        """Attend at once to jobs that were taken over, so that what was interrupted is recovered."""
        self._schedule.wake(each.id for each in jobs if each.due_at is not None)
        self._wakeups.reread_replies.set()
        self._wakeups.wake_all()

    def _give_up(self, job_id: str) -> None:
        """The job belongs to another process."""
        self._rows.pop(job_id, None)
        self._last_written.pop(job_id, None)
        self._schedule.set(job_id, None)
        self._forget(job_id)

    def _remember(self, job: Job) -> None:
        if (run := self._steps.poll.polled_run(job, self._runs.get(job.id))) is not None:
            self._runs[job.id] = run
        else:
            self._forget(job.id)

    def _forget(self, job_id: str) -> None:
        self._runs.pop(job_id, None)
        self._poll_timing.forget(job_id)

    async def _reload(self) -> None:
        """Take over due times that other processes have changed."""
        self._written = written = set[str]()
        try:
            rows, busy = await self._store.due_jobs(worker=self._leases.worker), self._schedule.busy
        finally:
            self._written = None
        known = self._rows
        self._rows = rows | {job_id: known[job_id] for job_id in written & known.keys()}
        for job_id in (rows.keys() | known.keys()) - written:
            if known.get(job_id) == rows.get(job_id):
                continue
            self._forget(job_id)  # its row is read before anything is done to it
            self._last_written.pop(job_id, None)
            if job_id in rows and job_id not in busy:
                self._schedule.bring_forward(job_id, rows[job_id].due_at or 0)  # it may have been woken
            elif job_id not in rows:  # ended or claimed by another process
                self._schedule.wake([job_id])
        await self._queue.load()

    async def reread(self) -> None:
        """Take over what other processes have written."""
        await self._reload()
        self._wakeups.reread_replies.set()
        self._wakeups.wake_all()

    async def _compare(self) -> None:
        self._compared_at = self._clock()
        # One that ends while the rows are read is unknown afterwards.
        known = self._schedule.due | self._schedule.busy
        rows = await self._store.due_before(self._compared_at - JUST_DUE, worker=self._leases.worker)
        self._missing = {
            job_id: at for job_id, at in rows.items() if job_id not in known and not self._schedule.knows(job_id)
        }

    async def find_missing(self) -> None:
        """Schedule jobs that are due by their rows only. There should be none, so each is logged as a defect."""
        await self._compare()
        for job_id, at in self._missing.items():
            log.warning("A due job was missing from the schedule", extra={"event": "job_found", "job_id": job_id})
            self._schedule.set(job_id, at)

    async def _compare_regularly(self, stop: asyncio.Event) -> None:
        """Find jobs missing in the schedule, and store what was learnt about durations."""
        while not stop.is_set():
            with self._outages.outlasting(system_outages.UNREAD):
                await self.find_missing()
                await self._poll_timing.save()
                self._wakeups.worker.set()
            await asyncio.sleep(COMPARE_EVERY / SECOND)

    # --- one job

    async def _attend(self, job_id: str) -> None:
        share = self._waits_in.pop(job_id)
        self._schedule.begin(job_id)
        try:
            at = await self._look(job_id)
        except CONNECTION_LOST as exc:  # the step itself has not failed
            extra = {"event": "store_trouble", "job_id": job_id}
            log.warning("A step lost the connection to the database: %s", type(exc).__name__, extra=extra)
            at = self._clock() + CONNECTION_LOST_DELAY
        except Exception as exc:  # one job's error must not stop the others
            at = self._clock() + system_outages.RETRY_AFTER
            if self._outages.seen(exc) is None:
                log.exception("A step failed and is retried", extra={"event": "step_error", "job_id": job_id})
                at = self._clock() + ERROR_DELAY
        share.done()
        self._schedule.done(job_id, at)
        if share.waiting or (self._schedule.earliest or self._sleeps_until) < self._sleeps_until:
            self._wakeups.worker.set()

    async def _look(self, job_id: str) -> int | None:
        """Poll the job's run; with news, or where something else is to be done, read its row and do its next step."""
        if not self._leases.held:  # another process may have claimed the job: first it must be known that none has
            return self._clock() + SECOND
        outcome: Outcome | None = None
        if (run := self._runs.get(job_id)) is not None and self._clock() < run.deadline:
            seen = await self._steps.poll.look(run)
            if isinstance(seen, int):
                return seen
            outcome = seen
        # Each row is used once: where a step finds that it has changed, the next one reads it.
        job = self._last_written.pop(job_id, None) or await self._store.job(job_id)
        if job is None or not self._leases.owns(job.lease.worker):
            self._give_up(job_id)
            return None
        self._remember(job)
        at = await self._step(job, outcome, run)
        if at is None and (row := self._rows.get(job_id)) is not None:  # the step leaves it to the row
            return max(row.due_at or 0, self._clock() + SECOND)
        return at

    async def _step(self, job: Job, outcome: Outcome | None, run: PolledRun | None) -> int | None:
        """Run the job's next step; returns when to attend to it again. *outcome* is that of polling *run* just now."""
        step = next_step(job, self._clock())
        if step is None:
            return await self._rest(job)
        if step is Step.POLL and outcome is not None:
            return await self._steps.poll.apply(job, outcome, run=run)
        return await self._steps.runners[step].run(job)

    async def _rest(self, job: Job) -> int | None:
        """Nothing is to be done now: the job has ended, or its acknowledgement is awaited."""
        if job.state.is_final and job.due_at is not None:  # the watch of its run has ended
            await self._store.update_ended(job, due_at=None, watch_until=None)
        return job.created_at + ACK_WINDOW if job.state is State.ACCEPTED else None

    async def _redraw_places(self) -> None:
        with self._outages.outlasting("Places in the queue could not be updated"):
            await self._queue.redraw_moved()
