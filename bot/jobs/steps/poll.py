"""Polls a run, and stores its state if it has changed."""

from typing import Any

from bot.core.errors import AnswerUnreadable, ProviderError, ProviderPaused, ProviderUnavailable, RunLost
from bot.core.jobs import Cancel, Job, Observation, State, changes_job
from bot.core.polling import poll_delay
from bot.jobs.steps.collect import BLOCKED_DELAY, Collect
from bot.jobs.steps.context import StepContext
from bot.jobs.steps.observe import Observer


class Poll:
    def __init__(self, context: StepContext, observer: Observer, collect: Collect) -> None:
        self._context = context
        self._observer = observer
        self._collect = collect

    async def run(self, job: Job) -> int | None:
        at = self._context
        if (until := at.health.retry_after_until(job.provider, "poll")) > at.clock():
            return until + int(at.random() * 1000)
        try:
            observation = await self._observer.observe(job)
        except AnswerUnreadable as exc:
            return await self._observer.unreadable(await self._begun(job, exc), exc)
        except ProviderUnavailable as exc:
            await self._begun(job, exc)
            return await at.unavailable(job, "poll", exc)
        except ProviderPaused as exc:
            await self._begun(job, exc)
            await at.health.on_paused(job.provider, exc)
            return at.after(BLOCKED_DELAY)
        except RunLost as exc:
            at.log_error(job, "run_lost", exc)
            await at.end(job, State.FAILED, reason="run_lost", may_be_billed=True)
            return None
        await at.health.on_answered(job.provider, job_id=job.id)
        at.succeeded(job, "poll")
        if not changes_job(job, observation):
            return await self._next_poll(job)
        return await self._write_down(job, observation)

    async def _begun(self, job: Job, exc: ProviderError) -> Job:
        """*job* with its current state: a finished run is no longer queued, although its result cannot be read yet."""
        if not exc.finished or job.state is not State.QUEUED:
            return job
        at = self._context
        now = at.clock()
        return await at.store.move(job, State.RUNNING, now=now, due_at=now, started_at=now) or job

    async def _next_poll(self, job: Job) -> int:
        """When to poll again; from the model's soft limit on, the card says that the job takes longer than usual."""
        at = self._context
        age = (at.clock() - (job.submitted_at or job.changed_at)) / 1000
        timing = at.timing(job)
        if age >= timing.soft and job.id not in at.memory.slow:
            at.memory.slow.add(job.id)
            await at.store.request_redraw([job.id], now=at.clock())
        return at.after(poll_delay(timing, age=age, jitter=at.random()))

    async def _write_down(self, job: Job, observation: Observation) -> int | None:
        at = self._context
        now = at.clock()
        if observation.reason:
            at.log_error(job, observation.state.value, RuntimeError(observation.reason))
        if observation.state.is_final:
            await self._end(job, observation)
            return None
        due_at = now if observation.state is State.COLLECTING else await self._next_poll(job)
        started: dict[str, Any] = {"started_at": now} if observation.state is State.RUNNING else {}
        moved = await at.store.move(
            job,
            observation.state,
            now=now,
            due_at=due_at,
            position=observation.position,
            flagged=bool(observation.flagged),
            **started,
        )
        if moved is not None and moved.state is State.COLLECTING:
            return await self._collect.download(moved, observation)
        return due_at

    async def _end(self, job: Job, observation: Observation) -> None:
        at = self._context
        reason: str | None
        match observation.state:
            case State.FAILED:
                reason = "no_output" if observation.empty else "host_failed"
            case State.REFUSED:
                reason = "refused"
            case _:
                reason = None if job.cancel in (Cancel.ASKED, Cancel.WANTED) else "cancelled_by_host"
        await at.end(
            job,
            observation.state,
            reason=reason,
            cost=observation.cost_micro_usd,
            # Neither failed runs nor cancelled runs that had started are documented as free. With callbacks instead of
            # most polls, the start of a run is often not seen.
            may_be_billed=observation.state is not State.CANCELLED or bool(job.started_at or at.callback_url(job)),
        )
