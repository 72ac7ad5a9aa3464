"""Keeps an eye on the hosts: which of them fail, refuse us or ask for patience, and whether they are well again."""

from collections import Counter

from bot.core.errors import ProviderPaused, ProviderUnavailable, RunNotKnownYet
from bot.core.jobs import SECOND
from bot.service import Service

DOWN_AFTER = 3  # failures in a row, and not all in the same instant, before cards say that a host is in trouble
DOWN_FOR = 1 * SECOND


class Hosts:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._clock = service.clock
        self._failures: Counter[str] = Counter()  # in a row
        self._failing_since: dict[str, int] = {}
        self._refusing: set[str] = set()  # refused a submit because of our account
        self._quiet_until: dict[tuple[str, str], int] = {}

    def quiet_until(self, provider: str, what: str) -> int:
        """Until when a host has asked to be spared of *what* (submit, poll, collect); in the past where it has not."""
        return self._quiet_until.get((provider, what), 0)

    async def failed(self, provider: str, what: str, exc: ProviderUnavailable) -> None:
        """A host gave no good answer; when it keeps doing so, the cards and the operator hear of it."""
        now = self._clock()
        if exc.retry_after:
            until = now + int(exc.retry_after * SECOND)
            self._quiet_until[provider, what] = max(self.quiet_until(provider, what), until)
        if isinstance(exc, RunNotKnownYet):
            return
        self._failures[provider] += 1
        lasting = now - self._failing_since.setdefault(provider, now) >= DOWN_FOR
        if lasting and self._failures[provider] >= DOWN_AFTER and provider not in self._service.troubles:
            await self._service.host_trouble(provider, "down")

    async def paused(self, provider: str, exc: ProviderPaused, *, submitting: bool = False) -> None:
        """A host takes nothing from us until the operator acts."""
        if submitting:
            self._refusing.add(provider)
        await self._service.host_trouble(provider, exc.kind)

    async def worked(self, provider: str, *, took: bool = False) -> None:
        """A host answered; where it refused a submit for our account's sake, only one it *took* proves a change."""
        self._failures.pop(provider, None)
        self._failing_since.pop(provider, None)
        if took:
            self._refusing.discard(provider)
        if took or (provider not in self._refusing and self._service.troubles.get(provider) != "balance"):
            if provider in self._service.troubles:  # what it asked for then was about the trouble
                self._quiet_until.pop((provider, "submit"), None)
            await self._service.host_recovered(provider)
