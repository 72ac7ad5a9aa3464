"""A member's spending by day."""

from datetime import date, timedelta

from bot.core.jobs import State
from bot.core.quota import Amount
from bot.store.history import History
from bot.store.store import Store
from tests.store.ledger_model import DAY, NOON, a_job, accept, opened, walk, way_to

TODAY = date(2026, 11, 20)


async def spend(store: Store, job_id: str, *, days_ago: int, count: int = 1, user: int = 1, guild: int = 5) -> None:
    now = NOON - days_ago * DAY
    accepted = await accept(store, a_job(job_id, user=user, guild=guild, now=now, count=count))
    collecting = await walk(store, accepted, way_to(State.COLLECTING), now=now)
    assert await store.move(collecting, State.SUCCEEDED, now=now, images=count) is not None


async def test_each_day_has_what_its_jobs_cost(url: str) -> None:
    async with opened(url) as store:
        await spend(store, "a", days_ago=0, count=2)
        await spend(store, "b", days_ago=0)
        await spend(store, "c", days_ago=29)
        await spend(store, "d", days_ago=30)
        await accept(store, a_job("held"))

        days = await History(store.database).last_days(5, 1, today=TODAY, days=30)

    assert [day for day, _ in days] == [TODAY - timedelta(days=back) for back in range(29, -1, -1)]
    assert days[-1][1] == Amount(3, 240_000)
    assert days[0][1] == Amount(1, 80_000)
    assert sum(spent.images for _, spent in days) == 4


async def test_days_of_other_members_and_servers_are_not_included(url: str) -> None:
    async with opened(url) as store:
        await spend(store, "a", days_ago=1, user=2)
        await spend(store, "b", days_ago=1, guild=6)

        found = await History(store.database).days_of(5, 1, first=TODAY - timedelta(days=30), last=TODAY)

    assert found == {}
