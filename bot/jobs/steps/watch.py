"""Watches a run after its job has ended without pictures: if they come late, they are delivered at no cost."""

from typing import Any

from bot.core.errors import AnswerUnreadable, ProviderPaused, ProviderUnavailable, RunLost
from bot.core.jobs import Job, Observation, State
from bot.core.polling import WATCH_DELAY
from bot.jobs.steps.context import StepContext
from bot.jobs.steps.submit import SubmittedRuns


class Watch:
    def __init__(self, context: StepContext, runs: SubmittedRuns) -> None:
        self._context = context
        self._runs = runs

    async def run(self, job: Job) -> int | None:
        if job.run_id is None:
            return await self._find_run(job)
        at = self._context
        now = at.clock()
        try:
            observation = await at.provider_of(job).observe(job.run_id)
        except (ProviderUnavailable, ProviderPaused, AnswerUnreadable):
            return at.after(WATCH_DELAY)
        except RunLost:
            observation = Observation(State.FAILED)
        if observation.state in (State.QUEUED, State.RUNNING):
            return at.after(WATCH_DELAY)
        if observation.cost_micro_usd is not None:
            await at.store.record_cost(job, now=now, micro_usd=observation.cost_micro_usd)
        result = await at.results.download(job, observation.image_urls)
        if result.incomplete or result.blocked_host:
            return at.after(WATCH_DELAY)
        changes: dict[str, Any] = {"watch_until": None, "due_at": None, "images": result.downloaded}
        if result.downloaded:
            changes["reason"] = "late"
        await at.store.update(job, now=now, show=result.downloaded > 0, **changes)
        return None

    async def _find_run(self, job: Job) -> int | None:
        """Search for the run of a submit whose answer was lost, and watch it once it is found."""
        at = self._context
        try:
            run_id = await at.provider_of(job).find(job.id)
        except (ProviderUnavailable, ProviderPaused):
            run_id = None
        if run_id is None or await self._runs.belongs_to_another(job, run_id):
            return at.after(WATCH_DELAY)
        found = await at.store.update_ended(job, run_id=run_id)
        return await self.run(found) if found is not None else None
