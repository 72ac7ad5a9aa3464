"""The paid request, and the search for its run where the answer was lost.

The provider is chosen, the intent is on disk before the request is sent, and it is sent once: what may have been
accepted is searched for, never submitted again. This file ensures that no picture is paid for twice.
"""

from typing import Any

from bot.core.errors import (
    ModelGone,
    NotSearchable,
    ProviderError,
    ProviderPaused,
    ProviderRefused,
    ProviderRejected,
    ProviderUnavailable,
    SubmitUnknown,
)
from bot.core.jobs import Cancel, Job, State
from bot.core.polling import backoff
from bot.core.routes import Route, wire_inputs
from bot.jobs.queue import Queue
from bot.jobs.routing import is_at
from bot.jobs.steps.context import StepContext
from bot.store.processes import PAID_REQUEST
from bot.store.store import SlotsTaken

RETRY_DELAY = 1.0  # seconds, where the lease or a slot is just missing
FIND_DELAY = 15.0  # seconds between searches for a lost submit


class SubmittedRuns:
    """Stores the run of a paid request, and keeps it in memory until it is on disk."""

    def __init__(self, context: StepContext) -> None:
        self._context = context
        self._unwritten: dict[str, str] = {}  # job → run
        self._claimed: dict[tuple[str, str], str] = {}  # provider and run → the job that it is being stored for

    def held(self, job_id: str) -> str | None:
        """The run of a job that is not on disk yet."""
        return self._unwritten.get(job_id)

    async def record(self, job: Job, run_id: str) -> int | None:
        """Store *run_id* as the run of *job*; if the database fails, it is kept in memory until it can be stored."""
        at = self._context
        self._unwritten[job.id] = run_id
        self._claimed.setdefault((job.provider, run_id), job.id)
        if await self.belongs_to_another(job, run_id):
            self._forget(job)
            return await self.mark_unknown(job) if job.state is State.SUBMITTING else at.after(FIND_DELAY)
        run = at.poll_timing.run_of(job, calls_back=at.callback_url(job) is not None)
        due_at = at.poll_timing.next_look(run)
        moved = await at.store.move(job, State.QUEUED, now=at.clock(), run_id=run_id, due_at=due_at)
        self._forget(job)
        at.routing.forget(job.id)
        await at.health.on_accepted(job.provider)
        return due_at if moved is not None else at.clock()

    def _forget(self, job: Job) -> None:
        run_id = self._unwritten.pop(job.id, None)
        if run_id is not None and self._claimed.get((job.provider, run_id)) == job.id:
            del self._claimed[job.provider, run_id]

    async def mark_unknown(self, job: Job) -> int:
        """Record that the provider may have accepted the request: it is never sent again, only searched for."""
        now = self._context.clock()
        await self._context.store.move(job, State.UNKNOWN, now=now, due_at=now)
        return now

    async def belongs_to_another(self, job: Job, run_id: str) -> bool:
        """Whether the run that the provider named is another job's, on disk or about to be."""
        owner_id = self._claimed.get((job.provider, run_id), job.id)
        if owner_id == job.id and (owner := await self._context.store.job_of_run(job.provider, run_id)) is not None:
            owner_id = owner.id
        if owner_id == job.id:
            return False
        error = SubmitUnknown(f"run {run_id} belongs to {owner_id}")
        self._context.log_error(job, "run_of_another", error)
        return True


