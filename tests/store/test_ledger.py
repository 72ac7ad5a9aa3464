"""The ledger: a reservation ends once, in its own windows, and for at most its amount."""

import asyncio
import random
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import asyncpg
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from bot.core.errors import UserError
from bot.core.jobs import NEXT, Job, State
from bot.core.quota import Amount
from bot.core.windows import moment
from bot.store import ledger
from bot.store.database import Tx
from bot.store.housekeeping import Housekeeping
from bot.store.ledger import share
from bot.store.store import AlreadySeen, Store
from tests.store.ledger_model import (
    DAY,
    FREE,
    NOON,
    a_job,
    accept,
    execute,
    faults,
    opened,
    rebuilt,
    rows,
    seen,
    totals,
    walk,
    way_to,
)

COLLECTED = way_to(State.COLLECTING)


async def kinds(store: Store, job_id: str) -> list[tuple[str, int, int]]:
    found = await rows(store, "SELECT kind, images, micro_usd FROM ledger WHERE job = $1 ORDER BY id", job_id)
    return [(row["kind"], row["images"], row["micro_usd"]) for row in found]


# --- admission


async def offer(stores: Sequence[Store], prices: Sequence[int], **limits: int) -> list[int]:
    """Request one picture at each price, all at once; returns the prices that were accepted."""
    allowed = replace(FREE, **limits)
    jobs = [a_job(f"{n:04}") for n in range(len(prices))]
    answers = await asyncio.gather(
        *(
            accept(stores[n % len(stores)], job, price=prices[n], limits=allowed, interaction=n)
            for n, job in enumerate(jobs)
        ),
        return_exceptions=True,
    )
    for each in answers:
        if isinstance(each, BaseException) and not isinstance(each, UserError):
            raise each
    return [price for price, answer in zip(prices, answers, strict=True) if not isinstance(answer, UserError)]


def some_prices(seed: int, n: int = 200) -> list[int]:
    source = random.Random(seed)
    return [source.randint(10_000, 300_000) for _ in range(n)]


async def test_of_two_hundred_at_once_exactly_as_many_as_allowed_are_accepted(store: Store) -> None:
    taken = await offer([store], some_prices(1), user_day_images=10)
    assert len(taken) == 10
    assert await totals(store) == await rebuilt(store)
    assert (await totals(store))[("user", 5, 1, "day:2026-11-20")] == (10, 10, sum(taken), 0, 0, 0, 0)


@pytest.mark.parametrize("limit", ["user_day_micro_usd", "guild_month_micro_usd", "host_month_micro_usd"])
async def test_of_two_hundred_at_once_exactly_those_that_fit_the_budget_are_accepted(store: Store, limit: str) -> None:
    prices = some_prices(2)
    taken = await offer([store], prices, **{limit: 1_000_000})
    left = 1_000_000 - sum(taken)
    refused = sorted(set(prices) - set(taken))
    assert 0 <= left < min(refused)  # none of those refused would fit even now
    assert await faults(store) == []


@pytest.mark.parametrize("limit", ["user_in_flight", "guild_in_flight", "host_in_flight"])
async def test_of_two_hundred_at_once_only_as_many_as_allowed_are_unfinished(store: Store, limit: str) -> None:
    assert len(await offer([store], some_prices(3), **{limit: 7})) == 7


