"""Databases of earlier versions open with this one, and their unfinished jobs end correctly."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from bot.core.jobs import NEXT, Job, Place, State
from bot.core.quota import Amount, Scope
from bot.core.windows import Window
from bot.store.database import Row, StoreUnusable
from bot.store.ledger_audit import Audit
from bot.store.store import Store
from bot.store.versions import migrations
from tests.store.ledger_model import DAY, FREE, NOON, a_job, accept, faults, opened, rows, walk

SAMPLES = sorted(Path(__file__).parent.glob("version_*.sql"))  # rows as each earlier version's code wrote them
LAST_OF_MONTH = NOON + 10 * DAY
LATER = NOON + 40 * DAY


@pytest.fixture
def url(blank_url: str) -> str:
    return blank_url


def engine_of(url: str) -> str:
    return "sqlite" if url.startswith("sqlite") else "postgres"


async def by_hand(url: str, *texts: str) -> None:
    """Run SQL scripts without our code."""
    if engine_of(url) == "sqlite":
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            for each in texts:
                file.executescript(each)
        return
    connection = await asyncpg.connect(url)
    for each in texts:
        await connection.execute(each)
    await connection.close()


async def left_by(version: int, url: str) -> str:
    """Create a database of *version* at *url*: jobs in every state, in servers and direct messages."""
    mark = f"PRAGMA user_version = {version}"
    if engine_of(url) == "postgres":
        mark = f"CREATE TABLE darkroom_version AS SELECT CAST({version} AS BIGINT) AS version"
    await by_hand(url, *migrations(engine_of(url))[:version], mark, SAMPLES[version - 1].read_text())
    return url


async def version_1(url: str) -> str:
    return await left_by(1, url)


async def all_jobs(store: Store) -> Sequence[Job]:
    ids = [row["id"] for row in await rows(store, "SELECT id FROM jobs ORDER BY id")]
    return [job for each in ids if (job := await store.job(each)) is not None]


def ledger_of(entries: Sequence[Row], job: str) -> dict[str, Amount]:
    return {row["kind"]: Amount(row["images"], row["micro_usd"]) for row in entries if row["job"] == job}


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_there_is_a_sample_of_every_earlier_version(engine: str) -> None:
    assert [each.stem for each in SAMPLES] == [f"version_{n}" for n in range(1, len(migrations(engine)))]


@pytest.mark.parametrize("version", range(1, len(SAMPLES) + 1))
async def test_a_database_of_an_earlier_version_opens_with_a_consistent_ledger(url: str, version: int) -> None:
    async with opened(await left_by(version, url)) as store:
        jobs = await all_jobs(store)
        assert {each.state for each in jobs} == set(State)
        assert await faults(store) == []
        assert await Audit(store.database).mismatches() == []
    async with opened(url) as store:  # and the second time there is nothing to do
        assert await all_jobs(store) == jobs
        assert await faults(store) == []


async def test_the_new_totals_agree_with_the_old_rows(url: str) -> None:
    async with opened(await version_1(url)) as store:
        jobs, ledger = await all_jobs(store), await rows(store, "SELECT * FROM ledger")
        flying, month = Counter[int](), Counter[int]()
        for job in jobs:
            entries = ledger_of(ledger, job.id)
            flying[job.place.server] += not job.state.is_final
            if job.created_at < LAST_OF_MONTH + DAY // 2 and "release" not in entries:
                month[job.place.server] += entries.get("settle", entries["reserve"]).micro_usd
        for server in (0, 5, 6):
            place = Place(1, 6, server or None)
            used = (await store.quota_status(place, limits=FREE, now=LAST_OF_MONTH)).used
            assert used.tally(Scope.GUILD, None).jobs == flying[server] > 0
            assert used.tally(Scope.GUILD, Window.MONTH).counts.micro_usd == month[server] > 0
        assert used.tally(Scope.HOST, None).jobs == flying.total()


async def test_jobs_from_direct_messages_belong_to_no_server_after_the_upgrade(url: str) -> None:
    async with opened(await version_1(url)) as store:
        outside = [each.id for each in await all_jobs(store) if each.place.guild_id is None]
        entries = await rows(store, "SELECT job FROM ledger WHERE guild = 0 AND kind = 'reserve'")
        assert sorted(row["job"] for row in entries) == sorted(outside)
        assert await rows(store, "SELECT job FROM ledger WHERE guild IS NULL") == []


@pytest.mark.parametrize(("version", "pictures"), [(1, 0), (1, 1), *((n, 9) for n in range(1, len(SAMPLES) + 1))])
async def test_an_unfinished_job_ends_in_the_windows_of_its_old_reservation(
    url: str, pictures: int, version: int
) -> None:
    async with opened(await left_by(version, url)) as store:
        for job in [each for each in await all_jobs(store) if not each.state.is_final]:
            reserved = ledger_of(await rows(store, "SELECT * FROM ledger"), job.id)["reserve"]
            collecting = await to_collecting(store, job)
            await store.move(collecting, State.SUCCEEDED, now=LATER, images=pictures, cost_micro_usd=7)
            got = min(pictures, reserved.images)
            entries = ledger_of(await rows(store, "SELECT * FROM ledger"), job.id)
            price = reserved.micro_usd // reserved.images
            assert entries.get("settle", Amount()) == Amount(got, got * price)
        assert await faults(store) == []
        used = (await store.quota_status(Place(1, 65, 5), limits=FREE, now=LATER)).used
        assert (
            used.tally(Scope.USER, Window.MONTH).counts == Amount()
        )  # all of it counts in the month of the reservation
        assert used.tally(Scope.GUILD, None).jobs == used.tally(Scope.HOST, None).jobs == 0


async def to_collecting(store: Store, job: Job) -> Job:
    way = [State.SUBMITTING, State.QUEUED, State.RUNNING, State.COLLECTING]
    for to in way:
        if to in NEXT[job.state]:
            job = await walk(store, job, [to], now=LATER)
    return job


@pytest.mark.parametrize("version", range(1, len(SAMPLES) + 1))
async def test_new_reservations_count_together_with_old_ones(url: str, version: int) -> None:
    async with opened(await left_by(version, url)) as store:
        before = await rows(store, "SELECT max(id) AS newest FROM ledger")
        await accept(store, a_job("new", now=LATER))
        assert (await rows(store, "SELECT max(id) AS newest FROM ledger"))[0]["newest"] > before[0]["newest"]
        assert await faults(store) == []


async def test_an_upgrade_that_fails_halfway_does_not_change_version_1(url: str) -> None:
    await version_1(url)
    await by_hand(url, "CREATE TABLE draws (mine TEXT)")  # makes one of the last statements fail
    with pytest.raises(StoreUnusable, match="draws"):
        async with opened(url):
            pass
    await by_hand(url, "INSERT INTO totals VALUES ('user', 1, 'day:2026-11-20', 1, 1, 0, 0)")  # as version 1 knows it
    await by_hand(url, "DROP TABLE draws")
    async with opened(url) as store:
        assert await faults(store) == []


async def test_two_processes_that_upgrade_one_database_at_once_agree(url: str) -> None:
    await version_1(url)

    async def look() -> list[str]:
        async with opened(url) as store:
            return await faults(store)

    assert not any(await asyncio.gather(look(), look(), look()))
