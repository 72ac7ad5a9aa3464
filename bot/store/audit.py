"""Compares the totals with the rows they are made of, and the members' book with the hosts'."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.core.quota import Scope
from bot.store import totals
from bot.store.database import Database, Row, Tx
from bot.store.totals import COLUMNS


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A total that is not the sum of its rows; *off* says by how much, where it is."""

    scope: Scope
    server: int
    bucket: str
    subject: int
    off: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LedgerSummary:
    """Both books, summed up in micro-dollars. *unreported* counts jobs paid for whose host never said a price."""

    month: str
    jobs: int
    images: int
    settled: int  # what members paid
    held: int  # for unfinished jobs
    known: int  # what hosts said they billed
    assumed: int  # what they may have billed
    unreported: int


class Audit:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def mismatches(self) -> Sequence[Mismatch]:
        """Every total that differs from its rows. A long look: nobody waits for it."""
        sums = ", ".join(f"CAST(sum({each}) AS BIGINT) AS {each}" for each in COLUMNS)
        off = " OR ".join(f"sum({each}) <> 0" for each in COLUMNS)
        sql = f"""
            SELECT scope, guild, bucket, subject, {sums} FROM (
                SELECT scope, guild, bucket, subject, {", ".join(COLUMNS)} FROM totals
                UNION ALL
                SELECT scope, guild, bucket, subject, {", ".join(f"-{each}" for each in COLUMNS)} FROM rebuilt
            ) both_of_them GROUP BY scope, guild, bucket, subject HAVING {off}
            """  # noqa: S608 - names of this program's own columns

        async def unit(tx: Tx) -> Sequence[Mismatch]:
            return [_difference(row) for row in await tx.fetch(sql)]

        return await self._database.scan(unit)

    async def repair(self, found: Mismatch) -> None:
        """Make a total the sum of its rows again, while nobody can count in it."""

        async def unit(tx: Tx) -> None:
            account = (found.scope, found.server, found.subject)
            await totals.count_one(tx, account, "total")  # whoever counts takes this row first
            row = await tx.one(
                f"SELECT {', '.join(COLUMNS)} FROM rebuilt "  # noqa: S608 - as above
                "WHERE scope = $1 AND guild = $2 AND bucket = $3 AND subject = $4",
                found.scope, found.server, found.bucket, found.subject,
            )  # fmt: skip
            await totals.count_one(tx, account, found.bucket)
            await tx.run(
                f"UPDATE totals SET {', '.join(f'{each} = ${n}' for n, each in enumerate(COLUMNS, start=5))} "  # noqa: S608
                "WHERE scope = $1 AND guild = $2 AND bucket = $3 AND subject = $4",
                found.scope, found.server, found.bucket, found.subject,
                *(row[each] if row else 0 for each in COLUMNS),
            )  # fmt: skip

        await self._database.write(unit)

    async def old_reservations(self, *, before: int) -> Sequence[str]:
        """Jobs whose reservation has been open since before *before*."""

        async def unit(tx: Tx) -> Sequence[str]:
            rows = await tx.fetch(
                "SELECT id FROM jobs WHERE ended_at IS NULL AND created_at < $1 ORDER BY created_at LIMIT 100", before
            )
            return [row["id"] for row in rows]

        return await self._database.read(unit)

    async def summaries(self) -> Sequence[LedgerSummary]:
        """The two books side by side, by the month in which the pictures were asked for; newest first."""

        async def unit(tx: Tx) -> Sequence[LedgerSummary]:
            return [LedgerSummary(**dict(row)) for row in await tx.fetch(_BOOKS)]

        return await self._database.scan(unit)


# By month of the reservation, so that both books speak of the same jobs.
_BOOKS = """
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


def _difference(row: Row) -> Mismatch:
    off = {each: row[each] for each in COLUMNS if row[each]}
    return Mismatch(Scope(row["scope"]), row["guild"], row["bucket"], row["subject"], off)