async def test_two_processes_on_one_database_do_not_accept_more_between_them(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        taken = await offer([one, other], some_prices(4, 100), user_day_images=10)
        assert len(taken) == 10
        assert await faults(one) == await faults(other) == []


async def test_a_refusal_reserves_nothing_and_is_recorded(store: Store) -> None:
    with pytest.raises(UserError, match=r"quota\.user_day_images"):
        await accept(store, a_job("no"), limits=replace(FREE, user_day_images=0), interaction=7)
    assert await store.job("no") is None
    assert await totals(store) == {}
    (row,) = await rows(store, "SELECT job, refusal FROM interactions WHERE id = 7")
    assert (row["job"], row["refusal"]) == (None, "quota.user_day_images")
    with pytest.raises(AlreadySeen):
        await accept(store, a_job("no"), interaction=7)


async def test_the_same_interaction_many_times_at_once_makes_one_job(store: Store) -> None:
    answers = await asyncio.gather(
        *(accept(store, a_job(f"try-{n}"), interaction=7) for n in range(20)), return_exceptions=True
    )
    assert sum(isinstance(each, AlreadySeen) for each in answers) == 19
    assert len(await rows(store, "SELECT id FROM jobs")) == len(await rows(store, "SELECT id FROM ledger")) == 1


# --- endings

ENDINGS = [(state, to) for state in State for to in sorted(NEXT[state]) if to.is_final]


@pytest.mark.parametrize(("state", "ending"), ENDINGS)
async def test_every_path_to_a_final_state_ends_the_reservation_once(store: Store, state: State, ending: State) -> None:
    job = await walk(store, await accept(store, a_job("j"), price=50), way_to(state))
    assert await kinds(store, "j") == [("reserve", 1, 50)]

    ended = await store.move(job, ending, now=NOON + 1, images=1 if ending is State.SUCCEEDED else 0)

    assert ended is not None
    assert ended.ended_at == NOON + 1
    last = "settle" if ending is State.SUCCEEDED else "release"
    assert await kinds(store, "j") == [("reserve", 1, 50), (last, 1, 50)]
    assert await faults(store) == []


async def test_ending_a_hundred_times_at_once_ends_once(store: Store) -> None:
    job = await walk(store, await accept(store, a_job("j", count=4), price=50), COLLECTED)
    tries = [
        store.move(job, (State.SUCCEEDED, State.FAILED, State.REFUSED)[n % 3], now=NOON, images=n % 5)
        for n in range(100)
    ]
    won = [each for each in await asyncio.gather(*tries) if each is not None]
    assert len(won) == 1
    assert len(await kinds(store, "j")) == 2
    assert await faults(store) == []


async def test_an_ended_reservation_is_not_changed(store: Store) -> None:
    job = await walk(store, await accept(store, a_job("j"), price=50), [State.CANCELLED])

    async def unit(tx: Tx) -> None:
        await ledger.end(tx, job, now=NOON + 5, pictures=1, reason=None)
        await ledger.end(tx, a_job("never-held"), now=NOON, pictures=1, reason=None)

    await store.database.write(unit)
    assert await kinds(store, "j") == [("reserve", 1, 50), ("release", 1, 50)]
    assert await totals(store) == await rebuilt(store) == {}


@pytest.mark.parametrize(
    ("pictures", "row"),
    [
        (0, ("release", 4, 400)),
        (1, ("settle", 1, 100)),
        (3, ("settle", 3, 300)),
        (4, ("settle", 4, 400)),
        (9, ("settle", 4, 400)),
    ],
)
async def test_only_downloaded_pictures_are_charged(store: Store, pictures: int, row: tuple[str, int, int]) -> None:
    job = await walk(store, await accept(store, a_job("j", count=4), price=100), COLLECTED)
    await store.move(job, State.SUCCEEDED, now=NOON, images=pictures)
    assert await kinds(store, "j") == [("reserve", 4, 400), row]
    used = await seen(store, job.place, now=NOON)
    assert used.user_day == (Amount(*row[1:]) if row[0] == "settle" else Amount())
    assert used.user_in_flight == 0
    assert await faults(store) == []


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 10), st.integers(0, 10**9), st.integers(0, 12))
def test_a_share_is_fair_and_never_more_than_the_whole(images: int, price: int, pictures: int) -> None:
    whole = Amount(images, images * price)
    part = share(whole, pictures)
    assert part.images == min(images, pictures)
    assert part.micro_usd == part.images * price


# --- windows


async def used_by(store: Store, job: Job, now: int) -> tuple[Amount, Amount, Amount]:
    used = await seen(store, job.place, now=now)
    return used.user_day, used.guild_month, used.host_month


LAST_MOMENT = NOON + 10 * DAY + DAY // 2 - 1  # 2026-11-30 23:59:59.999
JUST_AFTER = LAST_MOMENT + 1


@pytest.mark.parametrize(("ending", "spent"), [(State.FAILED, 0), (State.SUCCEEDED, 70)])
async def test_an_ending_counts_in_the_windows_of_its_reservation(store: Store, ending: State, spent: int) -> None:
    assert moment(LAST_MOMENT).day[:7] != moment(JUST_AFTER).day[:7]
    job = await accept(store, a_job("j", now=LAST_MOMENT), price=70)
    job = await walk(store, job, COLLECTED, now=JUST_AFTER)
    await store.move(job, ending, now=JUST_AFTER, images=int(spent > 0))

    settled = Amount(int(spent > 0), spent)
    assert await used_by(store, job, LAST_MOMENT) == (settled, settled, Amount(settled.images, 0))
    assert await used_by(store, job, JUST_AFTER) == (Amount(), Amount(), Amount())
    assert await faults(store) == []


