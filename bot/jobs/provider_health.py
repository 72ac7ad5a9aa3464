"""Tracks the health of each provider: circuit breaker, Retry-After, and probes after an outage."""

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
        self._notified: dict[str, str] = {}  # provider → the outage that cards and the operator have been notified of
        self._failing_jobs: dict[str, set[str]] = {}  # provider → jobs whose runs could not be polled
        self._faulty_jobs: set[str] = set()  # jobs whose polls fail while the provider answers all others
        self._retry_after_until: dict[tuple[str, str], int] = {}

    def mode(self, provider: str) -> Mode:
        return self._breaker(provider).mode(self._clock())

    def accepts(self, provider: str) -> bool:
        """Whether a paid request may be sent there now."""
        now = self._clock()
        return self._breaker(provider).accepts(now) and self.retry_after_until(provider, "submit") <= now

    def accepts_at(self, provider: str) -> int | None:
        """When a paid request may be sent again (UTC milliseconds); None where the operator has to act first."""
        now, breaker = self._clock(), self._breaker(provider)
        at = now if breaker.outage is None else breaker.accepts_at(now)
        return None if at is None else max(at, self.retry_after_until(provider, "submit"))

    def retry_after_until(self, provider: str, request: str) -> int:
        """Until when a provider has asked for no *request* (submit, poll, collect); 0 if it has not."""
        return self._retry_after_until.get((provider, request), 0)

    # --- outcomes of requests

    def on_submit(self, provider: str) -> None:
        """A paid request is about to be sent."""
        self._breakers[provider] = self._breaker(provider).on_submit(self._clock())

    async def on_failed(self, provider: str, request: str, exc: ProviderError, *, job_id: str) -> None:
        """A provider gave no usable answer; repeated failures become an outage.

        A poll that fails for one run only, while others are answered, says nothing about the provider.
        """
        now = self._clock()
        retry_after = exc.retry_after if isinstance(exc, ProviderUnavailable) else None
        if retry_after:
            until = now + int(retry_after * SECOND)
            self._retry_after_until[provider, request] = max(self.retry_after_until(provider, request), until)
        if isinstance(exc, RunNotKnownYet) or (request != "submit" and job_id in self._faulty_jobs):
            return
        if request != "submit":
            self._failing_jobs.setdefault(provider, set()).add(job_id)
        unsure = not isinstance(exc, ProviderUnavailable)
        self._breakers[provider] = self._breaker(provider).on_failed(now, paid=request == "submit", unsure=unsure)
        await self._notify(provider)

    async def on_paused(self, provider: str, exc: ProviderPaused, *, submitting: bool = False) -> None:
        """A provider accepts nothing from this account until the operator acts."""
        self._breakers[provider] = self._breaker(provider).on_account_refused(exc.kind, self._clock(), paid=submitting)
        await self._notify(provider)

    async def on_answered(self, provider: str, *, job_id: str | None = None) -> None:
        """A provider answered a free request; *job_id* where it was a poll."""
        before = self._breaker(provider)
        self._breakers[provider] = after = before.on_answered()
        self._faulty_jobs.discard(job_id or "")
        self._faulty_jobs |= self._failing_jobs.pop(provider, set()) - {job_id}
        await self._notify(provider)
        if after.outage is not None and not before.answered:  # it may be retried from now on
            self._availability.wake_waiting()

    def forget(self, job_id: str) -> None:
        """A job has ended: its run is not polled again."""
        self._faulty_jobs.discard(job_id)

    async def on_refused(self, provider: str) -> None:
        """A provider refused or rejected a paid request for its content, which is no failure of the provider."""
        self._breakers[provider] = self._breaker(provider).on_refused()
        await self._notify(provider)

    async def on_accepted(self, provider: str) -> None:
        """A provider accepted a paid request."""
        self._breakers[provider] = self._breaker(provider).on_accepted()
        await self._notify(provider)

    async def probe(self) -> None:
        """Send a free request to each provider with an outage: an answer is the first sign of recovery."""
        await asyncio.gather(*(self._probe(each) for each in self._availability.outages if each in self._providers))

    async def _probe(self, name: str) -> None:
        provider = self._providers[name]
        try:
            if self._availability.outages.get(name) == "balance" and await self._is_empty(provider):
                return
            for route in list(self._availability.catalog.routes_at(name))[:1]:
                with suppress(ModelGone):  # counts as an answer
                    await provider.describe(route)
        except ProviderPaused as exc:
            await self.on_paused(name, exc)
        except ProviderError as exc:
            log.info("%s: %s", name, exc, extra={"event": "probe"})
        else:
            await self.on_answered(name)

    async def _is_empty(self, provider: Provider) -> bool:
        """Whether the balance is known to be zero; the balance is a separate API, which may be unavailable."""
        try:
            left = await provider.balance()
        except ProviderError:
            return False
        return left is not None and left <= 0

    async def _notify(self, provider: str) -> None:
        """Report a new outage or a recovery, once; if that fails, again with the next request."""
        outage = self._breakers[provider].outage
        if outage is not None and self._notified.get(provider) != outage:
            await self._availability.report_outage(provider, outage)
            self._notified[provider] = outage
        elif outage is None and provider in self._availability.outages:
            self._retry_after_until.pop((provider, "submit"), None)  # the Retry-After belonged to the outage
            await self._availability.report_recovery(provider)
            self._notified.pop(provider, None)

    def _breaker(self, provider: str) -> CircuitBreaker:
        if (found := self._breakers.get(provider)) is not None:
            return found
        outage = self._availability.outages.get(provider)
        return CircuitBreaker() if outage is None else CircuitBreaker.restored(outage)
