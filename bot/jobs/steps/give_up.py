"""Ends jobs at their deadlines: waited too long for a provider, or the run takes too long."""

from bot.core.jobs import Job, State
from bot.jobs.steps.context import StepContext
from bot.jobs.steps.ending import Ending


class Expire:
    """Ends a job that no provider accepted in time; nothing was paid."""

    def __init__(self, context: StepContext) -> None:
        self._context = context

    async def run(self, job: Job) -> int | None:
        at = self._context
        links_expired = job.inputs_expire_at is not None and at.clock() >= job.inputs_expire_at
        outage = at.availability.outages.get(job.provider, "expired_waiting")
        await at.end(job, State.FAILED, reason="inputs_expired" if links_expired else outage)
        return None


class GiveUp:
    """Ends a job whose run takes too long: the member's reservation is released, and a late picture costs nothing."""

    def __init__(self, context: StepContext, ending: Ending) -> None:
        self._context = context
        self._ending = ending

    async def run(self, job: Job) -> int | None:
        if job.state is State.COLLECTING:
            blocked = self._context.availability.blocked_host_of(job.id) is not None
            reason = "result_host_blocked" if blocked else "no_pictures"
            return await self._ending.with_pictures_on_disk(job, reason=reason)
        return await self._ending.watched(job, reason="unknown" if job.state is State.UNKNOWN else "gave_up")
