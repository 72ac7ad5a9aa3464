"""Figures for the metrics of jobs and money, from one snapshot, without reading whole tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.core.jobs import HOUR, WATCH_LIMIT, Place, State
from bot.core.quota import IN_UTC, NO_SERVER, Amount, Limits, Scope, Unit
from bot.core.windows import Window
from bot.store import ledger, totals
from bot.store.database import Database, Tx


@dataclass(frozen=True, slots=True)
class Statistics:
    """The month is in UTC for costs and the cap, and each server's own for what was settled."""

    unfinished: Mapping[State, int]
    ended: Mapping[State, int]  # in the last hour
    reserved_jobs: int
    reserved: Amount
    settled: Amount  # charged to members this month
    cost_known: int  # micro-dollars that providers reported this month
    cost_assumed: int  # micro-dollars that providers may have billed this month
    cap: int | None  # the limit on this month's costs, in micro-dollars


async def collect(database: Database, limits: Limits, *, now: int) -> Statistics:
    async def unit(tx: Tx) -> Statistics:
        month = IN_UTC.moment(now).buckets[Window.MONTH]
        account = ((Scope.HOST, NO_SERVER, totals.HOST),)
        host = await totals.read(tx, account, IN_UTC.moment(now), at=now)
        ever, spent = host.get((Scope.HOST, "total")), host.get((Scope.HOST, month))
        assumed = await _assumed(tx, now)
        return Statistics(
            unfinished=await _states(tx, "ended_at IS NULL"),
            ended=await _states(tx, "ended_at >= $1", now - HOUR),
            reserved_jobs=ever.jobs if ever else 0,
            reserved=ever.reserved if ever else Amount(),
            settled=await _settled(tx, month),
            cost_known=(spent.spent.micro_usd if spent else 0) - assumed,
            cost_assumed=assumed,
            cap=await _cap(tx, limits),
        )

    return await database.read(unit)


async def _states(tx: Tx, which: str, *args: object) -> Mapping[State, int]:
    rows = await tx.fetch(f"SELECT state, count(*) AS n FROM jobs WHERE {which} GROUP BY state", *args)  # noqa: S608
    return {State(row["state"]): row["n"] for row in rows}


async def _settled(tx: Tx, month: str) -> Amount:
    """The sum of one row of each server. Servers are found by skipping along the index, not by reading all rows."""
    row = await tx.one(
        """
        WITH RECURSIVE servers (guild) AS (
            SELECT min(guild) FROM totals WHERE scope = 'guild'
            UNION ALL
            SELECT (SELECT min(totals.guild) FROM totals WHERE scope = 'guild' AND totals.guild > servers.guild)
            FROM servers WHERE servers.guild IS NOT NULL
        )
        SELECT CAST(coalesce(sum(held.spent_images), 0) AS BIGINT) AS images,
               CAST(coalesce(sum(held.spent_micro_usd), 0) AS BIGINT) AS micro_usd
        FROM servers CROSS JOIN totals held
        WHERE held.scope = 'guild' AND held.guild = servers.guild AND held.bucket = $1 AND held.subject = 0
        """,
        month,
    )
    assert row is not None
    return Amount(row["images"], row["micro_usd"])


async def _assumed(tx: Tx, now: int) -> int:
    """Assumed costs of this month, read by job: they are recorded when a job ends, or at most `WATCH_LIMIT` later."""
    first = datetime.fromtimestamp(now / 1000, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    begins = int(first.timestamp() * 1000)
    row = await tx.one(
        """
        SELECT CAST(coalesce(sum(cost.micro_usd), 0) AS BIGINT) AS micro_usd
        FROM jobs CROSS JOIN host_cost cost
        WHERE jobs.ended_at >= $1 AND cost.job = jobs.id AND cost.basis = 'assumed' AND cost.at >= $2
        """,
        begins - WATCH_LIMIT,
        begins,
    )
    assert row is not None
    return int(row["micro_usd"])


async def _cap(tx: Tx, limits: Limits) -> int | None:
    no_place = Place(user_id=0, channel_id=0)  # limits of the scope `host` are the same everywhere
    for each in await ledger.applying(tx, no_place, limits=limits):
        if (each.scope, each.unit, each.window) == (Scope.HOST, Unit.MICRO_USD, Window.MONTH):
            return each.amount
    return None
