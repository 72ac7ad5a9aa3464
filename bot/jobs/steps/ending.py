"""Ends jobs: with the pictures on disk, or without any while the run may still finish."""

from bot.core.jobs import WATCH_LIMIT, Job, State
from bot.core.polling import WATCH_DELAY
from bot.jobs.steps.context import StepContext


class Ending:
    def __init__(self, context: StepContext) -> None:
        self._context = context

    async def finish(self, job: Job, downloaded: int, *, cost: int | None) -> None:
        """Settle for the pictures on disk; with none the job has failed. *cost* in micro-dollars, None if unknown."""
        at = self._context
        at.availability.forget_blocked_host(job.id)
        state = State.SUCCEEDED if downloaded else State.FAILED
        reason = None if downloaded else "no_pictures"
        await at.end(job, state, reason=reason, images=downloaded, cost=cost, may_be_billed=True)

    async def with_pictures_on_disk(self, job: Job, *, reason: str) -> int | None:
        """Deliver what has been downloaded; where that is nothing, fail for *reason* and watch the run."""
        at = self._context
        at.availability.forget_blocked_host(job.id)
        record = await at.store.job_record(job.id)
        if record is not None and record.pictures:
            await self.finish(job, len(record.pictures), cost=None)
            return None
        return await self.watched(job, reason=reason)

    async def watched(self, job: Job, *, reason: str) -> int | None:
        """Fail at no cost to the member; the run is watched for a while where it is known or can be searched for."""
        at = self._context
        provider = at.providers.get(job.provider)
        watch: dict[str, int] = {}
        if job.run_id is not None or (provider is not None and provider.searchable):
            watch = {"watch_until": at.clock() + WATCH_LIMIT, "due_at": at.after(WATCH_DELAY)}
        await at.end(job, State.FAILED, reason=reason, may_be_billed=True, **watch)
        return watch.get("due_at")
