"""Checks the totals against the rows that they sum up, and compares the members' ledger with the providers' costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.core.quota import Scope
from bot.store import totals
from bot.store.database import Database, Row, Tx
from bot.store.totals import COLUMNS


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A total that is not the sum of its rows; *off* has the difference for each column that differs."""

    scope: Scope
    server: int
    bucket: str
    subject: int
    off: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LedgerSummary:
    """One month of the members' ledger and of the providers' costs. Money in micro-dollars."""

    month: str  # 2026-11
    jobs: int
    images: int
    settled: int  # charged to members
    held: int  # reserved for unfinished jobs
    known: int  # reported by providers
    assumed: int  # possibly billed by providers
    unreported: int  # settled jobs whose provider reported no price


class Audit:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def mismatches(self) -> Sequence[Mismatch]:
        """Every total that differs from the sum of its rows. Reads both tables as a scan."""
        sums = ", ".join(f"CAST(sum({each}) AS BIGINT) AS {each}" for each in COLUMNS)
        off = " OR ".join(f"sum({each}) <> 0" for each in COLUMNS)
        sql = f"""
            SELECT scope, guild, bucket, subject, {sums} FROM (
                SELECT scope, guild, bucket, CASE WHEN scope = 'host' THEN 0 ELSE subject END AS subject,
                    {", ".join(COLUMNS)} FROM totals
                UNION ALL
                SELECT scope, guild, bucket, subject, {", ".join(f"-{each}" for each in COLUMNS)} FROM rebuilt
            ) difference GROUP BY scope, guild, bucket, subject HAVING {off}
            """  # noqa: S608 - column names from COLUMNS

        async def unit(tx: Tx) -> Sequence[Mismatch]:
            return [_mismatch(row) for row in await tx.fetch(sql)]

        return await self._database.scan(unit)

    async def repair(self, mismatch: Mismatch) -> None:
        """Set a total to the sum of its rows, while its account is locked."""

        async def unit(tx: Tx) -> None:
            account = (mismatch.scope, mismatch.server, mismatch.subject)
            await totals.count_one(
                tx, account, "total"
            )  # locks the account: every unit that counts takes this row first
            if mismatch.scope is Scope.HOST:
                await totals.lock_shards(tx)
            row = await tx.one(
                f"SELECT {', '.join(COLUMNS)} FROM rebuilt "  # noqa: S608 - as above
                "WHERE scope = $1 AND guild = $2 AND bucket = $3 AND subject = $4",
                mismatch.scope, mismatch.server, mismatch.bucket, mismatch.subject,
            )  # fmt: skip
            await totals.count_one(tx, account, mismatch.bucket)
            if mismatch.scope is Scope.HOST:  # the first shard has the sum, and the others nothing
                await tx.run(
                    f"UPDATE totals SET {', '.join(f'{each} = 0' for each in COLUMNS)} "  # noqa: S608 - as above
                    "WHERE scope = $1 AND guild = $2 AND bucket = $3",
                    *account[:2], mismatch.bucket,
                )  # fmt: skip
            await tx.run(
                f"UPDATE totals SET {', '.join(f'{each} = ${n}' for n, each in enumerate(COLUMNS, start=5))} "  # noqa: S608
                "WHERE scope = $1 AND guild = $2 AND bucket = $3 AND subject = $4",
                mismatch.scope, mismatch.server, mismatch.bucket, mismatch.subject,
                *(row[each] if row else 0 for each in COLUMNS),
            )  # fmt: skip

        await self._database.write(unit)

    async def old_reservations(self, *, before: int) -> Sequence[str]:
        """At most 100 ids of unfinished jobs created before *before* (UTC milliseconds), oldest first."""

        async def unit(tx: Tx) -> Sequence[str]:
            rows = await tx.fetch(
                "SELECT id FROM jobs WHERE ended_at IS NULL AND created_at < $1 ORDER BY created_at LIMIT 100", before
            )
            return [row["id"] for row in rows]

        return await self._database.read(unit)

    async def summaries(self) -> Sequence[LedgerSummary]:
        """One summary for each month in which jobs were accepted, newest first."""

        async def unit(tx: Tx) -> Sequence[LedgerSummary]:
            return [LedgerSummary(**dict(row)) for row in await tx.fetch(_SUMMARIES)]

        return await self._database.scan(unit)


# By month of the reservation, so that both sides cover the same jobs.
_SUMMARIES = """
    SELECT substr(held.day, 1, 7) AS month,
           CAST(count(*) AS BIGINT) AS jobs,
           CAST(coalesce(sum(CASE WHEN ended.kind = 'settle' THEN ended.images END), 0) AS BIGINT) AS images,
           CAST(coalesce(sum(CASE WHEN ended.kind = 'settle' THEN ended.micro_usd END), 0) AS BIGINT) AS settled,
           CAST(coalesce(sum(CASE WHEN ended.kind IS NULL THEN held.micro_usd END), 0) AS BIGINT) AS held,
           CAST(coalesce(sum(CASE WHEN cost.basis = 'known' THEN cost.micro_usd END), 0) AS BIGINT) AS known,
           CAST(coalesce(sum(CASE WHEN cost.basis = 'assumed' THEN cost.micro_usd END), 0) AS BIGINT) AS assumed,
           CAST(count(CASE WHEN ended.kind = 'settle' AND cost.job IS NULL THEN 1 END) AS BIGINT) AS unreported
    FROM ledger held
    LEFT JOIN ledger ended ON ended.job = held.job AND ended.kind IN ('settle', 'release')
    LEFT JOIN host_cost cost ON cost.job = held.job
    WHERE held.kind = 'reserve'
    GROUP BY substr(held.day, 1, 7) ORDER BY month DESC
"""


def _mismatch(row: Row) -> Mismatch:
    off = {each: row[each] for each in COLUMNS if row[each]}
    return Mismatch(Scope(row["scope"]), row["guild"], row["bucket"], row["subject"], off)
