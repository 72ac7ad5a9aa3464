"""Periodic provider checks: configured models that no longer exist, account balances, probes during outages."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bot.core.errors import ModelGone, ProviderError, ProviderUnavailable
from bot.core.jobs import HOUR, MINUTE
from bot.jobs.build import Services
from bot.jobs.changes import Topic
from bot.maintenance.periodic import periodic
from bot.providers.base import Provider

log = logging.getLogger(__name__)

EVERY = 20.0  # seconds
CHECK_EVERY = 24 * HOUR
BALANCE_EVERY = 15 * MINUTE
RETRY_DELAY = 10 * MINUTE  # after a failed check
BALANCE_LIFETIME = HOUR  # an older balance counts as unknown
BALANCES_NOTE = "balances"  # key of a note: what each account has, and when it was read
LOW_BALANCE_NOTE = "low_balance"  # key of a note: the providers whose low balance was reported to the operator

Probe = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Balance:
    micro_usd: int
    read_at: int


class ProviderChecks:
    def __init__(self, services: Services, *, providers: Mapping[str, Provider], low: int | None, probe: Probe) -> None:
        """*low*: micro-dollars below which the operator is notified, None: never. *probe*: asks providers in outage."""
        self._services = services
        self._clock = services.clock
        self._providers = providers
        self._low = low
        self._probe = probe
        self._balances: dict[str, Balance] = {}
        self._check_at: dict[str, int] = {}  # time of the next check, by provider
        self._balance_at: dict[str, int] = {}
        self._note_lock = asyncio.Lock()  # one note for all providers
        services.changes.on(Topic.BALANCES, self._take_balances)
        services.changes.on_reread(self.load)

    async def run(self, stop: asyncio.Event) -> None:
        """Run both loops: a provider that answers checks slowly must not delay the probes of another one."""
        message = "The provider checks failed"
        async with asyncio.TaskGroup() as group:
            group.create_task(
                periodic(self.probe, every=EVERY, stop=stop, log_message=message, outages=self._services.outages)
            )
            group.create_task(
                periodic(self.run_once, every=EVERY, stop=stop, log_message=message, outages=self._services.outages)
            )

    async def probe(self) -> None:
        await self._succeeded(self._probe())

    async def run_once(self) -> None:
        await asyncio.gather(*(self._check_provider(name, provider) for name, provider in self._providers.items()))

    async def _check_provider(self, name: str, provider: Provider) -> None:
        now = self._clock()
        if now >= self._check_at.get(name, 0):
            self._check_at[name] = now + RETRY_DELAY  # set first, so that a failing provider is not asked in every run
            if await self._succeeded(self._check(name, provider)):
                self._check_at[name] = now + CHECK_EVERY
        if now >= self._balance_at.get(name, 0):
            self._balance_at[name] = now + BALANCE_EVERY
            await self._succeeded(self._read_balance(name, provider))

    async def _succeeded(self, work: Awaitable[None]) -> bool:
        """Await *work* and return whether the provider answered; a `ProviderError` changes nothing."""
        try:
            await work
        except ProviderError as exc:
            self._services.outages.seen(exc)
            log.info("A provider could not be checked: %s", exc, extra={"event": "unavailable"})
            return False
        return True

    # --- models

    async def _check(self, name: str, provider: Provider) -> None:
        """Look up each configured route, one after the other. Raises the last `ProviderUnavailable`."""
        unanswered: ProviderError | None = None
        for route in self._services.catalog.routes_at(name):
            try:
                await provider.describe(route)
            except ModelGone:
                await self._services.availability.mark_route_gone(name, route)
            except ProviderUnavailable as exc:  # may concern this route only
                unanswered = exc
            else:
                await self._services.availability.mark_route_back(name, route)
        if unanswered is not None:
            raise unanswered

    # --- balances

    def balances(self) -> Mapping[str, int]:
        """Return the known balances in micro-dollars by provider, whichever process has read them."""
        since = self._clock() - BALANCE_LIFETIME
        return {name: each.micro_usd for name, each in self._balances.items() if each.read_at >= since}

    async def load(self) -> None:
        """Read the balances that the process with the checks has written."""
        self._take_balances(json.loads(await self._services.notes.get(BALANCES_NOTE) or "{}"))

    def _take_balances(self, written: Mapping[str, Any]) -> None:
        self._balances = {name: Balance(*each) for name, each in written.items()}

    async def _read_balance(self, name: str, provider: Provider) -> None:
        left = await provider.balance()
        if left is None:
            self._balances.pop(name, None)
        else:
            self._balances[name] = Balance(left, self._clock())
        written = {each: (balance.micro_usd, balance.read_at) for each, balance in self._balances.items()}
        await self._services.notes.set(BALANCES_NOTE, json.dumps(written))
        self._services.changes.send(Topic.BALANCES, written)
        if left is not None and self._low is not None:
            await self._report_low_balance(name, left, low=left < self._low)

    async def _report_low_balance(self, name: str, left: int, *, low: bool) -> None:
        """Notify the operator once; again only after the balance has recovered in between."""
        notes = self._services.notes
        async with self._note_lock:
            reported = set(json.loads(await notes.get(LOW_BALANCE_NOTE) or "[]"))
            if low == (name in reported):
                return
            await notes.set(LOW_BALANCE_NOTE, json.dumps(sorted(reported ^ {name})))
        if low:
            provider = self._services.availability.name_of(name)
            await self._services.notify("operator.low_balance", {"provider": provider, "left_micro_usd": left})
