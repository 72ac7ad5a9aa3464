"""Requests that are accepted together on PostgreSQL: limits stay exact, and nobody pays for a neighbour's error."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, TypeVar, cast

import pytest

from bot.core.errors import UserError
from bot.core.quota import Block, Grant, Holder, Limits, Rule, Unit
from bot.store.database import Database, Row, Tx
from bot.store.database import Unit as Work
from bot.store.moderation import Moderation
from bot.store.quotas import By, Quotas
from bot.store.store import AlreadySeen, Store
from bot.store.strikes import StrikeReason
from tests.jobs.commit_proxy import line_to
from tests.store.ledger_model import FREE, NOON, a_job, accept, faults, opened, rows

T = TypeVar("T")


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres_url


async def outcome(asked: Awaitable[object]) -> str:
    try:
        await asked
    except UserError as refusal:
        return refusal.key
    except AlreadySeen:
        return "seen"
    return "accepted"


async def outcomes(asked: Sequence[Awaitable[object]]) -> Counter[str]:
    return Counter(await asyncio.gather(*map(outcome, asked)))


# --- limits


@pytest.mark.parametrize(
    ("limit", "users"),
    [
        ("user_in_flight", 1),
        ("user_day_images", 1),
        ("guild_in_flight", 7),
        ("host_in_flight", 200),
        ("host_in_flight", 7),
    ],
)
async def test_of_many_callers_in_two_processes_exactly_the_limit_is_accepted(url: str, limit: str, users: int) -> None:
    limits = replace(FREE, **{limit: 10})
    async with opened(url) as one, opened(url) as other:
        asked = [accept((one, other)[n % 2], a_job(f"{n}", user=n % users), limits=limits) for n in range(200)]
        assert await outcomes(asked) == {"accepted": 10, f"quota.{limit}": 190}
        assert await faults(one) == []


async def test_the_hosts_limit_is_exact_where_it_is_far_larger_than_what_is_added_at_once(url: str) -> None:
    """The limit is first compared with what other shards may be adding, and then with their sum."""
    limits = replace(FREE, host_in_flight=1000)
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(url)) for _ in range(3)]
        asked = [accept(stores[n % 3], a_job(f"{n}", user=n, guild=n % 20 + 1), limits=limits) for n in range(1100)]
        assert await outcomes(asked) == {"accepted": 1000, "quota.host_in_flight": 100}
        assert await faults(stores[0]) == []
        shards = await rows(stores[0], "SELECT jobs FROM totals WHERE scope = 'host' AND bucket = 'total' AND jobs > 0")
        assert len(shards) > 1


async def test_limits_are_exact_where_bonuses_pay_for_some(url: str) -> None:
    """What a bonus pays is accepted in a transaction of its own, beside the others."""
    limits = replace(FREE, user_day_images=1, host_in_flight=30)
    async with opened(url) as one, opened(url) as other:
        for member in range(5):
            await Quotas(one.database).grant(By(f"g{member}", 5, 9, NOON), member, Grant(0, Unit.IMAGES, 3))
        asked = [accept((one, other)[n % 2], a_job(f"{n}", user=n % 40), limits=limits) for n in range(160)]
        found = await outcomes(asked)
        assert found["accepted"] == 30
        assert await faults(one) == []
        (drawn,) = await rows(one, "SELECT CAST(coalesce(sum(taken), 0) AS BIGINT) AS n FROM draws")
        assert 0 <= drawn["n"] <= 15


async def test_every_bonus_is_used_up_and_no_more(url: str) -> None:
    limits = replace(FREE, user_day_images=2)
    async with opened(url) as one, opened(url) as other:
        await Quotas(one.database).grant(By("g", 5, 9, NOON), 1, Grant(0, Unit.IMAGES, 3))
        asked = [accept((one, other)[n % 2], a_job(f"{n}"), limits=limits) for n in range(40)]
        assert await outcomes(asked) == {"accepted": 5, "quota.user_day_images": 35}
        assert await faults(one) == []


async def test_places_that_are_released_are_given_to_others(url: str) -> None:
    limits = replace(FREE, host_in_flight=10)
    async with opened(url) as one, opened(url) as other:
        for turn in range(5):
            asked = [accept((one, other)[n % 2], a_job(f"{turn}-{n}"), limits=limits) for n in range(20)]
            assert await outcomes(asked) == {"accepted": 10, "quota.host_in_flight": 10}
            held = await rows(one, "SELECT id FROM jobs WHERE ended_at IS NULL")
            await asyncio.gather(*((one, other)[n % 2].withdraw(row["id"], now=NOON) for n, row in enumerate(held)))
        assert await faults(one) == []


# --- what decides


class Interrupted:
    """A database in which *meanwhile* happens after the first statement that decides requests."""

    def __init__(self, database: Database, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._database = database
        self._meanwhile: Callable[[], Awaitable[object]] | None = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def run_statements(self, unit: Work[T]) -> T:
        async def run(tx: Tx) -> T:
            return await unit(cast("Tx", _InterruptedTx(tx, self)))

        return await self._database.run_statements(run)

    async def interrupt(self) -> None:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            await meanwhile()


class _InterruptedTx:
    def __init__(self, tx: Tx, database: Interrupted) -> None:
        self._tx = tx
        self._database = database

    async def one(self, sql: str, *args: object) -> Row | None:
        row = await self._tx.one(sql, *args)
        await self._database.interrupt()
        return row


async def strike_three_times(store: Store) -> None:
    for n in range(3):
        await Moderation(store.database).add_strike(f"{n}", server=5, user=1, reason=StrikeReason.WORDS, now=NOON)


BY = By("b", 5, 9, NOON)
CHANGES: dict[str, Callable[[Store], Awaitable[object]]] = {
    "blocked.user": lambda on: Quotas(on.database).block(BY, Block(Holder.USER, 1)),
    "blocked.channel": lambda on: Quotas(on.database).block(BY, Block(Holder.CHANNEL, 6)),
    "quota.guild_in_flight": lambda on: Quotas(on.database).set_rule(BY, Rule(Holder.GUILD, 0, Unit.JOBS, None, 0)),
    "quota.user_in_flight": lambda on: accept(on, a_job("other")),
    "moderation.strikes": strike_three_times,
    "seen": lambda on: accept(on, a_job("other", user=2), interaction=77),
}


@pytest.mark.parametrize("expected", CHANGES)
async def test_a_change_between_the_decision_and_the_write_is_respected(url: str, expected: str) -> None:
    limits = replace(FREE, user_in_flight=1)
    async with opened(url) as other, opened(url) as plain:
        database = Interrupted(plain.database, lambda: CHANGES[expected](other))
        store = Store(cast("Database", database))
        assert await outcome(accept(store, a_job("a"), limits=limits, interaction=77)) == expected
        assert await store.job("a") is None
        assert await faults(plain) == []


# --- neighbours


async def test_a_repeated_interaction_is_accepted_once_also_within_one_statement(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        asked = [accept((one, other)[n % 2], a_job(f"{n}"), interaction=n // 10) for n in range(40)]
        assert await outcomes(asked) == {"accepted": 4, "seen": 36}
        assert await faults(one) == []


async def test_an_error_of_one_request_is_not_its_neighbours(url: str) -> None:
    async with opened(url) as store:
        await accept(store, a_job("there"))
        asked = (accept(store, a_job("there" if n == 5 else f"{n}"), interaction=n) for n in range(10))
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [n for n, each in enumerate(found) if isinstance(each, BaseException)] == [5]
        assert await faults(store) == []


async def test_a_cancelled_request_can_be_withdrawn_once_the_abandoned_have_ended(url: str) -> None:
    async with line_to(url) as line, opened(line.url) as store:
        asked = [asyncio.create_task(accept(store, a_job(f"{n}"))) for n in range(30)]
        await line.seen.wait()
        for each in asked[::2]:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await store.database.wait_for_abandoned()
        for n in range(0, 30, 2):
            await store.withdraw(f"{n}", now=NOON)
        unfinished = await rows(store, "SELECT id FROM jobs WHERE ended_at IS NULL")
        assert sorted(int(row["id"]) for row in unfinished) == list(range(1, 30, 2))
        assert await faults(store) == []


async def test_a_store_that_is_closed_accepts_nothing(url: str) -> None:
    async with opened(url) as store:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        await accept(store, a_job("late"))


# --- round trips


async def test_acceptance_takes_at_most_three_round_trips_however_many_wait(url: str) -> None:
    limits = Limits()
    async with line_to(url) as line, opened(line.url) as store:
        for n in range(4):  # prepares the statements
            await accept(store, a_job(f"{n}", user=n), limits=limits)
        for how_many in (1, 40):
            before = line.round_trips
            await asyncio.gather(
                *(
                    accept(store, a_job(f"{how_many}-{n}", user=n + 10, guild=n + 10), limits=limits)
                    for n in range(how_many)
                )
            )
            assert line.round_trips - before <= 3
        refusal = await outcome(
            accept(store, a_job("much", user=1, count=4), limits=replace(limits, user_day_images=2))
        )
        assert refusal == "quota.user_day_images"
        assert await faults(store) == []
