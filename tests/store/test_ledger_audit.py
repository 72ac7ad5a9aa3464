"""The audit: totals compared with independent sums, and wrong totals repaired."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from bot.core.errors import UserError
from bot.core.jobs import Place, State
from bot.core.quota import Grant, Holder, Scope, Unit
from bot.store.ledger_audit import Audit, Mismatch
from bot.store.quotas import By, Quotas
from bot.store.store import Store
from bot.store.totals import COLUMNS
from tests.store.ledger_model import DAY, FREE, NOON, a_job, accept, execute, faults, rebuilt, rows, totals, way_to

LIMITS = replace(FREE, user_day_images=3, user_day_micro_usd=250)


async def some_history(store: Store, seed: int, *, jobs: int = 40) -> None:
    """Two months with bonuses, jobs that end in every way, resets and costs."""
    source, quotas = random.Random(seed), Quotas(store.database)
    for n in range(jobs):
        now = NOON + n * DAY // 4 + source.randint(0, DAY)
        guild, user = source.choice([None, 5, 6]), source.randint(1, 2)
        by = By(f"{n}", guild or 0, 9, now)
        if n % 3 == 0:
            unit = source.choice([Unit.IMAGES, Unit.MICRO_USD])
            await quotas.grant(by, user, Grant(0, unit, source.randint(1, 300), source.choice([None, now + DAY])))
        if n % 7 == 0:
            holder, subject = source.choice([(Holder.USER, user), (Holder.CHANNEL, 6), (Holder.GUILD, 0)])
            await quotas.reset(replace(by, id=f"reset-{n}"), holder, subject)
        place = Place(user, 60 + user, guild, parent_id=source.choice([None, 6]))
        job = a_job(f"j{n}", now=now, count=source.randint(1, 4), place=place)
        try:
            job = await accept(store, job, price=source.randint(0, 120), limits=LIMITS)
        except UserError:
            continue
        for to in way_to(source.choice([State.SUCCEEDED, State.SUCCEEDED, State.FAILED, State.RUNNING])):
            moved = await store.move(
                job,
                to,
                now=now + DAY,
                images=source.randint(0, 4),
                may_be_billed=source.random() < 0.3,
                cost_micro_usd=source.choice([None, source.randint(0, 500)]),
            )
            assert moved is not None
            job = moved


async def differences(store: Store) -> Sequence[Mismatch]:
    return await Audit(store.database).mismatches()


@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.prove) for n in (2, 3))])
async def test_totals_the_rebuilt_view_and_independent_sums_agree_after_any_history(store: Store, seed: int) -> None:
    await some_history(store, seed)
    mismatched = await rows(store, "SELECT kind, bonus_images FROM ledger")
    assert {row["kind"] for row in mismatched} == {"grant", "reserve", "settle", "release", "adjust"}
    assert sum(row["bonus_images"] for row in mismatched if row["kind"] == "settle") > 0
    assert await faults(store) == []
    assert await differences(store) == []
    assert await totals(store) == await rebuilt(store)


async def test_a_wrong_total_is_found_and_repaired(store: Store) -> None:
    await some_history(store, 4, jobs=20)
    before = await totals(store)
    wrong = [("user", "total"), ("channel", "month:2026-11"), ("guild", "day:2026-11-21"), ("host", "week:2026-11-23")]
    for column in COLUMNS:
        for scope, bucket in wrong:
            where = f"scope = '{scope}' AND bucket = '{bucket}'"
            place = f"{where} AND guild = (SELECT max(guild) FROM totals WHERE {where})"  # noqa: S608
            subject = f"subject = (SELECT max(subject) FROM totals WHERE {place})"  # noqa: S608
            await execute(store, f"UPDATE totals SET {column} = {column} + 7 WHERE {place} AND {subject}")  # noqa: S608

        mismatched = await differences(store)
        assert sorted((each.scope.value, each.bucket) for each in mismatched) == sorted(wrong), column
        assert [each.off for each in mismatched] == [{column: 7}] * 4
        for each in mismatched:
            await Audit(store.database).repair(each)
        assert await differences(store) == []
        assert await totals(store) == before


async def test_a_missing_total_and_one_without_rows_are_found(store: Store) -> None:
    await some_history(store, 5)
    before = await totals(store)
    await execute(store, "DELETE FROM totals WHERE scope = 'host' AND bucket = 'total'")
    await execute(store, "INSERT INTO totals VALUES ('user', 5, 'total', 999, 1, 2, 3, 4, 5, 6, 7)")

    mismatched = {(each.scope, each.subject): each for each in await differences(store)}
    assert set(mismatched) == {(Scope.HOST, 0), (Scope.USER, 999)}
    assert mismatched[Scope.USER, 999].off == dict(zip(COLUMNS, range(1, 8), strict=True))
    for each in mismatched.values():
        await Audit(store.database).repair(each)
    assert await differences(store) == []
    assert await totals(store) == before


async def test_summaries_compare_ledger_and_costs_by_month(store: Store) -> None:
    await some_history(store, 6)
    ledger, costs = await rows(store, "SELECT * FROM ledger"), await rows(store, "SELECT * FROM host_cost")
    books = await Audit(store.database).summaries()
    assert [each.month for each in books] == sorted({each.month for each in books}, reverse=True)
    assert sum(each.jobs for each in books) == sum(row["kind"] == "reserve" for row in ledger)
    assert sum(each.settled for each in books) == sum(row["micro_usd"] for row in ledger if row["kind"] == "settle")
    assert sum(each.known + each.assumed for each in books) == sum(row["micro_usd"] for row in costs)


async def test_old_open_reservations_are_listed_oldest_first(store: Store) -> None:
    for n in range(3):
        await accept(store, a_job(f"j{n}", now=NOON - n * DAY))
    done = await accept(store, a_job("done", now=NOON - 9 * DAY))
    await store.move(done, State.CANCELLED, now=NOON)
    assert await Audit(store.database).old_reservations(before=NOON) == ["j2", "j1"]
