"""Keeps an eye on the hosts: which get paid requests, which ask for patience, and whether they are well again."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

from bot.bells import Clock
from bot.core.breaker import Breaker, Mode
from bot.core.errors import ModelGone, ProviderError, ProviderPaused, ProviderUnavailable, RunNotKnownYet
from bot.core.jobs import SECOND
from bot.providers.base import Provider
from bot.supply import Supply

log = logging.getLogger(__name__)


class Hosts:
    def __init__(self, supply: Supply, providers: Mapping[str, Provider], *, clock: Clock) -> None:
        self._supply = supply
        self._clock = clock
        self._providers = providers
        self._breakers: dict[str, Breaker] = {}
        self._quiet_until: dict[tuple[str, str], int] = {}

    def mode(self, provider: str) -> Mode:
        return self._breaker(provider).mode(self._clock())

    def admits(self, provider: str) -> bool:
        """Whether a paid request may be sent there now."""
        now = self._clock()
        return self._breaker(provider).admits(now) and self.quiet_until(provider, "submit") <= now

    def admits_at(self, provider: str) -> int | None:
        """When it may be that one can be sent again; None where that is not a question of time."""
        at = self._breaker(provider).admits_at(self._clock()) if provider in self._supply.troubles else self._clock()
        return None if at is None else max(at, self.quiet_until(provider, "submit"))

    def quiet_until(self, provider: str, what: str) -> int:
        """Until when a host has asked to be spared of *what* (submit, poll, collect); in the past where it has not."""
        return self._quiet_until.get((provider, what), 0)

    # --- what became of requests

    def begins(self, provider: str) -> None:
        """A paid request is about to be sent."""
        self._breakers[provider] = self._breaker(provider).begin(self._clock())

    async def failed(self, provider: str, what: str, exc: ProviderError) -> None:
        """A host gave no good answer; when it keeps doing so, the cards and the operator hear of it."""
        now = self._clock()
        patience = exc.retry_after if isinstance(exc, ProviderUnavailable) else None
        if patience:
            until = now + int(patience * SECOND)
            self._quiet_until[provider, what] = max(self.quiet_until(provider, what), until)
        if isinstance(exc, RunNotKnownYet):
            return
        unsure = not isinstance(exc, ProviderUnavailable)
        self._breakers[provider] = self._breaker(provider).fail(now, paid=what == "submit", unsure=unsure)
        await self._tell(provider)

    async def paused(self, provider: str, exc: ProviderPaused, *, submitting: bool = False) -> None:
        """A host takes nothing from us until the operator acts."""
        self._breakers[provider] = self._breaker(provider).refuse_us(exc.kind, self._clock(), paid=submitting)
        await self._tell(provider)

    async def answered(self, provider: str) -> None:
        """A host answered something free, as it should."""
        before = self.mode(provider)
        self._breakers[provider] = self._breaker(provider).answer()
        await self._tell(provider)
        if before is Mode.OPEN and self.mode(provider) is Mode.HALF_OPEN:
            await self._supply.ring_waiting()

    async def judged(self, provider: str) -> None:
        """A host refused or rejected a paid request for what it asked, which is no failure of the host."""
        self._breakers[provider] = self._breaker(provider).judge()
        await self._tell(provider)

    async def took(self, provider: str) -> None:
        """A host took a paid request."""
        self._breakers[provider] = self._breaker(provider).take()
        await self._tell(provider)

    async def probe(self) -> None:
        """Ask the hosts in trouble something free: an answer is the first sign that they are well again."""
        await asyncio.gather(*(self._probe(each) for each in self._supply.troubles if each in self._providers))

    async def _probe(self, name: str) -> None:
        try:
            left = await self._ask(self._providers[name])
        except ProviderPaused as exc:
            await self.paused(name, exc)
        except ProviderError as exc:
            log.info("%s: %s", name, exc, extra={"event": "probe"})
        else:
            if left is None or left > 0 or self._supply.troubles.get(name) != "balance":
                await self.answered(name)

    async def _ask(self, provider: Provider) -> int | None:
        left = await provider.balance()
        if left is None:  # perhaps nothing was asked: not every host has a wallet that can be read
            with suppress(ModelGone):  # which is an answer all the same
                for route in list(self._supply.catalog.routes_at(provider.name))[:1]:
                    await provider.describe(route)
        return left

    async def _tell(self, provider: str) -> None:
        trouble = self._breakers[provider].trouble
        if trouble is not None and self._supply.troubles.get(provider) != trouble:
            await self._supply.host_trouble(provider, trouble)
        elif trouble is None and provider in self._supply.troubles:
            self._quiet_until.pop((provider, "submit"), None)  # what it asked for was about the trouble
            await self._supply.host_recovered(provider)

    def _breaker(self, provider: str) -> Breaker:
        if (found := self._breakers.get(provider)) is not None:
            return found
        trouble = self._supply.troubles.get(provider)
        return Breaker() if trouble is None else Breaker.remembered(trouble)
