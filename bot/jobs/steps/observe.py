"""Requests the state of a run, and ends a job whose provider keeps answering in an unknown form."""

from bot.core.errors import AnswerUnreadable, ProviderError
from bot.core.jobs import MINUTE, Job, Observation
from bot.jobs.steps.context import StepContext
from bot.jobs.steps.ending import Ending

UNREADABLE_DELAY = 15.0  # seconds
UNREADABLE_LIMIT = 2 * MINUTE  # how long answers of an unknown form may come before the job ends


class Observer:
    def __init__(self, context: StepContext, ending: Ending) -> None:
        self._context = context
        self._ending = ending

    async def observe(self, provider: str, run_id: str, *, job_id: str) -> Observation:
        """The state of a job's run at its provider; `ProviderError` without a readable answer.

        Any other outcome ends a series of unreadable answers: only one after the other are too many.
        """
        unreadable_since = self._context.memory.unreadable_since
        try:
            observation = await self._context.provider(provider).observe(run_id)
        except AnswerUnreadable:
            raise
        except ProviderError:
            unreadable_since.pop(job_id, None)
            raise
        unreadable_since.pop(job_id, None)
        return observation

    async def unreadable(self, job: Job, exc: AnswerUnreadable) -> int | None:
        """Ask again for a while; then end the job, at no cost to the member unless a picture is on disk."""
        at = self._context
        now, unreadable_since = at.clock(), at.memory.unreadable_since
        if job.id not in unreadable_since:
            at.log_error(job, "answer_unreadable", exc)
        if now - unreadable_since.setdefault(job.id, now) < UNREADABLE_LIMIT:
            return at.after(UNREADABLE_DELAY)
        await at.availability.report_unreadable(job.provider, exc.shape)
        return await self._ending.with_pictures_on_disk(job, reason="unreadable")
