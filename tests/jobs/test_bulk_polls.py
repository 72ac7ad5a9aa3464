"""Where a provider lists its runs, many are looked at with one request a second, and those with news one by one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.core.errors import ProviderUnavailable
from bot.core.jobs import Observation, State
from bot.core.quota import Limits
from tests.kit import Rig, rig

RUNNING, QUEUED = Observation(State.RUNNING), Observation(State.QUEUED)
JOBS, NO_LIMITS = 60, Limits(*[10**15] * 11)


@asynccontextmanager
async def many(folder: Path, *, page_size: int = 500) -> AsyncIterator[tuple[Rig, list[str]]]:
    """Running jobs, a minute before any of them is usually ready."""
    async with rig(
        folder, host="runflow", slots=JOBS, limits=NO_LIMITS, polls_per_second=50, page_size=page_size
    ) as app:  # fmt: skip
        app.provider.sees = [RUNNING]
        ids = [await app.imagine(user) for user in range(1, JOBS + 1)]
        await app.turn()
        app.provider.lists = [{(await app.job(each)).run_id or "": RUNNING for each in ids}]
        yield app, ids


async def seconds(app: Rig, number: int) -> tuple[int, int]:
    """Let so many seconds pass; how often all runs were listed, and how often single ones were asked for."""
    listed, asked = app.provider.listed, app.provider.asked
    for _ in range(2 * number):
        await app.turn(0.5)
    return app.provider.listed - listed, app.provider.asked - asked


async def test_many_runs_are_looked_at_with_one_request_a_second(tmp_path: Path) -> None:
    async with many(tmp_path) as (app, ids):
        await seconds(app, 12)  # the first polls, one by one
        assert all([(await app.job(each)).state is State.RUNNING for each in ids])
        assert await seconds(app, 10) == (10, 0)


async def test_a_run_that_is_not_listed_any_more_is_asked_for_and_delivered(tmp_path: Path) -> None:
    async with many(tmp_path) as (app, ids):
        await seconds(app, 12)
        run_id = (await app.job(ids[7])).run_id
        app.provider.lists = [{run: seen for run, seen in app.provider.lists[0].items() if run != run_id}]
        app.provider.sees = [app.ready()]
        _, asked = await seconds(app, 2)
        assert asked == 1
        assert [(await app.job(each)).state for each in (ids[7], ids[8])] == [State.SUCCEEDED, State.RUNNING]


async def test_runs_are_polled_one_by_one_while_lists_fail(tmp_path: Path) -> None:
    async with many(tmp_path) as (app, _):
        app.provider.lists = [ProviderUnavailable("422"), *app.provider.lists]
        await seconds(app, 12)
        listed, asked = await seconds(app, 20)
        assert listed == 0
        assert asked > 20
        await seconds(app, 45)
        assert (await seconds(app, 5))[0] == 5


async def test_few_runs_are_polled_one_by_one(tmp_path: Path) -> None:
    async with rig(tmp_path, host="runflow", slots=4, page_size=500) as app:
        app.provider.sees = [RUNNING]
        await app.imagine()
        await app.turn()
        assert (await seconds(app, 30))[0] == 0


@pytest.mark.parametrize("page_size", [500, 20])
async def test_lists_count_against_the_budget_of_polls(tmp_path: Path, page_size: int) -> None:
    async with many(tmp_path, page_size=page_size) as (app, _):
        for _ in range(20):
            listed, asked = await seconds(app, 1)
            assert listed * (1 + JOBS // page_size) + asked <= 50
