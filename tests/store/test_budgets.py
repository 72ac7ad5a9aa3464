"""Limits in the database: each slot belongs to one process, by the server's clock; with one process they are local."""

import asyncio
import itertools
import time
from pathlib import Path

from bot.core.budgets import Pace, Slot
from bot.core.jobs import HOUR
from bot.store.budgets import Budgets
from tests.postgres import by_hand
from tests.store.ledger_model import opened, rows

PACE = Pace(0.125, late=0.0625)
EARLY = 0.05  # seconds: as exactly is the server's clock known here


async def begins_of(budgets: Budgets, name: str, *, chunks: int, units: int) -> list[float]:
    budget = budgets.budget(name, PACE)
    taken = await asyncio.gather(*(budget.take(units) for _ in range(chunks)))
    return [slot.begins for chunk in taken for slot in chunk]


async def is_free(budgets: Budgets, name: str) -> bool:
    """Whether a slot of the limit begins now, and not in the past either."""
    began = time.monotonic()
    return began - EARLY < (await begins_of(budgets, name, chunks=1, units=1))[0] < time.monotonic() + EARLY


async def test_processes_get_slots_that_nobody_else_has_one_after_another(postgres_url: str) -> None:
    async with opened(postgres_url) as one, opened(postgres_url) as other:
        budgets = [Budgets(each.database) for each in (one, other)]
        began = time.monotonic()
        found = await asyncio.gather(*(begins_of(each, "a", chunks=5, units=3) for each in budgets))

    slots = sorted(slot for each in found for slot in each)
    assert len(slots) == 30
    assert all(later - at > PACE.gap - 2 * EARLY for at, later in itertools.pairwise(slots))
    assert -EARLY < slots[0] - began < 1
    assert slots[-1] - slots[0] < 30 * PACE.gap


async def test_a_limit_is_not_used_up_by_others_and_not_by_its_past(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        budgets = Budgets(store.database)
        await begins_of(budgets, "a", chunks=1, units=100)
        assert await is_free(budgets, "b")
        await by_hand(postgres_url, "UPDATE budgets SET next_at = 5")
        assert await is_free(budgets, "a")


async def test_a_server_whose_clock_was_set_back_stops_nobody(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        budgets = Budgets(store.database)
        await begins_of(budgets, "a", chunks=1, units=1)
        await by_hand(postgres_url, "UPDATE budgets SET next_at = next_at + 3600000000")
        assert await is_free(budgets, "a")


async def test_limits_that_nobody_uses_any_more_are_forgotten(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        budgets = Budgets(store.database)
        for name in "used", "old":
            await begins_of(budgets, name, chunks=1, units=1)
        await by_hand(postgres_url, "UPDATE budgets SET next_at = next_at - 7200000000 WHERE name = 'old'")
        await budgets.forget(before=int(time.time() * 1000) - HOUR)
        assert [row["name"] for row in await rows(store, "SELECT name FROM budgets")] == ["used"]


async def test_one_process_keeps_its_limits_in_memory(tmp_path: Path) -> None:
    now = 7.0
    async with opened(f"sqlite:///{tmp_path}/darkroom.db") as store:
        budget = Budgets(store.database, now=lambda: now).budget("a", PACE)
        assert [slot for _ in range(2) for slot in await budget.take(9)] == [Slot(7.0, 7.0625), Slot(7.125, 7.1875)]
        assert await rows(store, "SELECT * FROM budgets") == []
