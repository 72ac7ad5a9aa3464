"""The steps of a paid request: to which host, on disk before it is sent, sent once, found again where it was lost."""

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
from bot.core.jobs import MINUTE, Cancel, Job, State
from bot.core.polling import backoff, poll_delay
from bot.core.routes import Route, wire_inputs
from bot.jobs.routing import is_of
from bot.jobs.steps.context import Stepping

SUBMIT_LEASE = 5 * MINUTE  # longer than any submit takes; after a restart nobody waits for it
FIND_EVERY = 15.0  # seconds between searches for a lost submit


class Submits(Stepping):
    async def choose_host(self, job: Job) -> Job | None:
        """Let a waiting job stand in line at the host that is best for it now; None when it no longer waits."""
        route = await self._routing.preferred(job)
        if route is None:  # the model was taken out while the job waited
            await self._end(job, State.FAILED, reason="model_gone")
            return None
        if is_of(route, job):
            return job
        return await self._store.update(job, now=self._clock(), show=True, provider=route.provider, route=route.id)

    async def look_at(self, job: Job) -> int | None:
        """When a host may take a job that waits, where that is a question of time."""
        return await self._routing.retry_at(job)

    async def begin_submit(self, job: Job) -> Job | None:
        """Say on disk that the paid request is about to be sent; None when the job is not to be sent after all."""
        now = self._clock()
        mine = await self._store.move(job, State.SUBMITTING, now=now, submitted_at=now, due_at=now + SUBMIT_LEASE)
        if mine is not None:
            self._hosts.on_submit(job.provider)
        return mine

    async def submit(self, job: Job) -> int | None:
        """Send the paid request, once, and write down what came of it. *job* is on disk as submitting."""
        route = self._catalog.route(job.request, provider=job.provider, id=job.route)
        assert route is not None  # it was chosen from there
        try:
            run_id = await self._host(job).submit(
                job.route, wire_inputs(route, job.request), job_id=job.id, callback_url=self._callback_url(job)
            )
        except ProviderUnavailable as exc:
            await self._failed(job, "submit", exc)
            return await self._not_taken(job)
        except ProviderPaused as exc:
            self._say(job, "not_taken", exc)
            await self._hosts.on_paused(job.provider, exc, submitting=True)
            return await self._not_taken(job)
        except ModelGone as exc:
            self._say(job, "model_gone", exc)
            return await self._gone(job)
        except (ProviderRefused, ProviderRejected) as exc:
            await self._hosts.on_refused(job.provider)
            refused = isinstance(exc, ProviderRefused)
            self._say(job, "refused" if refused else "rejected", exc)
            await self._end(
                job, State.REFUSED if refused else State.FAILED, reason="refused" if refused else "rejected"
            )
        except SubmitUnknown as exc:
            self._say(job, "submit_unknown", exc)
            await self._hosts.on_failed(job.provider, "submit", exc, job_id=job.id)
            return await self._not_known(job)
        else:
            self._runs[job.id] = run_id  # kept until it is on disk: a full disk must not lose a paid run
            return await self._submitted(job, run_id)
        return None

    async def _gone(self, job: Job) -> int | None:
        """Its host knows the model no more: another one may."""
        await self._hosts.on_refused(job.provider)
        if gone := await self._is_gone(job):
            await self._service.availability.mark_route_gone(job.provider, job.route)
        if (route := await self._routing.fallback(job) or await self._routing.eventual(job)) is not None:
            return await self._over_to(job, route)
        await self._end(job, State.FAILED, reason="model_gone" if gone else "rejected")
        return None

    async def _is_gone(self, job: Job) -> bool:
        """The host's catalogue has the last word: one odd answer must not take a model out of everybody's choices."""
        try:
            await self._host(job).describe(job.route)
        except ModelGone:
            return True
        except ProviderError:
            pass
        return False

    async def _not_taken(self, job: Job) -> int | None:
        """Back in line: at another host at once, or where all have been tried, at this one after a while.

        What patience the host asked for holds for all jobs, and is kept with the host (`Hosts.retry_after_until`).
        """
        if (route := await self._routing.fallback(job)) is not None:
            return await self._over_to(job, route)
        wait = backoff(self._again(job, "round"), retry_after=None, jitter=self._draw())
        return await self._back_in_line(job, due_at=self._in(wait))

    async def _over_to(self, job: Job, route: Route) -> int | None:
        return await self._back_in_line(job, due_at=self._clock(), provider=route.provider, route=route.id)

    async def _back_in_line(self, job: Job, *, due_at: int, **changes: Any) -> int | None:
        now = self._clock()
        back = await self._store.move(job, State.ACCEPTED, now=now, due_at=due_at, submitted_at=None, **changes)
        return now if back is not None and back.cancel is Cancel.WANTED else due_at

    async def _not_known(self, job: Job) -> int:
        """Whether the host took it, nobody can say: it is never sent again, only looked for."""
        now = self._clock()
        await self._store.move(job, State.UNKNOWN, now=now, due_at=now)
        return now

    async def _submitted(self, job: Job, run_id: str) -> int | None:
        if await self._belongs_to_another(job, run_id):
            self._runs.pop(job.id, None)
            return await self._not_known(job) if job.state is State.SUBMITTING else self._in(FIND_EVERY)
        due_at = self._in(poll_delay(self._timing(job), age=0, jitter=self._draw()))
        moved = await self._store.move(job, State.QUEUED, now=self._clock(), run_id=run_id, due_at=due_at)
        self._runs.pop(job.id, None)
        self._routing.forget(job.id)
        await self._hosts.on_accepted(job.provider)
        return due_at if moved is not None else self._clock()

    async def _belongs_to_another(self, job: Job, run_id: str) -> bool:
        """Whether the run that the host named is not ours, whatever it meant."""
        owner = await self._store.by_run(job.provider, run_id)
        if owner is None or owner.id == job.id:
            return False
        self._say(job, "run_of_another", SubmitUnknown(f"run {run_id} belongs to {owner.id}"))
        return True

    async def recover(self, job: Job) -> int | None:
        """A job found as submitting: nobody knows whether its request was taken, unless we still hold its run."""
        if (run_id := self._runs.get(job.id)) is not None:
            return await self._submitted(job, run_id)
        return await self._not_known(job)

    async def find(self, job: Job) -> int | None:
        """Look for the run of a submit whose answer was lost; never send it again."""
        try:
            run_id = await self._host(job).find(job.id)
        except NotSearchable:
            await self._end(job, State.FAILED, reason="unknown", may_be_billed=True)
            return None
        except (ProviderUnavailable, ProviderPaused):
            return self._in(FIND_EVERY)
        return self._in(FIND_EVERY) if run_id is None else await self._submitted(job, run_id)
