"""The loop that moves jobs: it looks which are due, asks `next_step` what to do, and has that one thing done.

The rows are the truth. The heap in memory is a cache that a restart rebuilds from them, and that is compared with them
from time to time; a look at a run that brings nothing new writes nothing.
"""

import asyncio
import heapq
import logging
from collections.abc import Mapping
from contextlib import suppress

from bot.core.fair_queue import fair_order
from bot.core.jobs import ACK_WINDOW, AT_HOST, SECOND, Job, State, Step, next_step
from bot.jobs import outages
from bot.jobs.provider_health import ProviderHealth
from bot.jobs.service import Service
from bot.jobs.steps.poll import Steps
from bot.observability.metrics import Metrics
from bot.store.database import CONNECTION_LOST
from bot.store.housekeeping import Housekeeping
from bot.store.store import Store

log = logging.getLogger(__name__)

AT_ONCE = 32  # steps that may wait for a host at the same time
OUTSIDE_EVERY = 1.0  # seconds between looks whether another process wrote something
COMPARE_EVERY = 30 * SECOND  # so that a job that is in no heap is found within a minute
COMPARED_FRESH = 10 * SECOND
JUST_DUE = 5 * SECOND  # what has been due for less may be on its way into the heap
ERROR_AGAIN = 30 * SECOND
CUT_AGAIN = 2 * SECOND
LINE_NEWS_EVERY = 3 * SECOND