class Submit:
    """Sends the paid request of a waiting job once a slot of its provider is free and it is the job's turn."""

    def __init__(self, context: StepContext, queue: Queue, runs: SubmittedRuns) -> None:
        self._context = context
        self._queue = queue
        self._runs = runs

    async def run(self, job: Job) -> int | None:
        at = self._context
        if (placed := await self._choose_provider(job)) is None:
            return at.clock()
        if placed.provider != job.provider:
            job = placed
        elif job.due_at is not None and job.due_at > at.clock():  # no provider has accepted it just now
            return min(job.due_at, job.deadline)
        if not at.leases.suffices_for_paid_request:
            return at.after(RETRY_DELAY)
        try:
            async with self._queue.turn(job) as has_turn:
                submitting = await self._begin(job) if has_turn else None
        except SlotsTaken:  # by another process, which has not told us yet
            return at.after(RETRY_DELAY)
        if not has_turn:
            return await self._queue.retry_at(job)
        if submitting is None:
            return at.clock()
        at.memory.paying.add(job.id)
        try:
            return await self._send(submitting)
        finally:
            at.memory.paying.discard(job.id)

    async def _choose_provider(self, job: Job) -> Job | None:
        """Queue a waiting job at the provider that is best for it now; None when it no longer waits."""
        at = self._context
        route = await at.routing.preferred(job)
        if route is None:  # the model was removed while the job waited
            await at.end(job, State.FAILED, reason="model_gone")
            return None
        if is_at(route, job):
            return job
        return await at.store.update(job, now=at.clock(), show=True, provider=route.provider, route=route.id)

    async def _begin(self, job: Job) -> Job | None:
        """Store that the paid request is about to be sent; None if the job must not be submitted any more."""
        at = self._context
        if not await at.health.on_submit(job.provider):  # another process has just sent the trial, or failed
            return None
        now, slots = at.clock(), self._queue.slots(job.provider)
        return await at.store.begin_submit(job, slots=slots, now=now, due_at=now + PAID_REQUEST)

    async def _send(self, job: Job) -> int | None:
        """Send the paid request, once, and store its outcome. *job* is on disk as submitting."""
        at = self._context
        route = at.catalog.route(job.request, provider=job.provider, id=job.route)
        assert route is not None  # it was chosen from there
        if not at.leases.held:  # this process slept: another one may have ended the job as unknown
            return at.clock()
        try:
            run_id = await at.provider_of(job).submit(
                job.route, wire_inputs(route, job.request), job_id=job.id, callback_url=at.callback_url(job)
            )
        except ProviderUnavailable as exc:
            await at.unavailable(job, "submit", exc)
            return await self._not_accepted(job)
        except ProviderPaused as exc:
            at.log_error(job, "not_taken", exc)
            await at.health.on_paused(job.provider, exc, submitting=True)
            return await self._not_accepted(job)
        except ModelGone as exc:
            at.log_error(job, "model_gone", exc)
            return await self._model_gone(job)
        except (ProviderRefused, ProviderRejected) as exc:
            await at.health.on_refused(job.provider)
            refused = isinstance(exc, ProviderRefused)
            at.log_error(job, "refused" if refused else "rejected", exc)
            await at.end(job, State.REFUSED if refused else State.FAILED, reason="refused" if refused else "rejected")
        except SubmitUnknown as exc:
            at.log_error(job, "submit_unknown", exc)
            await at.health.on_failed(job.provider, "submit", exc, job_id=job.id)
            return await self._runs.mark_unknown(job)
        else:
            return await self._runs.record(job, run_id)
        return None

    async def _model_gone(self, job: Job) -> int | None:
        """The provider no longer has the model; another one may."""
        at = self._context
        await at.health.on_refused(job.provider)
        if gone := await self._is_confirmed_gone(job):
            await at.availability.mark_route_gone(job.provider, job.route)
        if (route := await at.routing.fallback(job) or await at.routing.eventual(job)) is not None:
            return await self._move_to(job, route)
        await at.end(job, State.FAILED, reason="model_gone" if gone else "rejected")
        return None

    async def _is_confirmed_gone(self, job: Job) -> bool:
        """The provider's catalogue decides: one odd answer must not remove a model for everybody."""
        try:
            await self._context.provider_of(job).describe(job.route)
        except ModelGone:
            return True
        except ProviderError:
            pass
        return False

    async def _not_accepted(self, job: Job) -> int | None:
        """Return the job to the queue: at another provider now, or, where all were tried, at this one after a while.

        A Retry-After of the provider applies to all jobs and is kept in `ProviderHealth`.
        """
        at = self._context
        if (route := await at.routing.fallback(job)) is not None:
            return await self._move_to(job, route)
        wait = backoff(at.attempt(job, "round"), retry_after=None, jitter=at.random())
        return await self._requeue(job, due_at=at.after(wait))

    async def _move_to(self, job: Job, route: Route) -> int | None:
        return await self._requeue(job, due_at=self._context.clock(), provider=route.provider, route=route.id)

    async def _requeue(self, job: Job, *, due_at: int, **changes: Any) -> int | None:
        at = self._context
        now = at.clock()
        waiting = await at.store.move(job, State.ACCEPTED, now=now, due_at=due_at, submitted_at=None, **changes)
        return now if waiting is not None and waiting.cancel is Cancel.WANTED else due_at


class Recover:
    """Handles a job found as submitting: its run is stored if still in memory, else the request may be accepted."""

    def __init__(self, runs: SubmittedRuns) -> None:
        self._runs = runs

    async def run(self, job: Job) -> int | None:
        if (run_id := self._runs.held(job.id)) is not None:
            return await self._runs.record(job, run_id)
        return await self._runs.mark_unknown(job)


class Find:
    """Looks for the run of a submit whose answer was lost."""

    def __init__(self, context: StepContext, runs: SubmittedRuns) -> None:
        self._context = context
        self._runs = runs

    async def run(self, job: Job) -> int | None:
        at = self._context
        try:
            run_id = await at.provider_of(job).find(job.id)
        except NotSearchable:
            await at.end(job, State.FAILED, reason="unknown", may_be_billed=True)
            return None
        except (ProviderUnavailable, ProviderPaused):
            return at.after(FIND_DELAY)
        return at.after(FIND_DELAY) if run_id is None else await self._runs.record(job, run_id)
