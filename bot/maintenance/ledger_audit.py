"""Periodic ledger audit: posts quota alerts, and reports totals that differ from the sum of their rows."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from bot.core.jobs import HOUR
from bot.core.quota import Scope
from bot.jobs.build import Services
from bot.maintenance.periodic import periodic
from bot.store.alerts import Alerts, PendingAlert
from bot.store.housekeeping import Housekeeping
from bot.store.ledger_audit import Audit

log = logging.getLogger(__name__)

EVERY = 20.0  # seconds
ALERT_LIFETIME = 24 * HOUR  # an older alert that could not be posted is dropped
OLD = 24 * HOUR  # no job lives longer, unless the bot was stopped
OPERATOR_SCOPES = frozenset({Scope.CAP, Scope.HOST, Scope.DIRECT})  # their alerts go to the operator only

# Posts into a channel (None: the operator's own) and returns whether the alert is there.
Post = Callable[[int | None, PendingAlert], Awaitable[bool]]


class LedgerAudit:
    def __init__(self, services: Services, *, post: Post) -> None:
        self._services = services
        self._store = services.store
        self._alerts = Alerts(services.store.database)
        self._audit = Audit(services.store.database)
        self._rows = Housekeeping(services.store.database)
        self._post = post
        self._logged: set[str] = set()
        self._audited_at = 0
        self.found: Mapping[str, int] = {"outlived": 0, "old": 0, "totals": 0}  # by the last audit

    async def run(self, stop: asyncio.Event) -> None:
        await periodic(
            self.run_once,
            every=EVERY,
            stop=stop,
            log_message="The ledger audit failed",
            outages=self._services.outages,
        )

    async def run_once(self) -> None:
        await self._post_alerts()
        now = self._services.clock()
        if now - self._audited_at >= HOUR:
            await self.audit()
            self._audited_at = now

    # --- alerts

    async def _post_alerts(self) -> None:
        now = self._services.clock()
        for alert in await self._alerts.pending(since=now - ALERT_LIFETIME):
            if await self._notify(alert):
                await self._alerts.mark_notified(alert.id, now=now)

    async def _notify(self, alert: PendingAlert) -> bool:
        body = alert.body
        if alert.id not in self._logged:
            self._logged.add(alert.id)
            extra = {"event": "quota_alert", "guild_id": alert.server, "scope": body["scope"]}
            log.warning("A limit has reached %s %%", body["percent"], extra=extra)
        if body["scope"] in OPERATOR_SCOPES:
            return await self._post(None, alert)
        channel = (await self._store.server_settings(alert.server)).alerts
        return channel is None or await self._post(channel, alert)

    # --- the audit

    async def audit(self) -> None:
        """End reservations whose job has ended; compare totals with rows. Reports every finding: each is a defect."""
        now = self._services.clock()
        for job_id in (outlived := await self._rows.end_orphaned_reservations(now=now)):
            log.error(
                "A reservation was still open after its job had ended; it was ended",
                extra={"event": "audit", "job_id": job_id},
            )
        old, mismatches = await self._audit.old_reservations(before=now - OLD), await self._audit.mismatches()
        for job_id in old:
            log.error("A reservation has been open for a day", extra={"event": "audit", "job_id": job_id})
        if old:
            await self._services.notify("operator.old_reservations", {"count": len(old)})
        for each in mismatches:
            extra = {"event": "audit", "scope": each.scope, "guild_id": each.server, "bucket": each.bucket}
            log.error("A total is not the sum of its rows: %s", dict(each.off), extra=extra)
        if mismatches:
            await self._services.notify("operator.totals_differ", {"count": len(mismatches)})
        self.found = {"outlived": len(outlived), "old": len(old), "totals": len(mismatches)}
