"""Asks the provider to cancel a run. The next poll decides, not the answer; a job without a run ends at once."""

from bot.core.errors import ProviderPaused, ProviderUnavailable
from bot.core.jobs import Cancel as Cancellation
from bot.core.jobs import Job, State
from bot.jobs.steps.context import StepContext
from bot.jobs.steps.poll import Poll
from bot.providers.base import CancelOutcome

MAX_ATTEMPTS = 3


class Cancel:
    def __init__(self, context: StepContext, poll: Poll) -> None:
        self._context = context
        self._poll = poll

    async def run(self, job: Job) -> int | None:
        at = self._context
        if job.run_id is None:
            await at.end(job, State.CANCELLED, reason=None)
            return None
        try:
            outcome = await at.provider_of(job).cancel(job.run_id)
        except (ProviderUnavailable, ProviderPaused):
            outcome = CancelOutcome.UNKNOWN
        if outcome is CancelOutcome.UNKNOWN and at.attempt(job, "cancel") < MAX_ATTEMPTS:
            return await self._poll.run(job)
        answer = Cancellation.ASKED if outcome is CancelOutcome.CANCELLED else Cancellation.TOO_LATE
        updated = await at.store.update(job, now=at.clock(), show=True, cancel=answer, due_at=at.clock())
        return await self._poll.run(updated) if updated is not None else at.clock()
