"""The fair queue of each provider: the next job, the jobs that may take a free slot, the places shown on cards."""

import asyncio
from collections.abc import Mapping

from bot.core.clock import Clock
from bot.core.fair_queue import fair_order
from bot.core.jobs import SECOND, SLOT_STATES, Job
from bot.jobs import system_outages
from bot.jobs.availability import Availability
from bot.jobs.provider_health import ProviderHealth
from bot.jobs.routing import Routing
from bot.jobs.schedule import Schedule
from bot.jobs.system_outages import Outages
from bot.store.store import Store

POSITIONS_EVERY = 3 * SECOND  # between two updates of the places that cards show, for each provider


class Queue:
    def __init__(
        self,
        store: Store,
        schedule: Schedule,
        *,
        availability: Availability,
        health: ProviderHealth,
        routing: Routing,
        outages: Outages,
        clock: Clock,
        slots: Mapping[str, int],
    ) -> None:
        """*slots*: how many runs a provider may have from us at a time; 1 where it is not named."""
        self._store = store
        self._schedule = schedule
        self._availability = availability
        self._health = health
        self._routing = routing
        self._outages = outages
        self._clock = clock
        self._slots = slots
        self.lock = asyncio.Lock()  # held from `may_start` until the job is on disk as submitting
        self._positions: dict[str, dict[str, int]] = {}  # provider → job → place, as the cards show them
        self._updated_at: dict[str, int] = {}
        self._update_at: dict[str, int] = {}  # provider → when to update places that changed too soon

    async def may_start(self, job: Job) -> bool:
        """Whether a slot of its provider is free and it is this job's turn."""
        self._schedule.clear_moved_up(job.id)
        if not self._health.accepts(job.provider) or self._outages.unsafe is not None:
            return False
        waiting, running = await self._store.queue(job.provider)
        free = self._slots.get(job.provider, 1) - len(running)
        if job.provider in self._availability.outages:  # one at a time, until one is accepted
            free = min(free, 1)
        return job.id in fair_order(waiting, running)[: max(0, free)]

    async def retry_at(self, job: Job) -> int:
        """When to attend to a waiting job if nothing wakes it; updates the places shown on the cards."""
        await self.update_positions(job.provider)
        now = self._clock()
        if self._schedule.has_moved_up(job.id):
            return now
        until = min(job.deadline, self._update_at.get(job.provider, job.deadline))
        if not self._health.accepts(job.provider) and (at := await self._routing.retry_at(job)) is not None:
            until = min(until, at)
        if self._outages.unsafe is not None:
            until = min(until, now + system_outages.RETRY_AFTER)
        return max(until, now + SECOND)  # a time in the past would make it due permanently

    async def after_step(self, job: Job, at: int | None) -> int | None:
        """Wake the jobs that may take a slot freed by the step; returns when to attend to *job* (*at* from the step).

        If the step returned None, the due time of the row applies.
        """
        now = await self.slots_changed(job)
        if at is not None or now is None or now.due_at is None:
            return at
        return max(now.due_at, self._clock() + SECOND)

    async def slots_changed(self, job: Job) -> Job | None:
        """Wake the next jobs, unless *job* had a slot before and still has it. Returns the job's current row."""
        now = await self._store.job(job.id)
        if now is None or (now.state in SLOT_STATES and job.state in SLOT_STATES):
            return now
        order = await self._availability.queue(job.provider)
        for job_id in order[: self._slots.get(job.provider, 1)]:
            self._schedule.move_up(job_id)
        await self.update_positions(job.provider)
        return now

    async def update_positions(self, provider: str) -> None:
        """Redraw the cards of waiting jobs whose place has changed, every few seconds at most."""
        queue = await self._availability.queue(provider)
        next_at = self._updated_at.get(provider, 0) + POSITIONS_EVERY
        if self._clock() < next_at:
            self._update_at[provider] = next_at
            if queue and queue[-1] not in self._schedule.busy:  # the last job in the queue triggers the update
                self._schedule.bring_forward(queue[-1], next_at)
            return
        self._update_at.pop(provider, None)
        positions = {job_id: n for n, job_id in enumerate(queue)}
        before = self._positions.get(provider, {})
        changed = [job_id for job_id, n in positions.items() if before.get(job_id, n) != n]
        self._positions[provider] = positions
        if changed:
            self._updated_at[provider] = self._clock()
            await self._store.request_redraw(changed, now=self._clock())
