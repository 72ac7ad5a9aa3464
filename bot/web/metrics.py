"""The page `/metrics`: counters, and gauges read from the ledger, the providers and the last audit."""

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

CACHE_TIME = 10 * SECOND  # milliseconds for which the statistics from the database are reused
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
        """*audit* returns the findings of the last audit by kind; *balances* known micro-dollars by provider.

        *mode* returns the circuit breaker's mode of a provider.
        """
        self._metrics = metrics
        self._services = services
        self._providers = tuple(providers)
        self._audit = audit
        self._balances = balances
        self._mode = mode
        self._lock = asyncio.Lock()
        self._read_at: int | None = None
        self._statistics: Reading = {}

    async def text(self) -> bytes:
        """Return the page; without the statistics while the database is unreachable."""
        async with self._lock:
            now = self._services.clock()
            if self._read_at is None or now - self._read_at >= CACHE_TIME:
                self._statistics, self._read_at = await self._read_statistics(now), now
        current: Reading = {
            names.PROVIDER_OUTAGE.name: self._outages(),
            names.BREAKER.name: self._breakers(),
            names.BALANCE.name: {(name,): _dollars(left) for name, left in self._balances().items()},
            names.MODELS_GONE.name: self._models_gone(),
            names.AUDIT.name: self._audit_findings(),
        }
        return self._metrics.text({**self._statistics, **current})

    async def _read_statistics(self, now: int) -> Reading:
        try:
            async with asyncio.timeout(TIMEOUT):
                return _gauges_from(
                    await statistics.collect(self._services.store.database, self._services.limits, now=now)
                )
        except DATABASE_ERRORS as exc:  # TimeoutError included
            if self._services.outages.seen(exc) is None:
                extra = {"event": "store_trouble"}
                log.warning("The statistics for /metrics could not be read", exc_info=True, extra=extra)
            return {}

    def _outages(self) -> Values:
        outages = self._services.availability.outages
        return {(name, kind): float(outages.get(name) == kind) for name in self._providers for kind in KINDS}

    def _breakers(self) -> Values:
        return {(name, mode): float(self._mode(name) is mode) for name in self._providers for mode in Mode}

    def _models_gone(self) -> Values:
        gone = [provider for provider, _ in self._services.availability.gone]
        return {(name,): gone.count(name) for name in self._providers}

    def _audit_findings(self) -> Values:
        return {(kind,): count for kind, count in self._audit().items()}


def _gauges_from(values: Statistics) -> Reading:
    unlabelled: dict[str, float] = {
        names.RESERVED_JOBS.name: values.reserved_jobs,
        names.RESERVED_IMAGES.name: values.reserved.images,
        names.RESERVED_DOLLARS.name: _dollars(values.reserved.micro_usd),
        names.SETTLED_IMAGES.name: values.settled.images,
        names.SETTLED_DOLLARS.name: _dollars(values.settled.micro_usd),
    }
    if values.cap is not None:
        unlabelled[names.HOST_CAP.name] = _dollars(values.cap)
    return {
        names.JOBS.name: {(each,): values.unfinished.get(each, 0) for each in UNFINISHED},
        names.ENDED.name: {(each,): values.ended.get(each, 0) for each in FINAL},
        names.HOST_COST.name: {("known",): _dollars(values.cost_known), ("assumed",): _dollars(values.cost_assumed)},
        **{name: {(): value} for name, value in unlabelled.items()},
    }


def _dollars(micro_usd: int) -> float:
    return micro_usd / 1_000_000
