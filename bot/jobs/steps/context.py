"""Shared by all steps of a job: dependencies, ending a job, retry delays, logging."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from bot.core.catalog import Catalog
from bot.core.clock import Clock
from bot.core.errors import ProviderUnavailable
from bot.core.jobs import Job, State
from bot.core.polling import backoff
from bot.jobs.availability import Availability
from bot.jobs.changes import Changes
from bot.jobs.leases import Leases
from bot.jobs.poll_timing import PollTiming
from bot.jobs.provider_health import ProviderHealth
from bot.jobs.results import ResultDownloader
from bot.jobs.routing import Routing
from bot.jobs.system_outages import Outages
from bot.jobs.wakeups import Wakeups
from bot.observability.logging import without_quotes
from bot.providers.base import Provider
from bot.store.store import Store

log = logging.getLogger(__name__)


class StepRunner(Protocol):
    async def run(self, job: Job) -> int | None:
        """Do one step of *job*: one exchange with the outside, then one guarded write of its outcome.

        Returns when to attend to the job next (UTC milliseconds); None if it need not be attended to again.
        """
        ...


@dataclass(slots=True)
class StepMemory:
    """In-memory state of the steps; losing it at a restart only repeats some attempts."""

    attempts: dict[str, Counter[str]] = field(default_factory=dict)  # job → attempts by kind of request
    slow: set[str] = field(default_factory=set)  # jobs whose card says that they take longer than usual
    unreadable_since: dict[str, int] = field(default_factory=dict)  # job → since when its answers are unreadable
    paying: set[str] = field(default_factory=set)  # jobs whose paid request is in progress

    def forget(self, job_id: str) -> None:
        self.attempts.pop(job_id, None)
        self.slow.discard(job_id)
        self.unreadable_since.pop(job_id, None)


@dataclass(frozen=True, slots=True)
class StepContext:
    store: Store
    availability: Availability
    health: ProviderHealth
    routing: Routing
    outages: Outages
    poll_timing: PollTiming
    wakeups: Wakeups
    leases: Leases
    changes: Changes
    providers: Mapping[str, Provider]
    results: ResultDownloader
    clock: Clock
    callback_url: Callable[[Job], str | None]  # where the provider calls when a run has ended
    random: Callable[[], float]  # jitter, from 0 to 1
    memory: StepMemory = field(default_factory=StepMemory)

    @property
    def catalog(self) -> Catalog:
        return self.availability.catalog

    async def end(
        self, job: Job, state: State, *, reason: str | None, cost: int | None = None, may_be_billed: bool = False,
        **changes: Any,
    ) -> None:  # fmt: skip
        """Move *job* to a final state and settle its reservation, unless it has left the state we know it in.

        *cost*: micro-dollars billed by the provider. *may_be_billed*: where the cost is not known, assume the price.
        """
        ended = await self.store.move(
            job, state, now=self.clock(), cost_micro_usd=cost, may_be_billed=may_be_billed, reason=reason, **changes
        )
        self.memory.forget(job.id)
        self.routing.forget(job.id)
        self.health.forget(job.id)
        self.wakeups.forget_call(job.id)
        if ended is not None:
            extra = {"event": "job_ended", "job_id": job.id, "state": state.value, "reason": reason}
            log.info("A job has ended", extra=extra)

    async def unavailable(self, job: Job, request: str, exc: ProviderUnavailable) -> int:
        """Report a request without an answer to the provider's health; returns when to repeat the request."""
        self.log_error(job, "unavailable", exc)
        if self.outages.seen(exc) is None:  # otherwise the cause is this machine
            await self.health.on_failed(job.provider, request, exc, job_id=job.id)
        return self.after(backoff(self.attempt(job, request), retry_after=exc.retry_after, jitter=self.random()))

    def provider_of(self, job: Job) -> Provider:
        """The job's provider, as `provider` finds it."""
        return self.provider(job.provider)

    def provider(self, name: str) -> Provider:
        """`ProviderUnavailable` where the operator has removed the provider: the job ends at its deadline."""
        provider = self.providers.get(name)
        if provider is None:
            raise ProviderUnavailable(f"{name} is not among the providers that are used")
        return provider

    def attempt(self, job: Job, request: str) -> int:
        """Count one more attempt at a kind of request of this job; returns the number of attempts."""
        attempts = self.memory.attempts.setdefault(job.id, Counter())
        attempts[request] += 1
        return attempts[request]

    def succeeded(self, job_id: str, request: str) -> None:
        """The next failure of this kind of request counts as the first."""
        if (attempts := self.memory.attempts.get(job_id)) is not None:
            del attempts[request]

    def after(self, seconds: float) -> int:
        """*seconds* from now, in UTC milliseconds."""
        return self.clock() + int(seconds * 1000)

    def log_error(self, job: Job, event: str, exc: Exception) -> None:
        text = without_quotes(str(exc), job.request.prompt)  # even an error code may repeat the prompt
        log.warning("%s: %s", job.provider, text, extra={"event": event, "job_id": job.id, "run_id": job.run_id})
