"""Downloads the pictures of a finished run; only when they are on disk is the reservation settled."""

from bot.core.errors import AnswerUnreadable, ProviderPaused, ProviderUnavailable, RunLost
from bot.core.jobs import Job, Observation, State
from bot.jobs.steps.context import StepContext
from bot.jobs.steps.ending import Ending
from bot.jobs.steps.observe import Observer

RETRY_DELAY = 2.0  # seconds; longer with each attempt
BLOCKED_DELAY = 60.0  # seconds; the operator has to act


class Collect:
    def __init__(self, context: StepContext, observer: Observer, ending: Ending) -> None:
        self._context = context
        self._observer = observer
        self._ending = ending

    async def run(self, job: Job) -> int | None:
        at = self._context
        try:
            observation = await self._observer.observe(job.provider, job.run_id or "", job_id=job.id)
        except AnswerUnreadable as exc:
            return await self._observer.unreadable(job, exc)
        except ProviderUnavailable as exc:
            return await at.unavailable(job, "collect", exc)
        except ProviderPaused:
            return at.after(BLOCKED_DELAY)
        except RunLost:
            observation = Observation(State.COLLECTING)
        return await self.download(job, observation)

    async def download(self, job: Job, observation: Observation) -> int | None:
        """Download the pictures of *observation*, and settle once no more can be downloaded."""
        at = self._context
        if observation.state in (State.QUEUED, State.RUNNING):  # not every server of the provider has the result yet
            return at.after(RETRY_DELAY * at.attempt(job, "collect"))
        result = await at.results.download(job, observation.image_urls)
        if result.blocked_host is not None:
            await at.availability.report_blocked_host(job, result.blocked_host)
            return at.after(BLOCKED_DELAY)
        if result.incomplete:
            return at.after(RETRY_DELAY * at.attempt(job, "collect"))
        await self._ending.finish(job, result.downloaded, cost=observation.cost_micro_usd)
        return None
