"""What all steps of a job share: its ending, the patience with its host, the words for the log."""

import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bot.core.cards import Reply
from bot.core.errors import ProviderUnavailable
from bot.core.jobs import Job, Reference, State
from bot.core.polling import Timing, backoff
from bot.jobs.provider_health import ProviderHealth
from bot.jobs.results import ResultDownloader
from bot.jobs.routing import Routing
from bot.jobs.service import Service
from bot.observability.logging import without_quotes
from bot.providers.base import Provider
from bot.store.store import Store

log = logging.getLogger(__name__)

Find = Callable[[Reply], Awaitable[tuple[int, bool] | None]]
CheckReferences = Callable[..., Awaitable[tuple[Reference, ...]]]  # (references, *, limits), Looker's


class Stepping:
    def __init__(
        self,
        store: Store,
        service: Service,
        *,
        hosts: ProviderHealth,
        routing: Routing,
        providers: Mapping[str, Provider],
        collector: ResultDownloader,
        find: Find,
        check_references: CheckReferences,
        callback_url: Callable[[Job], str | None] = lambda _: None,  # where its host calls when the run has ended
        draw: Callable[[], float] = random.random,
    ) -> None:
        """*find* asks Discord whether a card is shown; *check_references* reads reference pictures whole."""
        self._store = store
        self._service = service
        self._catalog = service.catalog
        self._clock = service.clock
        self._hosts = hosts
        self._routing = routing
        self._providers = providers
        self._collector = collector
        self._find_reply = find
        self._check_references = check_references
        self._callback_url = callback_url
        self._draw = draw
        self._runs: dict[str, str] = {}  # submitted, but not yet on disk
        self._tries: Counter[tuple[str, str]] = Counter()
        self._slow: set[str] = set()
        self._unreadable_since: dict[str, int] = {}

    async def _end(
        self, job: Job, state: State, *, reason: str | None, cost: int | None = None, may_be_billed: bool = False,
        **changes: Any,
    ) -> None:  # fmt: skip
        ended = await self._store.move(
            job, state, now=self._clock(), cost_micro_usd=cost, may_be_billed=may_be_billed, reason=reason, **changes
        )
        for key in [each for each in self._tries if each[0] == job.id]:
            del self._tries[key]
        self._slow.discard(job.id)
        self._unreadable_since.pop(job.id, None)
        self._routing.forget(job.id)
        self._hosts.forget(job.id)
        self._service.called_back.discard(job.id)
        if ended is not None:
            extra = {"event": "job_ended", "job_id": job.id, "state": state.value, "reason": reason}
            log.info("A job has ended", extra=extra)

    async def _failed(self, job: Job, what: str, exc: ProviderUnavailable) -> float:
        """Seconds to leave the host alone."""
        self._say(job, "unavailable", exc)
        if self._service.outages.seen(exc) is None:  # else it is we who could not ask
            await self._hosts.on_failed(job.provider, what, exc, job_id=job.id)
        return backoff(self._again(job, what), retry_after=exc.retry_after, jitter=self._draw())

    def _host(self, job: Job) -> Provider:
        """Its host; `ProviderUnavailable` where the operator has taken it out: the job ends at its deadline."""
        found = self._providers.get(job.provider)
        if found is None:
            raise ProviderUnavailable(f"{job.provider} is not among the providers that are used")
        return found

    def _again(self, job: Job, what: str) -> int:
        self._tries[job.id, what] += 1
        return self._tries[job.id, what]

    def _timing(self, job: Job) -> Timing:
        model = self._catalog.models.get(job.request.model)
        timing = model.timing if model else Timing()
        waits = self._callback_url(job) is not None and job.id not in self._service.called_back
        return timing.called_back() if waits else timing

    def _in(self, seconds: float) -> int:
        return self._clock() + int(seconds * 1000)

    def _say(self, job: Job, event: str, exc: Exception) -> None:
        said = without_quotes(str(exc), job.request.prompt)  # even a code may be an echo
        log.warning("%s: %s", job.provider, said, extra={"event": event, "job_id": job.id, "run_id": job.run_id})
