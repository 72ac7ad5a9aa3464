"""Looks at all runs of a provider at once, where it lists them and that takes fewer requests than polling each."""

import logging
from collections.abc import Callable, Mapping

from bot.core.clock import Clock
from bot.core.errors import ProviderError
from bot.core.jobs import MINUTE, SECOND, is_news
from bot.jobs.poll_timing import PolledRun, PollTiming
from bot.providers.base import Provider

log = logging.getLogger(__name__)

EVERY = SECOND  # between two looks at all
WORTH = 3  # polls of single runs that one request for a page is worth
SINGLE_AFTER = 5 * SECOND  # until a run that was listed is polled alone, should the lists fail
RETRY_AFTER = MINUTE  # after an error


class BulkPolls:
    """Decides when to look at all, and does so. In between, each run waits for the next list."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        timing: PollTiming,
        *,
        runs: Mapping[str, PolledRun],
        schedule: Callable[[str, int], None],
        clock: Clock,
    ) -> None:
        """*runs*: those that are polled, by job. *schedule* sets when a job is attended to next."""
        self._providers = providers
        self._timing = timing
        self._runs = runs
        self._schedule = schedule
        self._clock = clock
        self._next_at: dict[str, int] = {}
        self._begun: dict[str, float] = {}  # provider → polls a second that each run wanted when this was begun

    @property
    def next_at(self) -> int | None:
        """When the next look is due; None while all runs are polled one by one."""
        return min((self._next_at.get(each, 0) for each in self._begun), default=None)

    def pages(self, provider: str) -> int:
        """How many requests a look takes now; 0 where it is not due, or polls of single runs are cheaper."""
        now, client = self._clock(), self._providers.get(provider)
        if client is None or not client.page_size or now < self._next_at.get(provider, 0):
            return 0
        runs = sum(1 for each in self._runs.values() if each.provider == provider)
        self._next_at[provider] = now + EVERY
        needed = 1 + runs // client.page_size  # ended runs are listed among them
        wanted = max(self._timing.rate(provider), runs * self._begun.get(provider, 0.0))
        if wanted < WORTH * needed:
            self._begun.pop(provider, None)
            return 0
        self._begun.setdefault(provider, wanted / max(1, runs))
        return needed

    async def look(self, provider: str, *, pages: int) -> None:
        """Look at all runs: those without news wait for the next list, all others are polled now."""
        runs = [each for each in self._runs.values() if each.provider == provider]
        try:
            seen = await self._providers[provider].observe_many([each.run_id for each in runs], pages=pages)
        except Exception as exc:  # each run is polled at its own time
            if not isinstance(exc, ProviderError):
                log.exception("A look at all runs failed", extra={"event": "step_error"})
            self._begun.pop(provider, None)
            self._next_at[provider] = self._clock() + RETRY_AFTER
            return
        now = self._clock()
        for run in runs:
            observation = seen.get(run.run_id)
            if observation is None or is_news(observation, state=run.state, position=run.position):
                self._schedule(run.job_id, now)
            else:
                self._timing.unfinished(run)
                self._schedule(run.job_id, now + SINGLE_AFTER)
