"""Tracks the health of each provider: circuit breaker, Retry-After, and probes after an outage."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from bot.core.circuit_breaker import CircuitBreaker, Mode
from bot.core.clock import Clock
from bot.core.errors import ModelGone, ProviderError, ProviderPaused, ProviderUnavailable, RunNotKnownYet
from bot.core.jobs import SECOND
from bot.jobs.availability import Availability
from bot.jobs.changes import Changes, Topic
from bot.jobs.leases import Leases
from bot.providers.base import Provider
from bot.store.provider_health import Known, ProviderHealthRows

log = logging.getLogger(__name__)

Change = Callable[[CircuitBreaker], CircuitBreaker]


@dataclass(frozen=True, slots=True)
class _Health:
    """What all processes know of one provider."""

    n: int  # of two, the one with the higher number is newer
    breaker: CircuitBreaker
    retry_after: Mapping[str, int]  # request (submit, poll, collect) → until when the provider has asked for none


class ProviderHealth:
    """Where the database is shared, changes are written, so that the processes know the same; reading asks memory."""

    def __init__(
        self,
        availability: Availability,
        providers: Mapping[str, Provider],
        *,
        rows: ProviderHealthRows,
        leases: Leases,
        changes: Changes,
        clock: Clock,
    ) -> None:
        self._availability = availability
        self._clock = clock
        self._providers = providers
        self._rows = rows
        self._leases = leases
        self._changes = changes
        self._known: dict[str, _Health] = {}
        self._notified: dict[str, str] = {}  # provider → the outage that cards and the operator have been notified of
        self._failing_jobs: dict[str, set[str]] = {}  # provider → jobs whose runs could not be polled
        self._faulty_jobs: set[str] = set()  # jobs whose polls fail while the provider answers all others
        changes.on(Topic.PROVIDER, self._on_change)
        changes.on_reread(self.load)

    async def start(self) -> None:
        """Take over what the other processes know; where there is no other worker, begin anew, as after a restart."""
        if self._changes.shared and not self._leases.others_work:
            for provider in await self._rows.all():
                await self._rows.change(provider, lambda _: "")
        await self.load()

    async def load(self) -> None:
        """Take over what the other processes know."""
        if self._changes.shared:
            for provider, known in (await self._rows.all()).items():
                self._take_over(provider, known)

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
        return self._health(provider).retry_after.get(request, 0)

    # --- outcomes of requests

    async def on_submit(self, provider: str) -> bool:
        """A paid request is about to be sent; False where none may be sent any more."""
        now, accepted = self._clock(), True

        def change(breaker: CircuitBreaker) -> CircuitBreaker:
            nonlocal accepted
            accepted = breaker.accepts(now)
            return breaker.on_submit(now) if accepted else breaker

        await self._change(provider, change)
        return accepted

    async def on_failed(self, provider: str, request: str, exc: ProviderError, *, job_id: str) -> None:
        """A provider gave no usable answer; repeated failures become an outage.

        A poll that fails for one run only, while others are answered, says nothing about the provider.
        """
        now = self._clock()
        retry_after = exc.retry_after if isinstance(exc, ProviderUnavailable) else None
        if retry_after:
            until = now + int(retry_after * SECOND)
            await self._change(provider, _unchanged, retry_after={request: until})
        if isinstance(exc, RunNotKnownYet) or (request != "submit" and job_id in self._faulty_jobs):
            return
        if request != "submit":
            self._failing_jobs.setdefault(provider, set()).add(job_id)
        unsure = not isinstance(exc, ProviderUnavailable)
        await self._change(provider, lambda breaker: breaker.on_failed(now, paid=request == "submit", unsure=unsure))
        await self._notify(provider)

    async def on_paused(self, provider: str, exc: ProviderPaused, *, submitting: bool = False) -> None:
        """A provider accepts nothing from this account until the operator acts."""
        now = self._clock()
        await self._change(provider, lambda breaker: breaker.on_account_refused(exc.kind, now, paid=submitting))
        await self._notify(provider)

    async def on_answered(self, provider: str, *, job_id: str | None = None) -> None:
        """A provider answered a free request; *job_id* where it was a poll."""
        before = self._breaker(provider)
        after = await self._change(provider, CircuitBreaker.on_answered)
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
        await self._change(provider, CircuitBreaker.on_refused)
        await self._notify(provider)

    async def on_accepted(self, provider: str) -> None:
        """A provider accepted a paid request."""
        await self._change(provider, CircuitBreaker.on_accepted)
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
        outage = self._breaker(provider).outage
        if outage is not None and self._notified.get(provider) != outage:
            await self._availability.report_outage(provider, outage)
            self._notified[provider] = outage
        elif outage is None and provider in self._availability.outages:
            await self._change(provider, _unchanged, retry_after={"submit": 0})  # it belonged to the outage
            await self._availability.report_recovery(provider)
            self._notified.pop(provider, None)

    # --- what is known

    def _breaker(self, provider: str) -> CircuitBreaker:
        return self._health(provider).breaker

    def _health(self, provider: str) -> _Health:
        if (found := self._known.get(provider)) is not None:
            return found
        outage = self._availability.outages.get(provider)
        return _Health(0, CircuitBreaker() if outage is None else CircuitBreaker.restored(outage), {})

    async def _change(
        self, provider: str, change: Change, *, retry_after: Mapping[str, int] | None = None
    ) -> CircuitBreaker:  # fmt: skip
        """Change what is known of a provider, if *change* or *retry_after* is news; returns its breaker afterwards.

        A time in *retry_after* replaces an earlier one, and 0 any.
        """
        known = self._health(provider)
        changed = _changed(known, change, retry_after or {})
        if changed == known:
            return known.breaker
        if self._changes.shared:
            row = await self._rows.change(
                provider, lambda body: _dump(_changed(_load(body) or known, change, retry_after or {}))
            )
            self._take_over(provider, row)
            self._changes.send(Topic.PROVIDER, [provider, *row])
        else:
            self._known[provider] = changed
        return self._breaker(provider)

    def _on_change(self, value: tuple[str, int, str]) -> None:
        """Another process has changed what is known of a provider, and has notified the operator if necessary."""
        provider, n, body = value
        before = self._breaker(provider).outage
        self._take_over(provider, Known(n, body))
        after = self._breaker(provider).outage
        if after is None:
            self._notified.pop(provider, None)
        else:
            self._notified[provider] = after
        if after != before:
            self._availability.adopt_outage(provider, after)
        self._availability.wake_waiting()  # it may be half-open now

    def _take_over(self, provider: str, row: Known) -> None:
        if (health := _load(row.body, n=row.n)) is None:
            self._known.pop(provider, None)
        elif health.n >= self._health(provider).n:
            self._known[provider] = health


def _unchanged(breaker: CircuitBreaker) -> CircuitBreaker:
    return breaker


def _changed(known: _Health, change: Change, retry_after: Mapping[str, int]) -> _Health:
    until = {
        request: max(at, known.retry_after.get(request, 0)) if at else 0 for request, at in retry_after.items()
    }  # fmt: skip
    return replace(known, breaker=change(known.breaker), retry_after={**known.retry_after, **until})


def _dump(health: _Health) -> str:
    return json.dumps({"breaker": health.breaker.dump(), "retry_after": dict(health.retry_after)})


def _load(body: str, *, n: int = 0) -> _Health | None:
    if not body:
        return None
    read = json.loads(body)
    return _Health(n, CircuitBreaker.load(read["breaker"]), read["retry_after"])
