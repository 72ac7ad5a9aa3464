"""Watches over the books: tells of limits that come near their end, and alarms when rows and totals disagree."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from bot.core.jobs import HOUR
from bot.core.quota import Scope
from bot.jobs.build import Services
from bot.maintenance.periodic import periodic
from bot.store.alerts import Alerts, PendingAlert
from bot.store.audit import Audit
from bot.store.housekeeping import Housekeeping
from bot.store.store import Store

log = logging.getLogger(__name__)

EVERY = 20.0  # seconds
STALE = 24 * HOUR  # an alert that could not be posted for so long is news to nobody
OLD = 24 * HOUR  # no job lives that long, unless the program was away
OPERATORS = frozenset({Scope.CAP, Scope.HOST, Scope.DIRECT})  # whose alerts are for the operator alone

Post = Callable[
    [int | None, PendingAlert], Awaitable[bool]
]  # into a channel, or the operator's own; whether it is there


class LedgerAudit:
    def __init__(self, store: Store, services: Services, *, post: Post) -> None:
        self._services = services
        self._store = store
        self._alerts = Alerts(store.database)
        self._audit = Audit(store.database)
        self._rows = Housekeeping(store.database)
        self._post = post
        self._logged: set[str] = set()
        self._audited_at = 0
        self.found: Mapping[str, int] = {"outlived": 0, "old": 0, "totals": 0}  # by the last audit

    async def run(self, stop: asyncio.Event) -> None:
        await periodic(
            self.run_once,
            every=EVERY,
            stop=stop,
            log_message="The books could not be looked at",
            outages=self._services.outages,
        )

    async def run_once(self) -> None:
        await self._tell_alerts()
        now = self._services.clock()
        if now - self._audited_at >= HOUR:
            await self.audit()
            self._audited_at = now

    # --- alerts

    async def _tell_alerts(self) -> None:
        now = self._services.clock()
        for alert in await self._alerts.pending(since=now - STALE):
            if await self._told(alert):
                await self._alerts.mark_notified(alert.id, now=now)

    async def _told(self, alert: PendingAlert) -> bool:
        body = alert.body
        if alert.id not in self._logged:
            self._logged.add(alert.id)
            extra = {"event": "quota_alert", "guild_id": alert.server, "scope": body["scope"]}
            log.warning("A limit has come to %s per cent", body["percent"], extra=extra)
        if body["scope"] in OPERATORS:
            return await self._post(None, alert)
        channel = (await self._store.server_settings(alert.server)).alerts
        return channel is None or await self._post(channel, alert)

    # --- the audit

    async def audit(self) -> None:
        """End what outlived its job; compare totals and rows. Whatever is found is a defect, so it is an alarm."""
        now = self._services.clock()
        for job_id in (outlived := await self._rows.end_orphaned_reservations(now=now)):
            log.error("A reservation had outlived its job and was ended", extra={"event": "audit", "job_id": job_id})
        old, differences = await self._audit.old_reservations(before=now - OLD), await self._audit.mismatches()
        for job_id in old:
            log.error("A reservation has been open for a day", extra={"event": "audit", "job_id": job_id})
        if old:
            await self._services.notify("operator.old_reservations", {"count": len(old)})
        for each in differences:
            extra = {"event": "audit", "scope": each.scope, "guild_id": each.server, "bucket": each.bucket}
            log.error("A total is not the sum of its rows: %s", dict(each.off), extra=extra)
        if differences:
            await self._services.notify("operator.totals_differ", {"count": len(differences)})
        self.found = {"outlived": len(outlived), "old": len(old), "totals": len(differences)}
