"""Polls a run, and stores its state if it has changed."""

from typing import Any

from bot.core.errors import AnswerUnreadable, ProviderError, ProviderPaused, ProviderUnavailable, RunLost
from bot.core.jobs import Cancel, Job, Observation, State, is_news
from bot.jobs.poll_timing import PolledRun
from bot.jobs.steps.collect import BLOCKED_DELAY, Collect
from bot.jobs.steps.context import StepContext
from bot.jobs.steps.observe import Observer

Outcome = Observation | ProviderError  # of a poll


class Poll:
    def __init__(self, context: StepContext, observer: Observer, collect: Collect) -> None:
        self._context = context
        self._observer = observer
        self._collect = collect

    def polled_run(self, job: Job, before: PolledRun | None = None) -> PolledRun | None:
        """What to remember of *job* to poll it; None where its next step is another one."""
        polled = job.state in (State.QUEUED, State.RUNNING) and job.run_id is not None
        if not polled or job.cancel is Cancel.WANTED:
            return None
        run = self._run_of(job)
        if before is not None and before.run_id == run.run_id:  # what only polls have seen
            run.seen_at = max(run.seen_at, before.seen_at)
            run.started_after = before.started_after
        return run

    def _run_of(self, job: Job) -> PolledRun:
        return self._context.poll_timing.run_of(job, calls_back=self._context.callback_url(job) is not None)

    async def look(self, run: PolledRun) -> int | Outcome:
        """Ask for the state of a run, without the database. Without news, returns when to ask again."""
        at = self._context
        if (until := at.health.retry_after_until(run.provider, "poll")) > at.clock():
            return until + int(at.random() * 1000)
        outcome = await self._ask(run.provider, run.run_id, job_id=run.job_id)
        if isinstance(outcome, ProviderError) or is_news(outcome, state=run.state, position=run.position):
            return outcome
        await self._answered(run.provider, run.job_id)
        at.poll_timing.unfinished(run)
        return await self._next_poll(run)

    async def run(self, job: Job) -> int | None:
        at = self._context
        if (until := at.health.retry_after_until(job.provider, "poll")) > at.clock():
            return until + int(at.random() * 1000)
        assert job.run_id is not None
        return await self.apply(job, await self._ask(job.provider, job.run_id, job_id=job.id))

    async def apply(self, job: Job, outcome: Outcome, *, run: PolledRun | None = None) -> int | None:
        """Store what a poll of *job* has brought; returns what `run` returns. *run* is what was polled."""
        at = self._context
        match outcome:
            case AnswerUnreadable():
                return await self._observer.unreadable(await self._begun(job, outcome), outcome)
            case ProviderUnavailable():
                await self._begun(job, outcome)
                return await at.unavailable(job, "poll", outcome)
            case ProviderPaused():
                await self._begun(job, outcome)
                await at.health.on_paused(job.provider, outcome)
                return at.after(BLOCKED_DELAY)
            case RunLost():
                at.log_error(job, "run_lost", outcome)
                await at.end(job, State.FAILED, reason="run_lost", may_be_billed=True)
                return None
            case ProviderError():
                raise outcome
        await self._answered(job.provider, job.id)
        run = run or self._run_of(job)
        if not is_news(outcome, state=job.state, position=job.position):
            return await self._next_poll(run)
        return await self._write_down(job, outcome, run)

    async def _ask(self, provider: str, run_id: str, *, job_id: str) -> Outcome:
        try:
            return await self._observer.observe(provider, run_id, job_id=job_id)
        except ProviderError as exc:
            return exc

    async def _answered(self, provider: str, job_id: str) -> None:
        await self._context.health.on_answered(provider, job_id=job_id)
        self._context.succeeded(job_id, "poll")

    async def _begun(self, job: Job, exc: ProviderError) -> Job:
        """*job* with its current state: a finished run is no longer queued, although its result cannot be read yet."""
        if not exc.finished or job.state is not State.QUEUED:
            return job
        at = self._context
        now = at.clock()
        return await at.store.move(job, State.RUNNING, now=now, due_at=now, started_at=now) or job

    async def _next_poll(self, run: PolledRun) -> int:
        """When to poll again; once the run takes longer than usual, its card says so."""
        at = self._context
        if run.job_id not in at.memory.slow:
            age = (at.clock() - run.submitted_at) / 1000
            if age >= at.poll_timing.slow_after(run.key, run.timing):
                at.memory.slow.add(run.job_id)
                await at.store.request_redraw([run.job_id], now=at.clock())
        return at.poll_timing.next_look(run, called_back=run.job_id in at.wakeups.called_back)

    async def _write_down(self, job: Job, observation: Observation, run: PolledRun) -> int | None:
        at = self._context
        now = at.clock()
        self._learn(run, observation)
        if observation.reason:
            at.log_error(job, observation.state.value, RuntimeError(observation.reason))
        if observation.state.is_final:
            await self._end(job, observation)
            return None
        due_at = now if observation.state is State.COLLECTING else await self._next_poll(run)
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

    def _learn(self, run: PolledRun, observation: Observation) -> None:
        """Take the times of a run's changes; failures come early and say nothing about pictures."""
        timing, called_back = self._context.poll_timing, run.job_id in self._context.wakeups.called_back
        if observation.state is State.COLLECTING:
            timing.finished(run, called_back=called_back)
        elif observation.state is State.RUNNING and run.state is State.QUEUED:
            timing.started(run)
        elif not observation.state.is_final:
            timing.unfinished(run)

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