class Worker:
    def __init__(
        self,
        store: Store,
        service: Service,
        *,
        steps: Steps,
        hosts: ProviderHealth,
        max_in_flight: Mapping[str, int],
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._service = service
        self._steps = steps
        self._hosts = hosts
        self._max_in_flight = max_in_flight
        self._metrics = metrics
        self._clock = service.clock
        self._heap: list[tuple[int, str]] = []
        self._due: dict[str, int] = {}  # the heap's valid entries
        self._rows: dict[str, int] = {}  # due times as the rows had them when last read
        self._missing: Mapping[str, int] = {}  # due times of jobs that only their rows knew of when last compared
        self._compared_at = 0
        self._busy: set[str] = set()
        self._rung: set[str] = set()  # rung while busy: look again at once
        self._turns: set[str] = set()  # moved up in line while busy: look again if it is still in line
        self._slots = asyncio.Lock()
        self._places: dict[str, dict[str, int]] = {}
        self._line_at: dict[str, int] = {}
        self._line_news_at: dict[str, int] = {}  # provider → when places are to be told that changed too soon

    async def start(self) -> None:
        """Rebuild the heap from the rows. Whatever was being submitted when we died is due at once."""
        await Housekeeping(self._store.database).not_from_the_future(now=self._clock())
        await self._reload()
        for job_id in self._due:
            self._schedule(job_id, self._clock())

    async def run(self, stop: asyncio.Event) -> None:
        """Work until *stop*; steps under way then are finished, for each has an end of its own."""
        bell = self._service.wakeups.worker
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(self._watch_outside(stop))
            while not stop.is_set():
                bell.clear()
                self._hear()
                for job_id in self._take_due():
                    group.create_task(self._attend(job_id))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pause()):
                        await bell.wait()
            watcher.cancel()

    async def run_due(self) -> int:
        """Do every step that is due now, once; how many that were. What they ring for is due the next time."""
        self._hear()
        due = self._take_due()
        async with asyncio.TaskGroup() as group:
            for job_id in due:
                group.create_task(self._attend(job_id))
        self._hear()
        return len(due)

    async def overdue(self) -> float:
        """Seconds by which the oldest due job is late, be it in the heap or only in its row.

        A row alone does not tell: it keeps the time of a look that brought nothing new.
        """
        now = self._clock()
        if now - self._compared_at >= COMPARED_FRESH:
            await self._compare()
        missing = [at for job_id, at in self._missing.items() if self._is_missing(job_id)]
        return max(0.0, (now - min([*self._due.values(), *missing], default=now)) / 1000)

    # --- what is due

    def _schedule(self, job_id: str, at: int | None) -> None:
        if at is None:
            self._due.pop(job_id, None)
            return
        self._due[job_id] = at
        heapq.heappush(self._heap, (at, job_id))

    def _hear(self) -> None:
        """Everything rung for since the last time is due now."""
        rung, self._service.wakeups.jobs = self._service.wakeups.jobs, set()
        for job_id in rung:
            if job_id in self._busy:
                self._rung.add(job_id)
            else:
                self._schedule(job_id, self._clock())

    def _take_due(self) -> list[str]:
        taken = []
        now = self._clock()
        while self._heap and self._heap[0][0] <= now and len(self._busy) < AT_ONCE:
            at, job_id = heapq.heappop(self._heap)
            if self._due.get(job_id) != at:  # an older entry of a job that was scheduled anew
                continue
            del self._due[job_id]
            self._busy.add(job_id)
            self._metrics.poll_delay((now - at) / SECOND)
            taken.append(job_id)
        return taken

    def _pause(self) -> float:
        if not self._heap or len(self._busy) >= AT_ONCE:
            return 60.0
        return max(0.0, min(60.0, (self._heap[0][0] - self._clock()) / 1000))

    async def _reload(self) -> None:
        """Take over due times that other processes have changed."""
        rows = await self._store.due_times()
        for job_id, due_at in rows.items():
            if self._rows.get(job_id) != due_at and job_id not in self._busy:
                self._schedule(job_id, min(due_at, self._due.get(job_id, due_at)))  # it may have been rung for
        for job_id in self._rows.keys() - rows.keys() - self._busy:  # ended from outside: those behind it move up
            self._schedule(job_id, self._clock())
        self._rows = rows

    def _is_missing(self, job_id: str) -> bool:
        return job_id not in self._due and job_id not in self._busy

    async def _compare(self) -> None:
        self._compared_at = self._clock()
        known = self._due.keys() | self._busy  # one that ends while the rows are read is in neither afterwards
        rows = await self._store.due_before(self._compared_at - JUST_DUE)
        self._missing = {job_id: at for job_id, at in rows.items() if job_id not in known and self._is_missing(job_id)}

    async def find_missing(self) -> None:
        """Look at jobs that are due by their rows and in no heap: there should be none, for each was to come back."""
        await self._compare()
        for job_id, at in self._missing.items():
            log.warning("A job was found that nobody looked at", extra={"event": "job_found", "job_id": job_id})
            self._schedule(job_id, at)

    async def _watch_outside(self, stop: asyncio.Event) -> None:
        """Notice what other processes change, and what the heap lacks; `StoreBusy` where one has taken our place."""
        seen, find_at = None, 0
        while not stop.is_set():
            with self._service.outages.outlasting(outages.UNREAD):
                now = await self._store.database.outside_changes()
                if now != seen:
                    await self._reload()
                    seen = now
                    self._service.wakeups.worker.set()
                    self._service.wakeups.replies.set()
            with self._service.outages.outlasting(outages.UNREAD):
                if self._clock() >= find_at:
                    await self.find_missing()
                    find_at = self._clock() + COMPARE_EVERY
                    self._service.wakeups.worker.set()
            await asyncio.sleep(OUTSIDE_EVERY)

    # --- one job

    async def _attend(self, job_id: str) -> None:
        try:
            again_at = await self._step(job_id)
        except CONNECTION_LOST as exc:  # the step was broken off by nothing of its own
            extra = {"event": "store_trouble", "job_id": job_id}
            log.warning("A step lost the database: %s", type(exc).__name__, extra=extra)
            again_at = self._clock() + CUT_AGAIN
        except Exception as exc:  # one job's trouble must not stop the others
            again_at = self._clock() + outages.RETRY_AFTER
            if self._service.outages.seen(exc) is None:
                log.exception("A step failed and is tried again", extra={"event": "step_error", "job_id": job_id})
                again_at = self._clock() + ERROR_AGAIN
        self._busy.discard(job_id)
        self._turns.discard(job_id)
        if job_id in self._rung:
            self._rung.discard(job_id)
            again_at = self._clock()
        self._schedule(job_id, again_at)
        self._service.wakeups.worker.set()
        self._service.wakeups.replies.set()  # most steps change what a card says

    async def _step(self, job_id: str) -> int | None:
        job = await self._store.job(job_id)
        if job is None:
            return None
        step = next_step(job, self._clock())
        match step:
            case None:
                if job.state is State.CANCELLED:  # by a button, without a step of ours: those behind it move up
                    await self._slots_moved(job)
                if job.state.is_final and job.due_at is not None:  # it was watched, and that is over
                    await self._store.update_unguarded(job, due_at=None, watch_until=None)
                return self._asleep(job)
            case Step.SUBMIT:
                return await self._when_slot_is_free(job)
            case _:
                do = getattr(self._steps, step.value)
                again_at: int | None = await do(job)
        return self._again_at(again_at, await self._slots_moved(job))

    def _asleep(self, job: Job) -> int | None:
        """A job that waits for its acknowledgement is due when Discord's window is over."""
        return job.created_at + ACK_WINDOW if job.state is State.ACCEPTED else None

    # --- slots

    async def _when_slot_is_free(self, job: Job) -> int | None:
        """Submit if it is this job's turn at its host; else it waits in line until it is rung for."""
        if (placed := await self._steps.choose_host(job)) is None:
            return self._clock()
        if placed.provider != job.provider:
            await self._tell_places(job.provider)
            job = placed
        elif job.due_at is not None and job.due_at > self._clock():  # it has just been refused everywhere
            return min(job.due_at, job.deadline)
        async with self._slots:
            self._turns.discard(job.id)
            if not await self._turn(job):
                await self._tell_places(job.provider)
                return self._clock() if job.id in self._turns else await self._in_line_until(job)
            mine = await self._steps.begin_submit(job)
        if mine is None:
            return self._clock()
        again_at = await self._steps.submit(mine)
        return self._again_at(again_at, await self._slots_moved(job))

    def _again_at(self, again_at: int | None, now: Job | None) -> int | None:
        """When to look at a job again: also where its step says never, but its row does not."""
        if again_at is not None or now is None or now.due_at is None:
            return again_at
        return max(now.due_at, self._clock() + SECOND)

    async def _turn(self, job: Job) -> bool:
        if not self._hosts.accepts(job.provider) or self._service.outages.unsafe is not None:
            return False
        waiting, running = await self._store.queue(job.provider)
        room = self._max_in_flight.get(job.provider, 1) - len(running)
        if job.provider in self._service.availability.outages:  # one at a time, until one is taken
            room = min(room, 1)
        return job.id in fair_order(waiting, running)[: max(0, room)]

    async def _in_line_until(self, job: Job) -> int:
        """When to look at a waiting job although nobody rings; never in the past, or it would be due all the time."""
        now = self._clock()
        until = min(job.deadline, self._line_news_at.get(job.provider, job.deadline))
        if not self._hosts.accepts(job.provider) and (at := await self._steps.look_at(job)) is not None:
            until = min(until, at)
        if self._service.outages.unsafe is not None:
            until = min(until, now + outages.RETRY_AFTER)
        return max(until, now + SECOND)

    async def _slots_moved(self, job: Job) -> Job | None:
        """A job came to, or left, its host: whoever is next in line may be due. What the job is now."""
        now = await self._store.job(job.id)
        if now is None or (now.state in AT_HOST and job.state in AT_HOST):
            return now
        order = await self._service.availability.queue(job.provider)
        for job_id in order[: self._max_in_flight.get(job.provider, 1)]:
            if job_id in self._busy:  # perhaps being submitted by now: that must not have its run asked about
                self._turns.add(job_id)
            else:
                self._schedule(job_id, self._clock())
        await self._tell_places(job.provider)
        return now

    async def _tell_places(self, provider: str) -> None:
        """Renew the cards of waiting jobs whose place in our line has changed, every few seconds at most."""
        line = await self._service.availability.queue(provider)
        next_at = self._line_at.get(provider, 0) + LINE_NEWS_EVERY
        if self._clock() < next_at:
            self._line_news_at[provider] = next_at
            if line and line[-1] not in self._busy:  # whoever waits longest will look, and come here again
                self._schedule(line[-1], min(next_at, self._due.get(line[-1], next_at)))
            return
        self._line_news_at.pop(provider, None)
        places = {job_id: n for n, job_id in enumerate(line)}
        before = self._places.get(provider, {})
        changed = [job_id for job_id, n in places.items() if before.get(job_id, n) != n]
        self._places[provider] = places
        if changed:
            self._line_at[provider] = self._clock()
            await self._store.request_redraw(changed, now=self._clock())
