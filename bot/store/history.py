"""What a member has spent on each day, from the totals that are kept of every day; nothing is ever summed up."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from bot.core.quota import Amount, Scope
from bot.store.database import Database, Tx

LONGEST = 366  # days at a time


class History:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def days_of(self, server: int, user: int, *, first: date, last: date) -> Mapping[date, Amount]:
        """What *user* has spent in a server on the days from *first* to *last*; a day without is not in it."""

        async def unit(tx: Tx) -> Mapping[date, Amount]:
            return await days_of(tx, server, user, first=first, last=last)

        return await self._database.read(unit)

    async def last_days(self, server: int, user: int, *, today: date, days: int) -> Sequence[tuple[date, Amount]]:
        """The same for each of the *days* days that end with *today*, in order."""
        each_day = [today - timedelta(days=back) for back in range(days - 1, -1, -1)]
        spent = await self.days_of(server, user, first=each_day[0], last=today)
        return [(day, spent.get(day, Amount())) for day in each_day]


async def days_of(tx: Tx, server: int, user: int, *, first: date, last: date) -> Mapping[date, Amount]:
    days = [first + timedelta(days=n) for n in range(min(LONGEST, (last - first).days + 1))]
    named = ", ".join(f"${n}" for n in range(4, 4 + len(days)))
    rows = await tx.fetch(  # each day by its whole key: a range of days would read those of every member
        f"""
        SELECT bucket, spent_images, spent_micro_usd FROM totals
        WHERE scope = $1 AND guild = $2 AND subject = $3 AND bucket IN ({named})
          AND (spent_images <> 0 OR spent_micro_usd <> 0)
        """,  # noqa: S608 - numbers of parameters
        Scope.USER, server, user, *(f"day:{each.isoformat()}" for each in days),
    )  # fmt: skip
    return {
        date.fromisoformat(row["bucket"].removeprefix("day:")): Amount(row["spent_images"], row["spent_micro_usd"])
        for row in rows
    }
