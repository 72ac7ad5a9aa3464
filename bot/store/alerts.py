"""Rows of limit warnings. Each is written with the reservation that caused it, and sent once, later."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.core.jobs import Place
from bot.core.quota import NO_SERVER, Alert, Scope
from bot.store.database import Database, Tx


@dataclass(frozen=True, slots=True)
class PendingAlert:
    """An alert that has not been sent. *body* has scope, window, unit, limit, used, percent, channel, resets_at."""

    id: str
    server: int  # 0: of direct messages and user installs, or of the scope `host`
    body: Mapping[str, Any]


async def add(tx: Tx, place: Place, alert: Alert, *, now: int) -> None:
    """Insert an alert, once for each limit, amount, bucket and percentage. Part of the unit that reserves."""
    allowance = alert.allowance
    server = NO_SERVER if allowance.scope is Scope.HOST else place.server
    channel = place.counted_channel if allowance.scope is Scope.CHANNEL else 0
    body = {
        "scope": allowance.scope,
        "window": allowance.window,
        "unit": allowance.unit,
        "limit": allowance.limit,
        "used": allowance.used,
        "percent": alert.percent,
        "channel": channel,
        "resets_at": allowance.resets_at,
    }
    await tx.run(
        "INSERT INTO alerts (id, guild, at, body) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING",
        f"{server}:{channel}:{allowance.name}:{allowance.limit}:{alert.bucket}:{alert.percent}",
        server,
        now,
        json.dumps(body),
    )


class Alerts:
    """Reads the alerts to send, and marks those that were sent."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pending(self, *, since: int, limit: int = 20) -> Sequence[PendingAlert]:
        """Alerts of *since* (UTC milliseconds) and later that have not been sent, oldest first."""

        async def unit(tx: Tx) -> Sequence[PendingAlert]:
            rows = await tx.fetch(
                "SELECT id, guild, body FROM alerts WHERE told_at IS NULL AND at >= $1 ORDER BY at LIMIT $2",
                since,
                limit,
            )
            return [PendingAlert(row["id"], row["guild"], json.loads(row["body"])) for row in rows]

        return await self._database.read(unit)

    async def mark_notified(self, alert_id: str, *, now: int) -> None:
        async def unit(tx: Tx) -> None:
            await tx.run("UPDATE alerts SET told_at = $2 WHERE id = $1", alert_id, now)

        await self._database.write(unit)
