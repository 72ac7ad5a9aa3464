"""Looks the hosts over from time to time: which configured models each still has, what is left on the account."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from bot.core.errors import ModelGone, ProviderError, ProviderUnavailable
from bot.core.jobs import HOUR, MINUTE
from bot.jobs.build import Services
from bot.maintenance.periodic import periodic
from bot.providers.base import Provider

log = logging.getLogger(__name__)

EVERY = 20.0  # seconds
CHECK_EVERY = 24 * HOUR
BALANCE_EVERY = 15 * MINUTE
AGAIN = 10 * MINUTE  # when a check came to nothing
STALE = HOUR  # a balance that could not be asked for anew for so long is not known any more
LOW = "low_balance"  # a note: the hosts whose low balance the operator has been told of

Probe = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Balance:
    micro_usd: int
    asked_at: int


class ProviderChecks:
    def __init__(self, services: Services, *, providers: Mapping[str, Provider], low: int | None, probe: Probe) -> None:
        """*low*: below so many micro-dollars the operator is told, None: never. *probe* asks hosts in trouble."""
        self._services = services
        self._clock = services.clock
        self._providers = providers
        self._low = low
        self._probe = probe
        self._balances: dict[str, Balance] = {}
        self._check_at: dict[str, int] = {}  # the next time, by provider
        self._balance_at: dict[str, int] = {}
        self._noting = asyncio.Lock()  # one note for all providers

    async def run(self, stop: asyncio.Event) -> None:
        """Two loops, since a host that is slow to answer must not keep another one from being found well again."""
        said = "The hosts could not be looked over"
        async with asyncio.TaskGroup() as group:
            group.create_task(
                periodic(self.probe, every=EVERY, stop=stop, log_message=said, outages=self._services.outages)
            )
            group.create_task(
                periodic(self.run_once, every=EVERY, stop=stop, log_message=said, outages=self._services.outages)
            )

    async def probe(self) -> None:
        await self._asked(self._probe())

    async def run_once(self) -> None:
        await asyncio.gather(*(self._check_provider(name, provider) for name, provider in self._providers.items()))

    async def _check_provider(self, name: str, provider: Provider) -> None:
        now = self._clock()
        if now >= self._check_at.get(name, 0):
            self._check_at[name] = now + AGAIN  # whatever becomes of it, the host is not asked in every round
            if await self._asked(self._check(name, provider)):
                self._check_at[name] = now + CHECK_EVERY
        if now >= self._balance_at.get(name, 0):
            self._balance_at[name] = now + BALANCE_EVERY
            await self._asked(self._read_balance(name, provider))

    async def _asked(self, work: Awaitable[None]) -> bool:
        """Whether the host gave its answers; where it did not, nothing is known, and nothing changes."""
        try:
            await work
        except ProviderError as exc:
            self._services.outages.seen(exc)
            log.info("A host could not be looked over: %s", exc, extra={"event": "unavailable"})
            return False
        return True

    # --- models

    async def _check(self, name: str, provider: Provider) -> None:
        """Ask for each configured route, one after the other."""
        unanswered: ProviderError | None = None
        for route in self._services.catalog.routes_at(name):
            try:
                await provider.describe(route)
            except ModelGone:
                await self._services.availability.mark_route_gone(name, route)
            except ProviderUnavailable as exc:  # perhaps of this route only
                unanswered = exc
            else:
                await self._services.availability.mark_route_back(name, route)
        if unanswered is not None:
            raise unanswered

    # --- balances

    def balances(self) -> Mapping[str, int]:
        """Micro-dollars by provider, where they are known."""
        since = self._clock() - STALE
        return {name: each.micro_usd for name, each in self._balances.items() if each.asked_at >= since}

    async def _read_balance(self, name: str, provider: Provider) -> None:
        left = await provider.balance()
        if left is None:
            self._balances.pop(name, None)
            return
        self._balances[name] = Balance(left, self._clock())
        if self._low is not None:
            await self._judge(name, left, low=left < self._low)

    async def _judge(self, name: str, left: int, *, low: bool) -> None:
        """Notify the operator once; again only when it has been enough in between."""
        notes = self._services.notes
        async with self._noting:
            told = set(json.loads(await notes.get(LOW) or "[]"))
            if low == (name in told):
                return
            await notes.set(LOW, json.dumps(sorted(told ^ {name})))
        if low:
            provider = self._services.availability.name_of(name)
            await self._services.notify("operator.low_balance", {"provider": provider, "left_micro_usd": left})
