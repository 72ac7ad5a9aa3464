"""The loop that advances jobs: it takes due jobs, and runs the one step that `next_step` chooses for each.

The rows are authoritative. The schedule in memory is a cache: a restart rebuilds it from them, and it is compared with
them from time to time; a poll without a change writes nothing.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

from bot.core.clock import Clock
from bot.core.jobs import ACK_WINDOW, SECOND, Job, State, Step, next_step
from bot.jobs import system_outages
from bot.jobs.queue import Queue
from bot.jobs.schedule import Schedule
from bot.jobs.steps.context import StepRunner
from bot.jobs.system_outages import Outages
from bot.jobs.wakeups import Wakeups
from bot.observability.metrics import Metrics
from bot.store.database import CONNECTION_LOST
from bot.store.housekeeping import Housekeeping
from bot.store.store import Store

log = logging.getLogger(__name__)

MAX_STEPS = 32  # at the same time
OUTSIDE_EVERY = 1.0  # seconds between two checks whether another process wrote something
COMPARE_EVERY = 30 * SECOND  # so that a job that is not in the schedule is found within a minute
COMPARED_FRESH = 10 * SECOND
JUST_DUE = 5 * SECOND  # a job that has been due for less may be about to enter the schedule
ERROR_DELAY = 30 * SECOND
CONNECTION_LOST_DELAY = 2 * SECOND
LONGEST_SLEEP = 60.0  # seconds


class Worker:
    def __init__(
        self,
        store: Store,
        schedule: Schedule,
        *,
        steps: Mapping[Step, StepRunner],
        queue: Queue,
        wakeups: Wakeups,
        outages: Outages,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._store = store
        self._schedule = schedule
        self._steps = steps
        self._queue = queue
        self._wakeups = wakeups
        self._outages = outages
        self._metrics = metrics
        self._clock = clock
        self._rows: dict[str, int] = {}  # due times as the rows had them when last read
        self._missing: Mapping[str, int] = {}  # due times of jobs missing from the schedule at the last comparison
        self._compared_at = 0

    async def start(self) -> None:
        """Rebuild the schedule from the rows; every job is due at once, so that what was interrupted is recovered."""
        await Housekeeping(self._store.database).clamp_future_times(now=self._clock())
        await self._reload()
        self._schedule.wake(list(self._schedule.due))

    async def run(self, stop: asyncio.Event) -> None:
        """Run steps until *stop*, and finish those in progress; each has its own timeout."""
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(self._watch_outside(stop))
            while not stop.is_set():
                self._wakeups.worker.clear()
                for job_id in self._take_due():
                    group.create_task(self._attend(job_id))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._sleep()):
                        await self._wakeups.worker.wait()
            watcher.cancel()

    async def run_due(self) -> int:
        """Run every step that is due now, once; returns their number. Jobs that they wake are due at the next call."""
        due = self._take_due()
        async with asyncio.TaskGroup() as group:
            for job_id in due:
                group.create_task(self._attend(job_id))
        self._schedule.wake(self._wakeups.take_jobs())
        return len(due)

    async def overdue(self) -> float:
        """Seconds by which the oldest due job is late, whether it is in the schedule or only in its row.

        A row alone is not enough: its time does not change at a poll without a change.
        """
        now = self._clock()
        if now - self._compared_at >= COMPARED_FRESH:
            await self._compare()
        times = [at for job_id, at in self._missing.items() if not self._schedule.knows(job_id)]
        if (earliest := self._schedule.earliest) is not None:
            times.append(earliest)
        return max(0.0, (now - min(times, default=now)) / 1000)

    # --- what is due

    def _take_due(self) -> list[str]:
        self._schedule.wake(self._wakeups.take_jobs())
        taken = self._schedule.take_due(limit=MAX_STEPS - len(self._schedule.busy))
        now = self._clock()
        for _, at in taken:
            self._metrics.poll_delay((now - at) / SECOND)
        return [job_id for job_id, _ in taken]

    def _sleep(self) -> float:
        next_at = self._schedule.next_entry
        if next_at is None or len(self._schedule.busy) >= MAX_STEPS:
            return LONGEST_SLEEP
        return max(0.0, min(LONGEST_SLEEP, (next_at - self._clock()) / 1000))

    async def _reload(self) -> None:
        """Take over due times that other processes have changed."""
        rows, busy = await self._store.due_times(), self._schedule.busy
        for job_id, due_at in rows.items():
            if self._rows.get(job_id) != due_at and job_id not in busy:
                self._schedule.bring_forward(job_id, due_at)  # it may have been woken
        self._schedule.wake(self._rows.keys() - rows.keys() - busy)  # ended by another process: those behind move up
        self._rows = rows

    async def _compare(self) -> None:
        self._compared_at = self._clock()
        # One that ends while the rows are read is unknown afterwards.
        known = self._schedule.due | self._schedule.busy
        rows = await self._store.due_before(self._compared_at - JUST_DUE)
        self._missing = {
            job_id: at for job_id, at in rows.items() if job_id not in known and not self._schedule.knows(job_id)
        }

    async def find_missing(self) -> None:
        """Schedule jobs that are due by their rows only. There should be none, so each is logged as a defect."""
        await self._compare()
        for job_id, at in self._missing.items():
            log.warning("A due job was missing from the schedule", extra={"event": "job_found", "job_id": job_id})
            self._schedule.set(job_id, at)

    async def _watch_outside(self, stop: asyncio.Event) -> None:
        """Adopt changes of other processes and jobs missing in the schedule; `StoreBusy` if a second bot runs."""
        seen, find_at = None, 0
        while not stop.is_set():
            with self._outages.outlasting(system_outages.UNREAD):
                now = await self._store.database.external_changes()
                if now != seen:
                    await self._reload()
                    seen = now
                    self._wakeups.reread_replies.set()
                    self._wakeups.wake_all()
            with self._outages.outlasting(system_outages.UNREAD):
                if self._clock() >= find_at:
                    await self.find_missing()
                    find_at = self._clock() + COMPARE_EVERY
                    self._wakeups.worker.set()
            await asyncio.sleep(OUTSIDE_EVERY)

    # --- one job

    async def _attend(self, job_id: str) -> None:
        try:
            at = await self._step(job_id)
        except CONNECTION_LOST as exc:  # the step itself has not failed
            extra = {"event": "store_trouble", "job_id": job_id}
            log.warning("A step lost the connection to the database: %s", type(exc).__name__, extra=extra)
            at = self._clock() + CONNECTION_LOST_DELAY
        except Exception as exc:  # one job's error must not stop the others
            at = self._clock() + system_outages.RETRY_AFTER
            if self._outages.seen(exc) is None:
                log.exception("A step failed and is retried", extra={"event": "step_error", "job_id": job_id})
                at = self._clock() + ERROR_DELAY
        self._schedule.done(job_id, at)
        self._wakeups.wake_all()  # most steps change what a card says

    async def _step(self, job_id: str) -> int | None:
        """Run the next step of a job; returns when to attend to it again."""
        job = await self._store.job(job_id)
        if job is None:
            return None
        step = next_step(job, self._clock())
        if step is None:
            return await self._rest(job)
        at = await self._steps[step].run(job)
        if step is Step.SUBMIT:  # it reports to the queue itself, and only where a request was sent
            return at
        return await self._queue.after_step(job, at)

    async def _rest(self, job: Job) -> int | None:
        """Nothing is to be done now: the job has ended, or its acknowledgement is awaited."""
        if job.state is State.CANCELLED:  # by a button, without a step: the jobs behind it move up
            await self._queue.slots_changed(job)
        if job.state.is_final and job.due_at is not None:  # the watch of its run has ended
            await self._store.update_unguarded(job, due_at=None, watch_until=None)
        return job.created_at + ACK_WINDOW if job.state is State.ACCEPTED else None
