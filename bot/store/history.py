"""A member's spending by day, read from the daily totals."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from bot.core.quota import Amount, Scope
from bot.store.database import Database, Tx

MAX_DAYS = 366  # days at a time


class History:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def days_of(self, server: int, user: int, *, first: date, last: date) -> Mapping[date, Amount]:
        """What *user* spent in a server on each day from *first* to *last*; days without spending are left out."""

        async def unit(tx: Tx) -> Mapping[date, Amount]:
            return await days_of(tx, server, user, first=first, last=last)

        return await self._database.read(unit)

    async def last_days(self, server: int, user: int, *, today: date, days: int) -> Sequence[tuple[date, Amount]]:
        """What *user* spent on each of the *days* days up to and including *today*, in order."""
        each_day = [today - timedelta(days=back) for back in range(days - 1, -1, -1)]
        spent = await self.days_of(server, user, first=each_day[0], last=today)
        return [(day, spent.get(day, Amount())) for day in each_day]


async def days_of(tx: Tx, server: int, user: int, *, first: date, last: date) -> Mapping[date, Amount]:
    days = [first + timedelta(days=n) for n in range(min(MAX_DAYS, (last - first).days + 1))]
    placeholders = ", ".join(f"${n}" for n in range(4, 4 + len(days)))
    rows = await tx.fetch(  # by the full keys: in the index, a range of days has the rows of all members
        f"""
        SELECT bucket, spent_images, spent_micro_usd FROM totals
        WHERE scope = $1 AND guild = $2 AND subject = $3 AND bucket IN ({placeholders})
          AND (spent_images <> 0 OR spent_micro_usd <> 0)
        """,  # noqa: S608 - parameter numbers
        Scope.USER, server, user, *(f"day:{each.isoformat()}" for each in days),
    )  # fmt: skip
    return {
        date.fromisoformat(row["bucket"].removeprefix("day:")): Amount(row["spent_images"], row["spent_micro_usd"])
        for row in rows
    }
