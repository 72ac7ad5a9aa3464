"""`/metrics`: what was counted, and what a look at the books, the hosts and the last audit says."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from bot.core.circuit_breaker import Mode
from bot.core.jobs import SECOND, State
from bot.jobs.build import Services
from bot.observability import metrics as names
from bot.observability.metrics import Metrics, Reading, Values
from bot.store import statistics
from bot.store.database import DATABASE_ERRORS
from bot.store.statistics import Statistics

log = logging.getLogger(__name__)

FRESH = 10 * SECOND  # a scraper that asks more often gets the same look at the books again
TIMEOUT = 2.0  # seconds
KINDS = ("credentials", "balance", "down")
UNFINISHED = tuple(each for each in State if not each.is_final)
FINAL = tuple(each for each in State if each.is_final)


class Page:
    def __init__(
        self,
        metrics: Metrics,
        services: Services,
        *,
        providers: Sequence[str],
        audit: Callable[[], Mapping[str, int]],
        balances: Callable[[], Mapping[str, int]],
        mode: Callable[[str], Mode],
    ) -> None:
        """*audit* gives what the last audit found, by kind; *balances* micro-dollars by provider, where known.

        *mode* says how it stands with a provider.
        """
        self._metrics = metrics
        self._services = services
        self._providers = tuple(providers)
        self._audit = audit
        self._balances = balances
        self._mode = mode
        self._looking = asyncio.Lock()
        self._looked_at: int | None = None
        self._books: Reading = {}

    async def text(self) -> bytes:
        """The page; without the books while the database does not answer."""
        async with self._looking:
            now = self._services.clock()
            if self._looked_at is None or now - self._looked_at >= FRESH:
                self._books, self._looked_at = await self._look(now), now
        now_so: Reading = {
            names.PROVIDER_OUTAGE.name: self._troubles(),
            names.BREAKER.name: self._breakers(),
            names.BALANCE.name: {(name,): _dollars(left) for name, left in self._balances().items()},
            names.MODELS_GONE.name: self._gone(),
            names.AUDIT.name: self._found(),
        }
        return self._metrics.text({**self._books, **now_so})

    async def _look(self, now: int) -> Reading:
        try:
            async with asyncio.timeout(TIMEOUT):
                return _reading(await statistics.collect(self._services.store.database, self._services.limits, now=now))
        except DATABASE_ERRORS as exc:  # running out of time is one of them
            if self._services.outages.seen(exc) is None:
                extra = {"event": "store_trouble"}
                log.warning("The books could not be read for /metrics", exc_info=True, extra=extra)
            return {}

    def _troubles(self) -> Values:
        now = self._services.availability.outages
        return {(name, kind): float(now.get(name) == kind) for name in self._providers for kind in KINDS}

    def _breakers(self) -> Values:
        return {(name, mode): float(self._mode(name) is mode) for name in self._providers for mode in Mode}

    def _gone(self) -> Values:
        gone = [provider for provider, _ in self._services.availability.gone]
        return {(name,): gone.count(name) for name in self._providers}

    def _found(self) -> Values:
        return {(kind,): count for kind, count in self._audit().items()}


def _reading(found: Statistics) -> Reading:
    one: dict[str, float] = {
        names.RESERVED_JOBS.name: found.reserved_jobs,
        names.RESERVED_IMAGES.name: found.reserved.images,
        names.RESERVED_DOLLARS.name: _dollars(found.reserved.micro_usd),
        names.SETTLED_IMAGES.name: found.settled.images,
        names.SETTLED_DOLLARS.name: _dollars(found.settled.micro_usd),
    }
    if found.cap is not None:
        one[names.HOST_CAP.name] = _dollars(found.cap)
    return {
        names.JOBS.name: {(each,): found.unfinished.get(each, 0) for each in UNFINISHED},
        names.ENDED.name: {(each,): found.ended.get(each, 0) for each in FINAL},
        names.HOST_COST.name: {("known",): _dollars(found.cost_known), ("assumed",): _dollars(found.cost_assumed)},
        **{name: {(): value} for name, value in one.items()},
    }


def _dollars(micro_usd: int) -> float:
    return micro_usd / 1_000_000
