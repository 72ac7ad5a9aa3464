"""Turns in the fair queue of each provider: who may take a free slot, who is woken for it, the places on the cards."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from bot.core.clock import Clock
from bot.core.fair_queue import shown_place
from bot.core.jobs import SECOND, Job, JobSummary
from bot.jobs import system_outages
from bot.jobs.availability import Availability
from bot.jobs.changes import Changes
from bot.jobs.fair_queues import FairQueues
from bot.jobs.leases import Leases
from bot.jobs.provider_health import ProviderHealth
from bot.jobs.routing import Routing
from bot.jobs.schedule import Schedule
from bot.jobs.system_outages import Outages
from bot.store.store import Store

TURN_LASTS = 2 * SECOND  # of a job of another process: if that has died, it does not take the slot
POSITIONS_EVERY = 3 * SECOND  # between two updates of the places that cards show, for each provider


class Queue:
    def __init__(
        self,
        store: Store,
        queues: FairQueues,
        schedule: Schedule,
        *,
        availability: Availability,
        health: ProviderHealth,
        routing: Routing,
        outages: Outages,
        leases: Leases,
        changes: Changes,
        clock: Clock,
        slots: Mapping[str, int],
    ) -> None:
        """*slots*: how many runs a provider may have from us at a time; 1 where it is not named."""
        self._store = store
        self._queues = queues
        self._schedule = schedule
        self._availability = availability
        self._health = health
        self._routing = routing
        self._outages = outages
        self._leases = leases
        self._clock = clock
        self._slots = slots
        self._one_by_one = asyncio.Lock()
        self._turn_since: dict[str, dict[str, int]] = {}  # provider → job of another process whose turn it is → since
        self._shown: dict[str, dict[str, int]] = {}  # provider → job → place, as the cards show them
        self._redraw_at: dict[str, int] = {}  # providers with a queue that has changed → when to update its places
        self._redrawn_at: dict[str, int] = {}
        store.on_job(self._on_job)  # after the queues: they have subscribed before
        changes.on_job(self._on_change)

    async def load(self) -> None:
        """Take over the rows: at start, and after another process has changed some."""
        await self._queues.load()
        for provider in self._queues.providers:
            self._changed(provider)

    def _on_change(self, job: JobSummary) -> None:
        if self._queues.apply(job):
            for provider in self._queues.providers:
                self._changed(provider)

    def _on_job(self, job: Job) -> None:
        place = self._queues.place(job)
        if place is not None and self._leases.owns(job.lease.worker):  # its first card shows it
            self._shown.setdefault(job.provider, {}).setdefault(job.id, shown_place(place))
        for provider in self._queues.providers:  # it may have left another one than it is at
            self._changed(provider)

    def _changed(self, provider: str) -> None:
        """Wake the jobs that may take a slot now and could not before."""
        for job_id in self._queues.of(provider).turns(free=self._free(provider)):
            self._schedule.move_up(job_id)
        self._redraw_at.setdefault(provider, self._redrawn_at.get(provider, 0) + POSITIONS_EVERY)

    def slots(self, provider: str) -> int:
        """How many runs the provider may have from all processes."""
        return self._slots.get(provider, 1)

    def _free(self, provider: str) -> int:
        """How many jobs may take a slot, in turn: as many as slots are free, and one for each that does not take it."""
        free = self.slots(provider) - self._queues.of(provider).running
        if provider in self._availability.outages:  # one at a time, until one is accepted
            free = min(free, 1)
        return free + self._untaken(provider, free)

    def _untaken(self, provider: str, free: int) -> int:
        """How many free slots are left by jobs of other processes whose turn it has been for a while."""
        if not self._leases.others_work:
            return 0
        now, before = self._clock(), self._turn_since.get(provider, {})
        turns = [each for each in self._queues.of(provider).first(free) if self.is_of_another_process(each)]
        self._turn_since[provider] = since = {job_id: before.get(job_id, now) for job_id in turns}
        return sum(now - at >= TURN_LASTS for at in since.values())

    def is_of_another_process(self, job_id: str) -> bool:
        """Whether a job that waits or has a slot belongs to another process; False for a job in no queue."""
        worker = self._queues.worker_of(job_id)
        return worker is not None and not self._leases.owns(worker)

    @asynccontextmanager
    async def turn(self, job: Job) -> AsyncIterator[bool]:
        """Whether it is the turn of *job* and a slot of its provider is free: it is kept until the end of the block."""
        async with AsyncExitStack() as stack:
            if job.provider in self._availability.outages:
                await stack.enter_async_context(self._one_by_one)
            self._schedule.clear_moved_up(job.id)
            has_turn = self._queues.of(job.provider).has_turn(job.id, free=self._free(job.provider))
            if not has_turn or not self._health.accepts(job.provider) or self._outages.unsafe is not None:
                yield False
                return
            with self._queues.slot_kept(job):
                yield True
            self._changed(job.provider)  # where nothing was written, the slot is free for another job

    async def retry_at(self, job: Job) -> int:
        """When to attend to a waiting job if nothing wakes it."""
        now = self._clock()
        if self._schedule.has_moved_up(job.id):
            return now
        until = job.deadline
        in_turn = (self._queues.place(job) or 1) <= max(1, self._free(job.provider))
        if not in_turn and job.provider not in self._availability.outages:  # it is woken when its turn comes
            if self._turn_since.get(job.provider):
                until = min(until, now + TURN_LASTS)
            return max(until, now + SECOND)
        if not self._health.accepts(job.provider) and (at := await self._routing.retry_at(job)) is not None:
            until = min(until, at)
        if self._outages.unsafe is not None:
            until = min(until, now + system_outages.RETRY_AFTER)
        return max(until, now + SECOND)  # a time in the past would make it due permanently

    # --- places on cards

    @property
    def redraw_at(self) -> int | None:
        """When places on cards are to be updated next; None where no queue has changed."""
        return min(self._redraw_at.values(), default=None)

    async def redraw_moved(self) -> None:
        """Redraw the cards of waiting jobs whose shown place has changed, for each provider every few seconds at most.

        This looks at every waiting job, a millisecond for 5,000, which is why it does not do so at every change.
        """
        now = self._clock()
        for provider in [each for each, at in self._redraw_at.items() if at <= now]:
            del self._redraw_at[provider]
            self._redrawn_at[provider] = now
            before = self._shown.get(provider, {})
            shown = {
                job_id: shown_place(n)
                for n, job_id in enumerate(self._queues.of(provider).waiting, start=1)
                if not self.is_of_another_process(job_id)
            }
            if changed := [job_id for job_id, place in shown.items() if before.get(job_id, place) != place]:
                await self._store.request_redraw(changed, now=now)
            self._shown[provider] = shown
