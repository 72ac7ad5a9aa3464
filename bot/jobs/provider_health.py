"""Keeps an eye on the hosts: which get paid requests, which ask for patience, and whether they are well again."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

from bot.core.circuit_breaker import CircuitBreaker, Mode
from bot.core.clock import Clock
from bot.core.errors import ModelGone, ProviderError, ProviderPaused, ProviderUnavailable, RunNotKnownYet
from bot.core.jobs import SECOND
from bot.jobs.availability import Availability
from bot.providers.base import Provider

log = logging.getLogger(__name__)


class ProviderHealth:
    def __init__(self, availability: Availability, providers: Mapping[str, Provider], *, clock: Clock) -> None:
        self._availability = availability
        self._clock = clock
        self._providers = providers
        self._breakers: dict[str, CircuitBreaker] = {}
        self._notified: dict[str, str] = {}  # provider → the trouble that everybody concerned has been told of
        self._failing_jobs: dict[str, set[str]] = {}  # provider → the jobs whose runs could not be asked about
        self._faulty_jobs: set[str] = set()  # those of them whose host answers everybody else
        self._retry_after_until: dict[tuple[str, str], int] = {}

    def mode(self, provider: str) -> Mode:
        return self._breaker(provider).mode(self._clock())

    def accepts(self, provider: str) -> bool:
        """Whether a paid request may be sent there now."""
        now = self._clock()
        return self._breaker(provider).accepts(now) and self.retry_after_until(provider, "submit") <= now

    def accepts_at(self, provider: str) -> int | None:
        """When it may be that one can be sent again; None where that is not a question of time."""
        now, breaker = self._clock(), self._breaker(provider)
        at = now if breaker.outage is None else breaker.accepts_at(now)
        return None if at is None else max(at, self.retry_after_until(provider, "submit"))

    def retry_after_until(self, provider: str, what: str) -> int:
        """Until when a host has asked to be spared of *what* (submit, poll, collect); in the past where it has not."""
        return self._retry_after_until.get((provider, what), 0)

    # --- what became of requests

    def on_submit(self, provider: str) -> None:
        """A paid request is about to be sent."""
        self._breakers[provider] = self._breaker(provider).begin(self._clock())

    async def on_failed(self, provider: str, what: str, exc: ProviderError, *, job_id: str) -> None:
        """A host gave no good answer; when it keeps doing so, the cards and the operator hear of it.

        What is asked about one run only, and fails while others are answered, says nothing about the host.
        """
        now = self._clock()
        patience = exc.retry_after if isinstance(exc, ProviderUnavailable) else None
        if patience:
            until = now + int(patience * SECOND)
            self._retry_after_until[provider, what] = max(self.retry_after_until(provider, what), until)
        if isinstance(exc, RunNotKnownYet) or (what != "submit" and job_id in self._faulty_jobs):
            return
        if what != "submit":
            self._failing_jobs.setdefault(provider, set()).add(job_id)
        unsure = not isinstance(exc, ProviderUnavailable)
        self._breakers[provider] = self._breaker(provider).fail(now, paid=what == "submit", unsure=unsure)
        await self._notify(provider)

    async def on_paused(self, provider: str, exc: ProviderPaused, *, submitting: bool = False) -> None:
        """A host takes nothing from us until the operator acts."""
        self._breakers[provider] = self._breaker(provider).refuse_us(exc.kind, self._clock(), paid=submitting)
        await self._notify(provider)

    async def on_answered(self, provider: str, *, job_id: str | None = None) -> None:
        """A host answered something free, as it should; *job_id* where it was about a run."""
        before = self._breaker(provider)
        self._breakers[provider] = after = before.answer()
        self._faulty_jobs.discard(job_id or "")
        self._faulty_jobs |= self._failing_jobs.pop(provider, set()) - {job_id}
        await self._notify(provider)
        if after.outage is not None and not before.answered:  # from now on it is a question of time
            await self._availability.wake_waiting()

    def forget(self, job_id: str) -> None:
        """A job has ended: nobody will ask about its run again."""
        self._faulty_jobs.discard(job_id)

    async def on_refused(self, provider: str) -> None:
        """A host refused or rejected a paid request for what it asked, which is no failure of the host."""
        self._breakers[provider] = self._breaker(provider).judge()
        await self._notify(provider)

    async def on_accepted(self, provider: str) -> None:
        """A host took a paid request."""
        self._breakers[provider] = self._breaker(provider).take()
        await self._notify(provider)

    async def probe(self) -> None:
        """Ask the hosts in trouble something free: an answer is the first sign that they are well again."""
        await asyncio.gather(*(self._probe(each) for each in self._availability.outages if each in self._providers))

    async def _probe(self, name: str) -> None:
        provider = self._providers[name]
        try:
            if self._availability.outages.get(name) == "balance" and await self._is_empty(provider):
                return
            for route in list(self._availability.catalog.routes_at(name))[:1]:
                with suppress(ModelGone):  # an answer all the same
                    await provider.describe(route)
        except ProviderPaused as exc:
            await self.on_paused(name, exc)
        except ProviderError as exc:
            log.info("%s: %s", name, exc, extra={"event": "probe"})
        else:
            await self.on_answered(name)

    async def _is_empty(self, provider: Provider) -> bool:
        """Whether the account is known to be empty: the wallet is a service of its own, which may be away or closed."""
        try:
            left = await provider.balance()
        except ProviderError:
            return False
        return left is not None and left <= 0

    async def _notify(self, provider: str) -> None:
        """Whoever is concerned hears of it once; where that fails, again with the next request."""
        trouble = self._breakers[provider].outage
        if trouble is not None and self._notified.get(provider) != trouble:
            await self._availability.report_outage(provider, trouble)
            self._notified[provider] = trouble
        elif trouble is None and provider in self._availability.outages:
            self._retry_after_until.pop((provider, "submit"), None)  # what it asked for was about the trouble
            await self._availability.report_recovery(provider)
            self._notified.pop(provider, None)

    def _breaker(self, provider: str) -> CircuitBreaker:
        if (found := self._breakers.get(provider)) is not None:
            return found
        trouble = self._availability.outages.get(provider)
        return CircuitBreaker() if trouble is None else CircuitBreaker.remembered(trouble)