async def test_yesterdays_unfinished_job_does_not_use_todays_allowance(store: Store) -> None:
    one = replace(FREE, user_day_images=1)
    await accept(store, a_job("late", now=LAST_MOMENT), limits=one)
    with pytest.raises(UserError):
        await accept(store, a_job("too-many", now=LAST_MOMENT), limits=one)
    await accept(store, a_job("fresh", now=JUST_AFTER), limits=one)


async def test_members_servers_and_direct_messages_are_counted_apart(store: Store) -> None:
    for n, (user, guild) in enumerate([(1, 5), (1, None), (2, 5), (1, 6)]):
        await accept(store, a_job(f"{n}", user=user, guild=guild), price=10)
    assert await used_by(store, a_job("", user=1, guild=5), NOON) == (Amount(1, 10), Amount(2, 20), Amount(4, 40))
    assert await used_by(store, a_job("", user=1, guild=None), NOON) == (Amount(1, 10), Amount(1, 10), Amount(4, 40))
    assert await used_by(store, a_job("", user=3, guild=6), NOON) == (Amount(), Amount(1, 10), Amount(4, 40))


# --- the hosts' book


async def test_what_a_provider_billed_is_recorded_once(store: Store) -> None:
    job = await walk(store, await accept(store, a_job("j"), price=70), way_to(State.QUEUED))
    moved = await store.move(job, State.COLLECTING, now=NOON, cost_micro_usd=55)
    assert moved is not None
    await store.move(moved, State.FAILED, now=NOON, cost_micro_usd=99, may_be_billed=True)

    (row,) = await rows(store, "SELECT micro_usd, basis FROM host_cost")
    assert (row["micro_usd"], row["basis"]) == (55, "known")
    assert await used_by(store, job, NOON) == (Amount(), Amount(), Amount(0, 55))
    assert await faults(store) == []


async def test_an_assumed_cost_is_the_whole_reservation_while_the_member_pays_nothing(store: Store) -> None:
    job = await walk(store, await accept(store, a_job("j", count=2), price=70), way_to(State.UNKNOWN))
    await store.move(job, State.FAILED, now=JUST_AFTER, may_be_billed=True)

    (row,) = await rows(store, "SELECT micro_usd, basis FROM host_cost")
    assert (row["micro_usd"], row["basis"]) == (140, "assumed")
    assert await used_by(store, job, NOON) == (Amount(), Amount(), Amount())
    assert await used_by(store, job, JUST_AFTER) == (Amount(), Amount(), Amount(0, 140))
    assert await faults(store) == []


async def test_the_limit_of_scope_host_counts_reservations_and_billed_costs(store: Store) -> None:
    limits = replace(FREE, host_month_micro_usd=200)
    job = await walk(store, await accept(store, a_job("a"), price=90, limits=limits), COLLECTED)
    await accept(store, a_job("b", user=2, guild=None), price=90, limits=limits)
    await store.move(job, State.SUCCEEDED, now=NOON, images=1, cost_micro_usd=100)
    with pytest.raises(UserError, match="host_month_usd"):
        await accept(store, a_job("c", user=3, guild=8), price=11, limits=limits)
    await accept(store, a_job("d", user=3, guild=8), price=10, limits=limits)


# --- the audit


@pytest.mark.parametrize(("state", "row"), [("failed", ("release", 4, 400)), ("succeeded", ("settle", 2, 200))])
async def test_an_orphaned_reservation_is_found_and_ended_once(
    store: Store, state: str, row: tuple[str, int, int]
) -> None:
    await accept(store, a_job("j", count=4), price=100)
    await accept(store, a_job("open"))
    await execute(store, f"UPDATE jobs SET state = '{state}', images = 2, ended_at = {NOON} WHERE id = 'j'")  # noqa: S608
    assert await faults(store) != []

    assert await Housekeeping(store.database).end_orphaned_reservations(now=NOON + 1) == ["j"]
    assert await Housekeeping(store.database).end_orphaned_reservations(now=NOON + 2) == []

    assert (await kinds(store, "j"))[-1] == row
    assert await faults(store) == []


# --- the indexes behind the promises

RESERVE = (
    "INSERT INTO ledger (at, kind, job, actor, \"user\", images, micro_usd) VALUES (1, 'reserve', 'j', 0, 1, 1, 1)"
)
GUARDS = [
    ("ledger_one_reserve", RESERVE),
    ("ledger_one_end", RESERVE.replace("reserve", "settle")),
    ("ledger_one_end", RESERVE.replace("reserve", "release")),
    (
        "host_cost_of_job",
        "INSERT INTO host_cost (at, job, provider, route, micro_usd, basis) VALUES (1, 'j', 'p', 'r', 1, 'known')",
    ),
    ("jobs_run", "UPDATE jobs SET run_id = 'run' WHERE id = 'other'"),
]


@pytest.mark.parametrize(("index", "statement"), GUARDS)
async def test_the_database_itself_forbids_doing_it_twice(store: Store, index: str, statement: str) -> None:
    job = await walk(store, await accept(store, a_job("j")), way_to(State.QUEUED))
    await store.update(job, now=NOON, run_id="run")
    await store.move(job, State.FAILED, now=NOON, may_be_billed=True)
    await accept(store, a_job("other"))

    with pytest.raises((sqlite3.IntegrityError, asyncpg.UniqueViolationError)):
        await execute(store, statement)
    await execute(store, f"DROP INDEX {index}")
    await execute(store, statement)  # without the index it is possible


async def test_the_same_run_id_at_another_provider_is_another_run(store: Store) -> None:
    for n, provider in enumerate(("runcomfy", "runflow")):
        job = await accept(store, a_job(f"{n}", provider=provider))
        assert await store.update(job, now=NOON, run_id="run") is not None
    found = await store.job_of_run("runflow", "run")
    assert found is not None
    assert found.id == "1"


async def test_a_ledger_without_its_guard_would_be_noticed(store: Store) -> None:
    await walk(store, await accept(store, a_job("j")), [State.CANCELLED])
    await execute(store, "DROP INDEX ledger_one_end", RESERVE.replace("reserve", "settle"))
    assert any("ended twice" in each for each in await faults(store))


# --- the guard of every change


async def test_of_two_changes_to_the_same_state_of_a_job_only_the_first_is_written(store: Store) -> None:
    job = await accept(store, a_job("j"))
    answers = await asyncio.gather(
        store.move(job, State.SUBMITTING, now=NOON), store.move(job, State.CANCELLED, now=NOON)
    )
    (won,) = [each for each in answers if each is not None]
    ended = [("release", 1, 80_000)] if won.state is State.CANCELLED else []
    assert (await kinds(store, "j")) == [("reserve", 1, 80_000), *ended]


async def test_an_update_keeps_the_state_and_the_time_it_was_entered(store: Store) -> None:
    job = await walk(store, await accept(store, a_job("j")), COLLECTED)
    noted = await store.update(job, now=NOON + 999, due_at=NOON + 5, flagged=True)
    assert noted is not None
    assert (noted.state, noted.changed_at, noted.due_at, noted.flagged) == (job.state, job.changed_at, NOON + 5, True)
    assert await store.update(replace(job, state=State.QUEUED), now=NOON) is None


async def test_only_columns_that_may_change_can_be_changed(store: Store) -> None:
    job = await accept(store, a_job("j"))
    changes: dict[str, Any]
    for changes in ({"user_id": 2}, {"state = 'failed' --": 1}, {"verb": "edit"}):
        with pytest.raises(ValueError, match="columns that cannot be changed"):
            await store.update(job, now=NOON, **changes)


async def test_an_acknowledgement_is_recorded_once_and_not_after_the_end(store: Store) -> None:
    job = await accept(store, a_job("j"))
    await store.acknowledge("j", message_id=9, ephemeral=True, now=NOON + 1)
    await store.acknowledge("j", message_id=9, ephemeral=True, now=NOON + 2)
    again = await store.job("j")
    assert again is not None
    assert (again.acked_at, again.due_at) == (NOON + 1, NOON + 1)

    other = await accept(store, a_job("late"))
    await store.move(other, State.CANCELLED, now=NOON)
    await store.acknowledge("late", message_id=10, ephemeral=False, now=NOON + 1)
    late = await store.job("late")
    assert late is not None
    assert late.acked_at is None
    assert job.acked_at is None


async def test_a_write_of_a_cancelled_caller_leaves_the_ledger_consistent(store: Store) -> None:
    for n in range(30):
        with suppress(TimeoutError):
            async with asyncio.timeout(0 if n % 2 else None):
                await accept(store, a_job(f"{n}"))
    assert len(await rows(store, "SELECT id FROM jobs")) >= 15
    assert await faults(store) == []
